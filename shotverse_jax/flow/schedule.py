"""Noise levels of rectified flow: those that a sampler visits, those that training draws, and whose expert they are.

sigma is the share of noise, 1 for pure noise and 0 for the clean sample; the network's input is 1000 sigma. The expert
of high noise has sigma >= boundary (Wan2.2-T2V-A14B: 0.875), the expert of low noise the rest.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

TIMESTEPS = 1000  # the network's input at sigma = 1, and the number of points of the training grid

NoiseRange = Literal["high", "low", "both"]
"""The noise levels of one expert, or of both together."""


def sigmas(steps: int, shift: float) -> np.ndarray:
    """Noise levels [steps + 1] of a sampler, float32, from 1 down to 0.

    Level i is shift s / (1 + (shift - 1) s) at s = 1 - i / steps (DiffSynth flow_match.py): the larger the shift, the
    more steps are spent at high noise. HoloCine samples with shift 5 and 50 steps.

    Raises:
        ValueError: no steps, or a shift that is not positive.
    """
    if steps < 1 or not shift > 0:
        raise ValueError(f"a schedule needs at least one step and a positive shift, got {steps} steps, shift {shift}")
    linear = 1 - np.arange(steps + 1) / steps
    return (shift * linear / (1 + (shift - 1) * linear)).astype(np.float32)


def high_noise_steps(sigmas: np.ndarray, boundary: float) -> int:
    """How many of the steps from sigmas[i] to sigmas[i + 1], counted from the first, the high-noise expert takes."""
    return int(np.sum(np.asarray(sigmas[:-1]) >= boundary))


def training_sigmas(shift: float, boundary: float, noise_range: NoiseRange) -> np.ndarray:
    """The points of the 1000-step grid in a noise range, float32, descending: what an expert trains on.

    At shift 5 and boundary 0.875 the high-noise expert has the first 417, ids [0, 417), as in DiffSynth's recipes.

    Raises:
        ValueError: an unknown range, or a boundary that leaves it no points.
    """
    if noise_range not in get_args(NoiseRange):
        raise ValueError(f'an expert is "high", "low" or "both", got {noise_range!r}')
    grid = sigmas(TIMESTEPS, shift)
    high = high_noise_steps(grid, boundary)
    owned = {"high": grid[:high], "low": grid[high:-1], "both": grid[:-1]}[noise_range]
    if not len(owned):
        raise ValueError(
            f"boundary {boundary} leaves the {noise_range}-noise expert nothing to train on; put it inside (0, 1)"
        )
    return owned


def draw_sigma(key: jax.Array, samples: int, shift: float, boundary: float, noise_range: NoiseRange) -> jax.Array:
    """Noise levels [samples] for a batch, float32; each is uniform over the points of `training_sigmas`.

    Together they are spread evenly: one falls into each of `samples` equal parts of the points, in random order, so
    that the mean loss of a batch varies less (stratified as the timesteps of arXiv 2107.00630).
    """
    owned = jnp.asarray(training_sigmas(shift, boundary, noise_range))
    order_key, place_key = jax.random.split(key)
    part_B = jax.random.permutation(order_key, samples)
    place_B = (part_B + jax.random.uniform(place_key, (samples,))) / samples
    return owned[jnp.minimum((place_B * len(owned)).astype(jnp.int32), len(owned) - 1)]
