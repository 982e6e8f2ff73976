"""Qwen3-VL's text decoder against transformers on the same random weights, float32: states, logits, all gradients."""

import copy
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import Execution, Qwen3VLTextConfig
from shotverse_jax.conversion import core, qwen3_vl
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.conversion.verify import verify_record
from shotverse_jax.models.qwen3_vl import Qwen3VLText

torch = pytest.importorskip("torch")
modeling = pytest.importorskip("transformers.models.qwen3_vl.modeling_qwen3_vl")
configuration = pytest.importorskip("transformers.models.qwen3_vl.configuration_qwen3_vl")

# Heads times head width differs from the width, and two query heads share each key head.
CONFIG = Qwen3VLTextConfig(
    vocab_size=96,
    hidden_size=48,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    mlp_size=80,
    mrope_section=(4, 2, 2),
)
HF_CONFIG = {
    "vocab_size": 96,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 80,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_theta": 5e6, "rope_type": "default", "mrope_section": [4, 2, 2]},
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = configuration.Qwen3VLTextConfig(**HF_CONFIG)
    config._attn_implementation = "eager"
    model = modeling.Qwen3VLTextModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + ("norm" in name))
    return model


@pytest.fixture(scope="module")
def tensors(model):
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def draw_inputs(padded):
    rng = np.random.default_rng(1)
    x_BTD = rng.normal(size=(2, 11, 48)).astype(np.float32)
    real_BT = np.ones((2, 11), bool)
    positions_3BT = np.broadcast_to(np.arange(11), (3, 2, 11))
    if padded:  # left and right padding, and rows as an image would make them
        real_BT[0, :3] = real_BT[1, 8:] = False
        positions_3BT = rng.integers(0, 50, (3, 2, 11))
    return x_BTD, positions_3BT, real_BT, rng.normal(size=(2, 11, 96)).astype(np.float32) * real_BT[..., None]


@pytest.mark.parametrize("padded", [False, True])
def test_logits_and_gradients(model, tensors, padded, parity):
    x_BTD, positions_3BT, real_BT, weights_BTV = draw_inputs(padded)
    x = torch.tensor(x_BTD, requires_grad=True)
    hidden = model(
        inputs_embeds=x,
        attention_mask=torch.tensor(real_BT, dtype=torch.long),
        position_ids=torch.tensor(np.array(positions_3BT)),
    ).last_hidden_state
    logits = hidden @ model.embed_tokens.weight.T
    model.zero_grad()
    (logits * torch.tensor(weights_BTV)).sum().backward()
    their_grads = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}

    ours = Qwen3VLText(CONFIG)

    def loss(params, x_BTD):
        hidden_BTD = ours.apply({"params": params}, x_BTD, positions_3BT, real_BT)
        logits_BTV = ours.apply({"params": params}, hidden_BTD, method="logits")
        return jnp.sum(logits_BTV * weights_BTV), (hidden_BTD, logits_BTV)

    params = NETWORKS["qwen3-vl-text"].from_torch(tensors, CONFIG)
    grad = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    (params_grad, x_grad), (our_hidden, our_logits) = grad(params, x_BTD)
    assert parity("states", our_hidden[real_BT], hidden.detach().numpy()[real_BT]) < 1e-5
    assert parity("logits", our_logits[real_BT], logits.detach().numpy()[real_BT]) < 1e-5
    assert parity("gradients", x_grad, x.grad.numpy()) < 1e-4
    assert (
        parity(
            "gradients of weights", params_grad, NETWORKS["qwen3-vl-text"].from_torch(their_grads, CONFIG), size=np.max
        )
        < 1e-4
    )


def test_bfloat16_is_near(model, tensors):
    """Activations in bfloat16 on both sides; each rounds about as far from float32."""
    x_BTD = draw_inputs(False)[0]
    exact = model(inputs_embeds=torch.tensor(x_BTD)).last_hidden_state.detach().numpy()
    ours = Qwen3VLText(CONFIG, Execution(dtype="bfloat16")).apply(
        {"params": NETWORKS["qwen3-vl-text"].from_torch(tensors, CONFIG)}, x_BTD
    )
    rounded = copy.deepcopy(model).to(torch.bfloat16)
    theirs = rounded(inputs_embeds=torch.tensor(x_BTD).bfloat16()).last_hidden_state
    assert ours.dtype == jnp.bfloat16
    our_error = np.sqrt(np.mean((np.asarray(ours, np.float32) - exact) ** 2))
    their_error = np.sqrt(np.mean((theirs.float().detach().numpy() - exact) ** 2))
    assert 0 < our_error < 1.5 * their_error


@pytest.mark.parametrize("name", ["input_ids", "inputs_embeds"])
def test_a_record_of_transformers_replays(model, tensors, tmp_path, name):
    x_BTD, _, real_BT, _ = draw_inputs(False)
    real_BT[1, 8:] = False
    ids_BT = np.random.default_rng(2).integers(0, 96, (2, 11))
    inputs = {"input_ids": ids_BT, "inputs_embeds": x_BTD}[name]
    with torch.no_grad():
        hidden = model(**{name: torch.tensor(inputs)}, attention_mask=torch.tensor(real_BT, dtype=torch.long))[0]
        logits = hidden @ model.embed_tokens.weight.T
    meta = {
        "model": "qwen3_vl_text",
        "config": HF_CONFIG,
        "inputs": [name, "attention_mask"],
        "outputs": ["last_hidden", "logits"],
    }
    arrays = {name: inputs, "attention_mask": real_BT, "last_hidden": hidden.numpy(), "logits": logits.numpy()}
    arrays |= {f"param/{key}": tensor for key, tensor in tensors.items()}
    np.savez(tmp_path / "record.npz", **arrays, meta=np.array(json.dumps(meta)))
    report = verify_record(tmp_path / "record.npz", tol=2e-5)
    assert report.ok and [output.name for output in report.outputs] == ["last_hidden", "logits"]

    meta["config"] = HF_CONFIG | {"rms_norm_eps": 1e-2}
    np.savez(tmp_path / "record.npz", **arrays, meta=np.array(json.dumps(meta)))
    assert not verify_record(tmp_path / "record.npz", tol=2e-5).ok


def test_export_loads_in_transformers(model, tensors):
    """What to_torch writes is, name by name, a state_dict that transformers accepts, and bit for bit the same."""
    written = core.to_torch(qwen3_vl.TABLE, NETWORKS["qwen3-vl-text"].from_torch(tensors, CONFIG))
    state = {name.removeprefix("model.language_model."): torch.tensor(array) for name, array in written.items()}
    other = modeling.Qwen3VLTextModel(model.config)
    other.load_state_dict(state, strict=True)
    assert all(torch.equal(a, b) for a, b in zip(other.state_dict().values(), model.state_dict().values(), strict=True))


def test_config_from_transformers_config():
    config = configuration.Qwen3VLTextConfig(**HF_CONFIG).to_dict()
    assert qwen3_vl.config_from_hf(config) == CONFIG
    assert configuration.Qwen3VLTextConfig(**qwen3_vl.config_to_hf(CONFIG)).to_dict() == config
