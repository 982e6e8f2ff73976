"""Training a video VAE: its crops, its loss, that it learns, and that what it exports has normalised latents."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import VAES, VAETrainConfig, WanVAEConfig, from_dict
from shotverse_jax.configs.vae import nano, small
from shotverse_jax.data.records import write_dataset
from shotverse_jax.models.wan_vae import WanVAE, space_factor, time_factor
from shotverse_jax.train import build, read_config
from shotverse_jax.train.placement import Placement
from shotverse_jax.train.state import init_state, make_optimizer, merge
from shotverse_jax.train.step import make_eval_step, make_train_step
from shotverse_jax.train.tasks import vae as task
from shotverse_jax.weights import abstract, load

TINY = WanVAEConfig(4, 4, (1, 2), 0, (True,), (0.0,) * 4, (1.0,) * 4)
RUN = VAETrainConfig(batch=4, frames=3, height=4, width=6)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Ten films in which a pixel says where it is: (16 * film + frame, row, column)."""
    folder = tmp_path_factory.mktemp("films")
    videos = []
    for film in range(10):
        place = np.stack(np.indices((8, 9, 12)), axis=-1).astype(np.uint8)
        videos.append({"video": place + np.array([16 * film, 0, 0], np.uint8)})
    write_dataset(folder, videos, {})
    return str(folder)


@pytest.fixture(scope="module")
def colors(tmp_path_factory):
    """Films of one colour each, which a few steps suffice to learn."""
    folder = tmp_path_factory.mktemp("colors")
    rng = np.random.default_rng(0)
    write_dataset(
        folder, [{"video": np.tile(rng.integers(0, 256, 3), (5, 8, 8, 1)).astype(np.uint8)} for _ in range(12)], {}
    )
    return str(folder)


def source(folder, split="train", crop=(3, 4, 6), steps=50, **hosts):
    return task.FilmSource(folder, split, crop, TINY, RUN, steps, **hosts)


def test_crops_lie_anywhere_in_films_taken_in_turn(films):
    corners, seen = [], []
    for bucket, batch in iter(source(films)):
        assert bucket is None and batch["video_BTHWC"].shape == (4, 3, 4, 6, 3)
        for crop_THWC in batch["video_BTHWC"].astype(int):
            film, frame = divmod(crop_THWC[0, 0, 0, 0], 16)
            corner = [frame, *crop_THWC[0, 0, 0, 1:]]
            inside = np.stack(np.indices((3, 4, 6)), axis=-1) + corner + [16 * film, 0, 0]
            np.testing.assert_array_equal(crop_THWC, inside)
            corners.append(corner)
            seen.append(film)
    assert all(sorted(seen[i : i + 10]) == list(range(10)) for i in range(0, 200, 10))
    assert seen[:10] != seen[10:20]
    np.testing.assert_array_equal(np.min(corners, axis=0), 0)
    np.testing.assert_array_equal(np.max(corners, axis=0), [8 - 3, 9 - 4, 12 - 6])


def test_a_batch_depends_on_its_step_alone_and_hosts_share_it(films):
    whole = source(films)[7][1]["video_BTHWC"]
    np.testing.assert_array_equal(source(films)[7][1]["video_BTHWC"], whole)
    halves = [source(films, host=host, num_hosts=2)[7][1]["video_BTHWC"] for host in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), whole)
    with pytest.raises(ValueError, match="a batch of 4 does not divide over 3 hosts"):
        source(films, num_hosts=3)


def test_held_out_films_are_whole_as_far_as_can_be_encoded(films):
    video_BTHWC = source(films, "test", crop=None, steps=1)[0][1]["video_BTHWC"]
    assert video_BTHWC.shape == (4, 7, 8, 12, 3)
    np.testing.assert_array_equal(video_BTHWC[:, 0, 0, 0, 1:], 0)


def test_a_film_smaller_than_the_crop(films):
    with pytest.raises(ValueError, match=r"a film of \(8, 9, 12\) .* is smaller than the crops of \(9, 4, 6\)"):
        source(films, crop=(9, 4, 6))[0]


def test_without_a_folder_clips_of_the_stage():
    (_, ours), (_, held_out) = source("")[0], source("", "test")[0]
    assert ours["video_BTHWC"].shape == (4, 3, 4, 6, 3) and ours["video_BTHWC"].dtype == np.uint8
    assert (ours["video_BTHWC"] != held_out["video_BTHWC"]).any()


@pytest.fixture(scope="module")
def variables(drawn):
    """Of a VAE of TINY."""
    return {"params": drawn(abstract("vae", TINY), 0)}


@functools.partial(jax.jit, static_argnames="color_weight")
def loss_of(variables, video, color_weight, key):
    return task.vae_loss(WanVAE(TINY), variables, video, 0.1, color_weight, key)


@jax.jit
def moments_and_video(variables, pixels):
    mean, logvar = WanVAE(TINY).apply(variables, pixels, method="moments")
    return mean, logvar, WanVAE(TINY).apply(variables, mean, clip=False, method="decode")


def test_loss_and_metrics(variables):
    video = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4, 3)).astype(np.uint8)
    loss, metrics = loss_of(variables, video, 0.0, None)

    pixels = video / 127.5 - 1
    mean, logvar, rebuilt = (np.asarray(x, np.float64) for x in moments_and_video(variables, pixels))
    kl = np.mean([0.5 * (m**2 + np.exp(s) - 1 - s) for m, s in zip(mean.ravel(), logvar.ravel(), strict=True)])
    psnr = np.mean(
        [10 * np.log10(2**2 / np.mean((np.clip(r, -1, 1) - p) ** 2)) for r, p in zip(rebuilt, pixels, strict=True)]
    )
    np.testing.assert_allclose(metrics["l1"], np.mean(np.abs(rebuilt - pixels)), rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-5)
    np.testing.assert_allclose(metrics["psnr"], psnr, rtol=1e-5)
    np.testing.assert_allclose(loss, metrics["l1"] + 0.1 * kl, rtol=1e-5)
    assert "color" not in metrics

    sampled = [float(loss_of(variables, video, 0.0, jax.random.key(i))[0]) for i in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2] and abs(sampled[0] - loss) > 1e-6


def test_the_first_channels_can_be_asked_to_be_the_colour(variables):
    video = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4, 3)).astype(np.uint8)
    mean, _, rebuilt = moments_and_video(variables, video / 127.5 - 1)
    colors = np.asarray(task.latent_colors(jnp.asarray(video / 127.5 - 1), 2, 2))
    red, green, blue = np.moveaxis(np.stack([video[:, 0, 2:, :2], video[:, 1:, 2:, :2].mean(1)], 1).mean((2, 3)), -1, 0)
    expected = [0.299 * red + 0.587 * green + 0.114 * blue - 127.5]  # Y; Cb and Cr are scaled differences from it
    expected += [(blue - 127.5 - expected[0]) / 1.772, (red - 127.5 - expected[0]) / 1.402]
    np.testing.assert_allclose(colors[:, :, 1, 0], np.stack(expected, -1) / 127.5, atol=1e-3)
    plain, _ = loss_of(variables, video, 0.0, None)
    loss, metrics = loss_of(variables, video, 3.0, None)
    rebuilt = task.latent_colors(rebuilt, 2, 2)
    wrong = np.mean((np.asarray(mean)[..., :3] - colors) ** 2) + np.mean((np.asarray(rebuilt) - colors) ** 2)
    np.testing.assert_allclose(metrics["color"], wrong, rtol=1e-5)
    np.testing.assert_allclose(loss, plain + 3 * metrics["color"], rtol=1e-5)


@pytest.mark.slow
def test_it_learns_and_its_latents_are_normalised(colors, tmp_path):
    values = nano.get_config().to_dict()
    values.update(data=colors, test_data=colors, log_every=1000, steps=90)
    built = build(read_config(values), tmp_path)
    run = built.config
    optimizer, schedule = make_optimizer(run)
    state = init_state(built.trainable, optimizer, ema=True)
    place = Placement.of(run, state, built.frozen)  # as in a run: else the second step compiles again
    state, frozen = place.put(state, built.frozen)
    step, evaluate = make_train_step(built.loss, optimizer, schedule, run.ema, place), make_eval_step(built.loss)
    _, held_out = built.source("test", 1)[0]
    assert held_out["video_BTHWC"].shape == (12, 5, 8, 8, 3)
    before = evaluate(state.averaged, built.frozen, held_out, bucket=None)
    for bucket, batch in iter(built.source("train", run.steps)):
        state, metrics = step(state, frozen, batch, jax.random.key(0), bucket)
    after = evaluate(state.averaged, built.frozen, held_out, bucket=None)
    assert after["psnr"] > before["psnr"] + 3 and after["loss"] < 0.7 * before["loss"], (before, after)
    assert not metrics["bad_steps"]

    built.export(state.averaged, tmp_path / "export")
    config, params, _ = load("vae", tmp_path / "export")
    assert dataclasses.replace(config, latent_mean=(0.0,) * 16, latent_std=(1.0,) * 16) == from_dict(
        WanVAEConfig, nano.get_config().model.to_dict()
    )
    whole = dataclasses.replace(built.source("train", 1), crop=None)  # each film once
    videos = np.concatenate([batch["video_BTHWC"] for _, batch in iter(whole)]) / np.float32(127.5) - 1
    encode = jax.jit(lambda params, videos: WanVAE(config).apply({"params": params}, videos, method="encode"))
    latents_BTHWC = np.asarray(encode(params, videos))
    np.testing.assert_allclose(latents_BTHWC.mean(axis=(0, 1, 2, 3)), 0, atol=0.1)
    np.testing.assert_allclose(latents_BTHWC.std(axis=(0, 1, 2, 3)), 1, atol=0.1)


def test_a_decoder_alone_keeps_encoder_and_scale_of_latents(colors, tmp_path):
    base = {"data": colors, "test_data": colors, "steps": 2}
    whole = nano_task(tmp_path, **base)
    whole.export(whole.trainable, tmp_path / "base")
    built = nano_task(tmp_path, **base, part="decoder", base_weights=str(tmp_path / "base"))
    assert set(built.trainable["params"]) == {"decoder", "post_quant"}
    assert set(built.frozen["params"]) == {"encoder", "quant"}
    config, params, _ = load("vae", tmp_path / "base")
    louder = jax.tree.map(lambda leaf: 2 * leaf, built.trainable)
    built.export(merge(louder, built.frozen), tmp_path / "tuned")
    tuned_config, tuned, _ = load("vae", tmp_path / "tuned")
    assert tuned_config == config
    for name, scale in {"encoder": 1, "quant": 1, "decoder": 2, "post_quant": 2}.items():
        jax.tree.map(lambda a, b, scale=scale: np.testing.assert_array_equal(a, scale * b), tuned[name], params[name])


def test_a_decoder_alone_needs_a_vae_that_fits(colors, tmp_path):
    with pytest.raises(ValueError, match="give base_weights"):
        nano_task(tmp_path, data=colors, test_data=colors, part="decoder")
    built = nano_task(tmp_path, data=colors, test_data=colors, steps=2)
    built.export(built.trainable, tmp_path / "base")
    other = {**nano.get_config().model.to_dict(), "base_size": 4}
    with pytest.raises(ValueError, match="of another size"):
        nano_task(tmp_path, data=colors, test_data=colors, base_weights=str(tmp_path / "base"), model=other)


def nano_task(folder, **values):
    values = nano.get_config().to_dict() | {"warmup": 1} | values
    return build(read_config(values), folder)


def test_no_films_have_no_moments():
    with pytest.raises(ValueError, match="give some films"):
        task.latent_moments(WanVAE(TINY), {}, iter([]))


@pytest.mark.parametrize("recipe", [small, nano])
def test_recipes_fit_their_network(recipe):
    values = recipe.get_config().to_dict()
    run = read_config(values)
    config = run.model
    assert recipe is nano or config == VAES["vae_small"]()
    assert (run.frames - 1) % time_factor(config) == 0
    assert run.height % space_factor(config) == run.width % space_factor(config) == 0
