"""What a controller's training says of its errors: by noise, by expert, and how far the cameras have come."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import controller_small
from shotverse_jax.flow.schedule import training_sigmas
from shotverse_jax.train.tasks.controller import controller_loss

CONFIG = dataclasses.replace(controller_small(), shift=5.0, boundary=0.875)


class Guess:
    """In place of a controller: one whose error is 1 + sigma everywhere."""

    def __init__(self, expert, clean_BTHWC):
        self.config, self.expert, self.clean_BTHWC = CONFIG, expert, clean_BTHWC

    def apply(self, variables, noisy_BTHWC, sigma_B, batch, deterministic, rngs):
        self.sigma_B = np.asarray(sigma_B)
        sigma = sigma_B[:, None, None, None, None]
        noise_BTHWC = (noisy_BTHWC - (1 - sigma) * self.clean_BTHWC) / sigma
        return noise_BTHWC - self.clean_BTHWC + jnp.sqrt(1 + sigma)


def measured(expert, samples):
    clean_BTHWC = jax.random.normal(jax.random.key(1), (samples, 2, 2, 2, 3))
    guess = Guess(expert, clean_BTHWC)
    camera = {"kernel": jnp.full((2, 12, 4), 0.5), "bias": jnp.zeros((2, 4))}
    variables = {"params": {"dit": {"blocks": {"camera": camera, "ffn_in": {"kernel": jnp.ones((4, 4))}}}}}
    _, metrics = controller_loss(guess, variables, {"latents_BTHWC": clean_BTHWC}, jax.random.key(0))
    return jax.device_get(metrics), guess.sigma_B


@pytest.mark.parametrize(("expert", "owns"), [("base", "both"), ("high", "high"), ("low", "low")])
def test_errors_are_told_by_quarters_of_the_experts_noise(expert, owns):
    metrics, sigma_B = measured(expert, 32)
    bins = {name: value for name, value in metrics.items() if name.startswith("loss_sigma")}
    grid = training_sigmas(CONFIG.shift, CONFIG.boundary, owns)
    assert len(bins) == 4 and metrics["loss_unweighted"] == pytest.approx(np.mean(1 + sigma_B), rel=1e-3)
    for number, value in enumerate(bins[name] for name in sorted(bins, reverse=True)):
        place_B = np.searchsorted(-grid, -sigma_B)  # the first quarter has the most noise
        mine = sigma_B[place_B // -(-len(grid) // 4) == number]
        assert len(mine) in (7, 8, 9) and value == pytest.approx(np.mean(1 + mine), rel=1e-3)
    assert ("loss_high" in metrics) == ("loss_low" in metrics) == (expert == "base")
    if expert == "base":
        for name, mine in (("high", sigma_B >= 0.875), ("low", sigma_B < 0.875)):
            assert metrics[f"loss_{name}"] == pytest.approx(np.mean(1 + sigma_B[mine]), rel=1e-3)


def test_subjects_count_as_much_as_they_are_told_to():
    clean_BTHWC = jax.random.normal(jax.random.key(1), (2, 1, 1, 2, 3))

    class Blind(Guess):
        """Errs by 1 + sigma in the second latent of every film alone."""

        def apply(self, *inputs, **options):
            wrong = super().apply(*inputs, **options)
            sigma = jnp.asarray(self.sigma_B)[:, None, None, None, None]
            return wrong - jnp.sqrt(1 + sigma) * jnp.array([1.0, 0.0])[:, None]

    batch = {"latents_BTHWC": clean_BTHWC, "subject_BTHW": jnp.array([[0.0, 1.0], [0.0, 0.5]]).reshape(2, 1, 1, 2)}
    guess = Blind("low", clean_BTHWC)
    loss, metrics = controller_loss(guess, {}, batch, jax.random.key(0), subject_weight=5.0)
    error_B = 1 + guess.sigma_B
    assert loss == pytest.approx((5 * error_B[0] + 3 * error_B[1]) / (1 + 5 + 1 + 3), rel=1e-4)
    assert metrics["loss_unweighted"] == pytest.approx(error_B.mean() / 2, rel=1e-4)
    assert controller_loss(guess, {}, batch, jax.random.key(0))[0] == pytest.approx(error_B.mean() / 2, rel=1e-4)


def test_the_noise_is_that_of_the_config():
    clean_BTHWC = jnp.zeros((2, 5, 16, 16, 8))

    class Listener(Guess):
        def apply(self, variables, noisy_BTHWC, sigma_B, *inputs, **options):
            self.noise_BTHWC = np.asarray(noisy_BTHWC / sigma_B[:, None, None, None, None])
            return noisy_BTHWC

    for shared in (0.0, 0.4):
        listener = Listener("low", clean_BTHWC)
        listener.config = dataclasses.replace(CONFIG, shared_noise=shared)
        controller_loss(listener, {}, {"latents_BTHWC": clean_BTHWC}, jax.random.key(0))
        first, last = listener.noise_BTHWC[:, 0], listener.noise_BTHWC[:, -1]
        assert np.mean(first * last) == pytest.approx(shared, abs=0.06)


def test_noise_that_no_sample_has_says_nothing():
    metrics, _ = measured("high", 1)
    values = [value for name, value in metrics.items() if name.startswith("loss_sigma")]
    assert np.isnan(values).sum() == 3


def test_the_norm_of_the_cameras_is_theirs_alone():
    for expert in ("high", "low", "base"):
        metrics, _ = measured(expert, 2)
        if CONFIG.expert(expert).camera:
            assert metrics["camera_norm"] == pytest.approx(0.5 * np.sqrt(2 * 12 * 4))
        else:
            assert "camera_norm" not in metrics
    assert CONFIG.expert("high").camera and not CONFIG.expert("low").camera
