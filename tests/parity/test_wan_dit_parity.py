"""The video transformer against diffusers' on the same random weights, float32: velocity and all gradients."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import WanDiTConfig
from shotverse_jax.conversion import wan_dit
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.models.wan_dit import WanDiT

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

# A head of 32 splits into 12, 10 and 10 channels; height and width differ.
CONFIG = WanDiTConfig(
    hidden_size=64,
    num_layers=2,
    num_heads=2,
    mlp_size=80,
    frequency_size=16,
    text_size=20,
    latent_channels=4,
    rope="wan3d",
    camera=False,
)


@pytest.fixture(scope="module")
def model():
    """Spread so that every part of a block matters, the norms' scales and the modulations too."""
    torch.manual_seed(0)
    model = diffusers.WanTransformer3DModel(**wan_dit.config_to_diffusers(CONFIG)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 0.5 if "scale_shift" in name else parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.2
            mean = "norm" in name and name.endswith("weight")
            parameter.copy_(torch.randn_like(parameter) * spread + mean)
    return model


@pytest.fixture(scope="module")
def params(model):
    return NETWORKS["wan-dit"].from_torch({name: tensor.numpy() for name, tensor in model.state_dict().items()}, CONFIG)


def draw():
    rng = np.random.default_rng(1)
    latents_BTHWC = rng.normal(size=(2, 3, 4, 6, 4)).astype(np.float32)
    return latents_BTHWC, np.array([17.0, 995.9], np.float32), rng.normal(size=(2, 7, 20)).astype(np.float32)


def test_velocity_and_gradients(model, params, parity):
    latents_BTHWC, timestep_B, context_BSD = draw()
    weights_BTHWC = np.random.default_rng(2).normal(size=latents_BTHWC.shape).astype(np.float32)
    latents, context = (torch.tensor(x, requires_grad=True) for x in (latents_BTHWC, context_BSD))
    velocity = model(latents.permute(0, 4, 1, 2, 3), torch.tensor(timestep_B), context, return_dict=False)[0]
    velocity = velocity.permute(0, 2, 3, 4, 1)
    model.zero_grad()
    (velocity * torch.tensor(weights_BTHWC)).sum().backward()

    def loss(params, latents_BTHWC, context_BSD):
        velocity_BTHWC = WanDiT(CONFIG).apply({"params": params}, latents_BTHWC, timestep_B, context_BSD)
        return jnp.sum(velocity_BTHWC * weights_BTHWC), velocity_BTHWC

    grad = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    (params_grad, latents_grad, context_grad), our_velocity = grad(params, latents_BTHWC, context_BSD)
    assert parity("velocity", our_velocity, velocity.detach().numpy()) < 1e-4
    assert parity("gradients", latents_grad, latents.grad.numpy()) < 1e-4
    assert parity("gradients", context_grad, context.grad.numpy()) < 1e-4
    their_grads = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    assert parity("gradients of weights", params_grad, NETWORKS["wan-dit"].from_torch(their_grads, CONFIG)) < 1e-4


def test_more_shots_than_captions_is_an_error(params):
    """Where HoloCine prints a warning and attends to everything."""
    window_BKS = np.ones((2, 2, 7), bool)
    with pytest.raises(ValueError, match=r"\[\[0, 1, 2\], .* do not fit text windows of 2 shots"):
        WanDiT(CONFIG).apply({"params": params}, *draw(), np.array([[0, 1, 2]] * 2), window_BKS)
    with pytest.raises(ValueError, match=r"do not fit shot_lengths \(1, 1, 1\) and text windows of 2 shots"):
        WanDiT(CONFIG).apply({"params": params}, *draw(), None, window_BKS, shot_lengths=(1, 1, 1))


def test_export_loads_in_diffusers(model, params):
    """What to_diffusers writes is, name by name, a state_dict that diffusers accepts, and bit for bit the same."""
    state = {
        name: torch.tensor(array) for name, array in NETWORKS["wan-dit"].to_torch(params, CONFIG, "diffusers").items()
    }
    other = diffusers.WanTransformer3DModel.from_config(model.config)
    other.load_state_dict(state, strict=True)
    assert all(torch.equal(a, b) for a, b in zip(other.state_dict().values(), model.state_dict().values(), strict=True))


def test_the_example_of_a_record_is_a_run_of_diffusers(parity):
    """What examples/wan_dit.npz says the PyTorch network returned, it returns."""
    with np.load(Path(__file__).parents[2] / "examples" / "wan_dit.npz") as file:
        arrays = {name: file[name] for name in file.files}
    meta = json.loads(str(arrays["meta"]))
    state = {name.removeprefix("param/"): array for name, array in arrays.items() if name.startswith("param/")}
    config = wan_dit.config_from_tensors(state, num_heads=meta["num_heads"], eps=meta["eps"], rope="wan3d")
    model = diffusers.WanTransformer3DModel(**wan_dit.config_to_diffusers(config)).eval()
    model.load_state_dict({name: torch.tensor(array) for name, array in state.items()}, strict=True)
    with torch.no_grad():
        given = (torch.tensor(arrays[name]) for name in ("latents", "timestep", "context"))
        velocity = model(*given, return_dict=False)[0].numpy()
    assert parity("the record of examples/", arrays["output"], velocity) < 1e-5
