"""The video VAE: its forms agree, it is causal, it streams, it tiles without a seam, it refuses what does not fit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import Execution, WanVAEConfig
from shotverse_jax.models import wan_vae, wan_vae_stream
from shotverse_jax.models.wan_vae import WanVAE
from shotverse_jax.models.wan_vae_stream import decode_chunked, decode_chunks, decode_tiled, encode_chunked

MEAN, STD = (0.5, -1.0, 0.0, 0.2), (2.0, 0.5, 1.0, 1.5)
TINY = WanVAEConfig(4, 8, (1, 2), 1, (True,), MEAN, STD)
CONFIGS = {
    "time 2": TINY,
    "time 4": WanVAEConfig(4, 4, (1, 2, 2), 1, (True, True), MEAN, STD),
    "time 2, late": WanVAEConfig(4, 4, (1, 2, 1), 1, (False, True), MEAN, STD),
    "frames": WanVAEConfig(4, 8, (2,), 0, (), MEAN, STD),
}


def random_variables(config, seed=0):
    """Weights that keep activations near 1, with every tensor away from its initial value; no program is compiled."""
    size, rng = wan_vae.space_factor(config), np.random.default_rng(seed)
    shapes = jax.eval_shape(WanVAE(config).init, jax.random.key(0), jnp.zeros((1, 1, size, size, 3)))["params"]

    def draw(path, leaf):
        noise = rng.normal(size=leaf.shape)
        if path[-1].key == "kernel":
            return jnp.asarray(noise / np.sqrt(np.prod(leaf.shape[:-1])), jnp.float32)
        return jnp.asarray(0.1 * noise + (path[-1].key == "scale"), jnp.float32)

    return {"params": jax.tree_util.tree_map_with_path(draw, shapes)}


def apply(vae, method, **static):
    return jax.jit(lambda variables, x: vae.apply(variables, x, method=method, **static))


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, shape), jnp.float32)


@pytest.mark.parametrize("name", CONFIGS)
def test_chunks_are_the_whole_clip(name):
    config = CONFIGS[name]
    vae, variables = WanVAE(config), random_variables(config)
    space, time = wan_vae.space_factor(config), wan_vae.time_factor(config)
    video_BTHWC = draw(1, 2, 3 * time + 1, 2 * space, 3 * space, 3)
    whole_BTHWC = apply(vae, "encode")(variables, video_BTHWC)
    assert whole_BTHWC.shape == (2, 4, 2, 3, 4) and np.std(whole_BTHWC) > 0.1
    np.testing.assert_allclose(encode_chunked(vae, variables, video_BTHWC), whole_BTHWC, atol=2e-5)

    decoded_BTHWC = apply(vae, "decode", clip=False)(variables, whole_BTHWC)
    assert decoded_BTHWC.shape == video_BTHWC.shape and np.std(decoded_BTHWC) > 0.1
    np.testing.assert_allclose(decode_chunked(vae, variables, whole_BTHWC, clip=False), decoded_BTHWC, atol=2e-5)

    chunks = list(decode_chunks(vae, variables, whole_BTHWC))
    assert [chunk.shape[1] for chunk in chunks] == [1, time, time, time]
    np.testing.assert_allclose(np.concatenate(chunks, axis=1), np.clip(decoded_BTHWC, -1, 1), atol=2e-5)


def test_a_single_frame_is_a_clip():
    vae, variables = WanVAE(TINY), random_variables(TINY)
    frame_BTHWC = draw(1, 1, 1, 4, 4, 3)
    latents_BTHWC = encode_chunked(vae, variables, frame_BTHWC)
    np.testing.assert_allclose(latents_BTHWC, vae.apply(variables, frame_BTHWC, method="encode"), atol=1e-5)
    assert decode_chunked(vae, variables, latents_BTHWC).shape == frame_BTHWC.shape


def test_no_frame_sees_a_later_one():
    vae, variables = WanVAE(TINY), random_variables(TINY)
    encode, decode = apply(vae, "encode"), apply(vae, "decode", clip=False)
    video_BTHWC, latents_BTHWC = draw(1, 1, 7, 4, 4, 3), draw(2, 1, 4, 2, 2, 4)
    for run, x_BTHWC, changed, after in ((encode, video_BTHWC, 5, 3), (decode, latents_BTHWC, 2, 3)):
        moved = np.abs(run(variables, x_BTHWC.at[:, changed].add(1.0)) - run(variables, x_BTHWC)).max(axis=(0, 2, 3, 4))
        assert np.all(moved[:after] == 0) and np.all(moved[after:] > 1e-4), moved


def test_memory_of_chunks_does_not_grow_with_the_clip():
    """Beside the video itself: the scan's frames, their copy in order and the joined clip."""
    vae, variables = WanVAE(TINY), random_variables(TINY)

    def temporary(frames):
        latents = jax.ShapeDtypeStruct((1, frames, 16, 16, 4), jnp.float32)
        run = jax.jit(lambda x: decode_chunked(vae, variables, x))
        return run.lower(latents).compile().memory_analysis().temp_size_in_bytes

    video = 8 * 2 * 32 * 32 * 3 * 4  # what 8 latent frames more decode to
    assert temporary(12) - temporary(4) < 3 * video


def test_latents_are_normalised_means():
    vae, variables = WanVAE(TINY), random_variables(TINY)
    video_BTHWC = draw(1, 1, 3, 4, 4, 3)
    mean_BTHWC, logvar_BTHWC = vae.apply(variables, video_BTHWC, method="moments")
    assert mean_BTHWC.shape == logvar_BTHWC.shape == (1, 2, 2, 2, 4)
    assert np.abs(mean_BTHWC - logvar_BTHWC).max() > 0.1
    latents_BTHWC = vae.apply(variables, video_BTHWC, method="encode")
    np.testing.assert_allclose(latents_BTHWC * np.array(STD) + np.array(MEAN), mean_BTHWC, atol=1e-5)
    plain = WanVAE(dataclasses.replace(TINY, latent_mean=(0.0,) * 4, latent_std=(1.0,) * 4))
    expected = plain.apply(variables, mean_BTHWC, method="decode")
    np.testing.assert_allclose(vae.apply(variables, latents_BTHWC, method="decode"), expected, atol=1e-5)


def test_decode_clips_unless_told():
    vae, variables = WanVAE(TINY), random_variables(TINY)
    variables["params"]["decoder"]["conv_out"]["kernel"] *= 3
    latents_BTHWC = draw(1, 1, 1, 2, 2, 4)
    free = vae.apply(variables, latents_BTHWC, clip=False, method="decode")
    assert np.abs(free).max() > 1
    np.testing.assert_array_equal(vae.apply(variables, latents_BTHWC, method="decode"), np.clip(free, -1, 1))


def test_bfloat16():
    variables = random_variables(TINY)
    video_BTHWC = draw(1, 1, 5, 8, 8, 3)
    half = WanVAE(TINY, Execution(dtype="bfloat16"))
    exact_BTHWC = apply(WanVAE(TINY), "encode")(variables, video_BTHWC)
    ours_BTHWC = apply(half, "encode")(variables, video_BTHWC)
    assert ours_BTHWC.dtype == jnp.float32
    assert 0 < np.sqrt(np.mean((ours_BTHWC - exact_BTHWC) ** 2)) < 0.03 * np.std(exact_BTHWC)
    decoded_BTHWC = decode_chunked(half, variables, exact_BTHWC)
    difference = decoded_BTHWC - apply(WanVAE(TINY), "decode")(variables, exact_BTHWC)
    assert decoded_BTHWC.dtype == jnp.float32 and 0 < np.sqrt(np.mean(difference**2)) < 0.03


def test_norm_statistics_are_float32():
    """A sum of 4096 squares in bfloat16 would stop growing; the result is within one rounding of the exact one."""
    x_BTHWC = draw(1, 1, 1, 1, 1, 4096).astype(jnp.bfloat16)
    y_BTHWC = wan_vae.ChannelNorm().apply({"params": {"scale": jnp.ones(4096)}}, x_BTHWC)
    x_fp64 = np.asarray(x_BTHWC, np.float64)
    np.testing.assert_allclose(np.asarray(y_BTHWC, np.float64), x_fp64 / np.sqrt(np.mean(x_fp64**2)), rtol=2**-8)
    zero = jnp.zeros((1, 1, 1, 1, 4))
    slope = jax.grad(lambda x: jnp.sum(wan_vae.ChannelNorm().apply({"params": {"scale": jnp.ones(4)}}, x)))(zero)
    assert np.all(np.isfinite(slope))


def test_remat_changes_no_gradient():
    config = CONFIGS["frames"]
    variables, video_BTHWC = random_variables(config), draw(1, 1, 2, 4, 4, 3)
    grads, programs = [], []
    for remat in ("none", "full"):
        vae = WanVAE(config, Execution(remat=remat))
        grad = jax.grad(lambda v, vae=vae: jnp.sum(vae.apply(v, video_BTHWC) ** 2))
        programs.append(str(jax.make_jaxpr(grad)(variables)))
        grads.append(jax.jit(grad)(variables))
    assert "prevent_cse" not in programs[0] and "prevent_cse" in programs[1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *grads)


# ---------------------------------------------------------------------------------------------------- tiles


@pytest.mark.parametrize(
    ("length", "tile", "stride"), [(60, 30, 15), (64, 30, 26), (31, 30, 15), (20, 20, 1), (9, 4, 1)]
)
def test_tile_weights_sum_to_one(length, tile, stride):
    starts = wan_vae_stream.tile_starts(length, tile, stride)
    assert starts[0] == 0 and starts[-1] == length - tile and max(np.diff(starts), default=0) <= stride
    weights = wan_vae_stream.tile_weights(starts, tile, length)
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)
    for start, weight in zip(starts, weights, strict=True):
        assert np.all(weight[:start] == 0) and np.all(weight[start + tile :] == 0) and weight.min() >= 0
        if stride == tile // 2 and (length - tile) % stride == 0:  # a ramp as long as the overlap: small steps only
            assert np.abs(np.diff(weight)).max() < 1.01 / stride


def test_tiles_meet_without_a_seam():
    """Attention switched off, a tile differs from the whole frame near its own borders only; blending hides that."""
    vae, variables = WanVAE(TINY), random_variables(TINY)
    variables["params"]["decoder"]["middle"]["attention"]["out"] = {
        "kernel": jnp.zeros((16, 16)),
        "bias": jnp.zeros(16),
    }
    x_BTHWC = np.random.default_rng(3).normal(size=(1, 2, 6, 9, 4))
    smooth = np.array(
        [np.interp(np.arange(64), np.arange(0, 72, 8), line) for line in np.moveaxis(x_BTHWC, 3, -1).reshape(-1, 9)]
    )
    latents_BTHWC = jnp.asarray(np.moveaxis(smooth.reshape(1, 2, 6, 4, 64), -1, 3), jnp.float32)

    whole = np.concatenate(list(decode_chunks(vae, variables, latents_BTHWC)), axis=1)
    tiled = decode_tiled(vae, variables, latents_BTHWC, tile=(6, 32), stride=(6, 16))
    cut = decode_tiled(vae, variables, latents_BTHWC, tile=(6, 32), stride=(6, 32))
    assert tiled.shape == whole.shape == (1, 3, 12, 128, 3) and np.std(whole) > 0.1
    # Tiles begin at 0, 16 and 32 and end at 32, 48 and 64; the decoder looks 12 latent pixels far.
    np.testing.assert_allclose(tiled[..., :32, :], whole[..., :32, :], atol=2e-5)
    np.testing.assert_allclose(tiled[..., 96:, :], whole[..., 96:, :], atol=2e-5)
    np.testing.assert_allclose(cut[..., :40, :], whole[..., :40, :], atol=2e-5)
    assert np.abs(cut - whole)[..., 40:88, :].max() > 1e-2

    def steps(video):  # mean change from one column to the next, after column i
        return np.abs(np.diff(video, axis=3)).mean(axis=(0, 1, 2, 4))

    assert steps(cut - whole)[63] > 3 * steps(tiled - whole).max()  # a plain cut shows
    lines = np.array([31, 63, 95])
    assert steps(tiled)[lines].max() <= 1.1 * np.delete(steps(tiled), lines).max()


def test_one_tile_is_the_whole_frame():
    vae, variables = WanVAE(TINY), random_variables(TINY)
    latents_BTHWC = draw(1, 1, 2, 6, 5, 4)
    expected = np.concatenate(list(decode_chunks(vae, variables, latents_BTHWC)), axis=1)
    np.testing.assert_allclose(decode_tiled(vae, variables, latents_BTHWC), expected, atol=2e-5)


# ---------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temporal": (True, True)}, "2 multipliers need 1 values of temporal"),
        ({"latent_mean": (0.0,) * 16}, "latent_mean needs one value per latent channel"),
        ({"latent_std": (1.0,)}, "latent_std needs one value per latent channel"),
    ],
)
def test_a_config_that_does_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes)


@pytest.mark.parametrize(
    ("method", "shape", "message"),
    [
        ("encode", (1, 4, 4, 4, 3), r"T = 2 k \+ 1 frames, got 4"),
        ("encode", (1, 3, 4, 5, 3), "multiples of 2"),
        ("encode", (1, 3, 4, 4, 4), r"\[B, T, H, W, 3\]"),
        ("decode", (1, 3, 2, 2, 3), r"\[B, T, H, W, 4\]"),
        ("decode", (1, 0, 2, 2, 4), "T >= 1"),
    ],
)
def test_inputs_that_do_not_fit(method, shape, message):
    vae = WanVAE(TINY)
    for run in (lambda v, x: vae.apply(v, x, method=method), lambda v, x: CHUNKED[method](vae, v, x)):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(run, random_variables(TINY), jnp.zeros(shape))


CHUNKED = {"encode": encode_chunked, "decode": decode_chunked}


def test_a_clip_goes_on_by_whole_groups_only():
    vae, variables = WanVAE(TINY), random_variables(TINY)
    _, cache = wan_vae_stream.advance(vae, variables, {}, jnp.zeros((1, 1, 4, 4, 3)), "encode")
    with pytest.raises(ValueError, match="T = 2 k frames, got 3"):
        wan_vae_stream.advance(vae, variables, cache, jnp.zeros((1, 3, 4, 4, 3)), "encode")


def test_tiles_with_gaps_are_refused():
    with pytest.raises(ValueError, match="stride from 1 to 4, got 5"):
        decode_tiled(WanVAE(TINY), {}, jnp.zeros((1, 1, 8, 8, 4)), tile=(4, 4), stride=(5, 4))
