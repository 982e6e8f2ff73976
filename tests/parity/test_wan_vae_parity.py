"""The video VAE against diffusers' AutoencoderKLWan on the same random weights, float32; diffusers runs in chunks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import WanVAEConfig
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.models.wan_vae import WanVAE
from shotverse_jax.models.wan_vae_stream import decode_chunked, encode_chunked

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

MEAN, STD = (0.3, -0.2, 0.1, 0.0), (1.5, 0.7, 1.0, 2.0)
CONFIGS = {
    "8x8x4": WanVAEConfig(4, 8, (1, 2, 2, 2), 1, (False, True, True), MEAN, STD),
    "4x4x4": WanVAEConfig(4, 8, (1, 2, 3), 2, (True, True), MEAN, STD),
}


@pytest.fixture(scope="module", params=CONFIGS)
def pair(request):
    """Config, diffusers' model with random weights everywhere, our parameters."""
    config = CONFIGS[request.param]
    torch.manual_seed(0)
    model = diffusers.AutoencoderKLWan(
        base_dim=config.base_size,
        z_dim=config.latent_channels,
        dim_mult=list(config.multipliers),
        num_res_blocks=config.res_blocks,
        temperal_downsample=list(config.temporal),
        latents_mean=list(MEAN),
        latents_std=list(STD),
        scale_factor_spatial=2 ** len(config.temporal),
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            wide = 0.9 / parameter[0].numel() ** 0.5 if name.endswith("weight") else 0.1
            parameter.copy_(torch.randn_like(parameter) * wide + name.endswith("gamma"))
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return config, model, {"params": NETWORKS["wan-vae"].from_torch(tensors, config)}


def channels_first(x_BTHWC):
    return torch.tensor(np.moveaxis(np.asarray(x_BTHWC), -1, 1))


def channels_last(x_BCTHW):
    return np.moveaxis(x_BCTHW.detach().numpy(), 1, -1)


def test_encode(pair, parity):
    config, model, variables = pair
    video_BTHWC = np.random.default_rng(0).uniform(-1, 1, (2, 9, 16, 24, 3)).astype(np.float32)
    with torch.no_grad():
        posterior = model.encode(channels_first(video_BTHWC)).latent_dist
    vae = WanVAE(config)
    mean_BTHWC, logvar_BTHWC = jax.jit(lambda x: vae.apply(variables, x, method="moments"))(video_BTHWC)
    assert mean_BTHWC.shape[1] == 3 and np.std(mean_BTHWC) > 0.05
    assert parity("encoder", mean_BTHWC, channels_last(posterior.mean)) < 1e-4
    assert parity("encoder", np.clip(logvar_BTHWC, -30, 20), channels_last(posterior.logvar)) < 1e-4
    expected = (channels_last(posterior.mean) - np.array(MEAN)) / np.array(STD)
    assert parity("encoder, streamed", encode_chunked(vae, variables, jnp.asarray(video_BTHWC)), expected) < 1e-4


def test_decode(pair, parity):
    config, model, variables = pair
    latents_BTHWC = np.random.default_rng(1).normal(size=(2, 3, 3, 2, 4)).astype(np.float32)
    with torch.no_grad():
        video = model.decode(channels_first(latents_BTHWC * np.array(STD, "f4") + np.array(MEAN, "f4"))).sample
    expected, vae = channels_last(video), WanVAE(config)
    ours = jax.jit(lambda x: vae.apply(variables, x, method="decode"))(latents_BTHWC)
    assert ours.shape[1] == 9 and np.std(expected) > 0.05 and np.mean(np.abs(expected) < 1) > 0.3
    assert parity("decoder", ours, expected) < 1e-4
    assert parity("decoder, streamed", decode_chunked(vae, variables, jnp.asarray(latents_BTHWC)), expected) < 1e-4


@pytest.mark.parametrize("pair", ["4x4x4"], indirect=True)
def test_gradients_of_a_reconstruction(pair):
    config, model, variables = pair
    video_BTHWC = np.random.default_rng(2).uniform(-1, 1, (1, 5, 16, 16, 3)).astype(np.float32)
    mean = model.encode(channels_first(video_BTHWC)).latent_dist.mean
    sample = model.decode(mean).sample
    model.zero_grad()
    (sample * channels_first(video_BTHWC)).sum().backward()
    grads = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    vae = WanVAE(config)

    def loss(params):
        return jnp.sum(vae.apply({"params": params}, video_BTHWC) * video_BTHWC)

    ours, theirs = jax.jit(jax.grad(loss))(variables["params"]), NETWORKS["wan-vae"].from_torch(grads, config)
    # Not a tensor at a time: a tensor whose gradient cancels to nearly nothing holds the rounding of the others.
    difference = jax.tree.leaves(jax.tree.map(lambda a, b: np.max(np.abs(a - b)), ours, theirs))
    largest = jax.tree.leaves(jax.tree.map(lambda a: np.max(np.abs(a)), theirs))
    assert min(largest) > 0 and max(difference) < 1e-4 * max(largest)


def test_export_loads_in_diffusers(pair):
    config, model, variables = pair
    written = NETWORKS["wan-vae"].to_torch(variables["params"], config, "diffusers")
    state = model.state_dict()
    assert written.keys() == state.keys()
    assert all(np.array_equal(array, state[name].numpy()) for name, array in written.items())


@pytest.mark.parametrize("pair", ["8x8x4"], indirect=True)
def test_a_record_of_both_halves_replays(pair, replayed):
    _, model, _ = pair
    rng, shape = np.random.default_rng(3), (1, 4, 1, 1, 1)
    mean, std = (np.array(values, np.float32).reshape(shape) for values in (MEAN, STD))
    inputs = {
        "video": rng.uniform(-1, 1, (1, 3, 5, 16, 24)).astype(np.float32),
        "latents": rng.normal(size=(1, 4, 2, 2, 3)).astype(np.float32),
    }
    with torch.no_grad():
        encoded = (model.encode(torch.tensor(inputs["video"])).latent_dist.mean.numpy() - mean) / std
        decoded = model.decode(torch.tensor(inputs["latents"] * std + mean)).sample.numpy()
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    latents = {"latent_mean": MEAN, "latent_std": STD}
    report = replayed("wan_vae", tensors, inputs, {"encoded": encoded, "decoded": decoded}, **latents)
    assert report.ok and len(report.outputs) == 2
    assert not replayed("wan_vae", tensors, {"video": inputs["video"]}, {"encoded": encoded + 0.01}, **latents).ok
    with pytest.raises(ValueError, match="a wan_vae record needs video or latents"):
        replayed("wan_vae", tensors, {}, {"encoded": encoded}, **latents)
