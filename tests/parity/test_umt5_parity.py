"""UMT5's encoder against transformers on the same random weights, float32: states and all gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import Execution, UMT5Config
from shotverse_jax.conversion import core, umt5
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.models.umt5 import UMT5Encoder, relative_buckets

torch = pytest.importorskip("torch")
modeling = pytest.importorskip("transformers.models.umt5.modeling_umt5")
configuration = pytest.importorskip("transformers.models.umt5.configuration_umt5")

# Heads times head width differs from the width; 70 tokens reach every bucket, the last one by far.
CONFIG = UMT5Config(
    vocab_size=90, hidden_size=24, num_layers=3, num_heads=4, head_dim=8, mlp_size=40, buckets=16, max_distance=40
)
LENGTHS = (70, 41)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = configuration.UMT5Config(
        vocab_size=90,
        d_model=24,
        num_layers=3,
        num_heads=4,
        d_kv=8,
        d_ff=40,
        relative_attention_num_buckets=16,
        relative_attention_max_distance=40,
        dropout_rate=0.0,
    )
    model = modeling.UMT5EncoderModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = {"shared.weight": 1.0}.get(name, 0.25 if "bias" not in name else 1.0)
            parameter.copy_(torch.randn_like(parameter) * scale + ("norm" in name))
    return model


@pytest.fixture(scope="module")
def tensors(model):
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def draw_inputs():
    rng = np.random.default_rng(1)
    ids_BS = rng.integers(2, 90, (2, max(LENGTHS)))
    real_BS = np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]
    return np.where(real_BS, ids_BS, 0), real_BS, rng.normal(size=(2, max(LENGTHS), 24)).astype(np.float32)


def test_states_and_gradients(model, tensors, parity):
    ids_BS, real_BS, weights_BSD = draw_inputs()
    theirs = model(input_ids=torch.tensor(ids_BS), attention_mask=torch.tensor(real_BS, dtype=torch.long))[0]
    (theirs * torch.tensor(weights_BSD * real_BS[..., None])).sum().backward()
    their_grads = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}

    def loss(params):
        states_BSD = UMT5Encoder(CONFIG).apply({"params": params}, ids_BS, real_BS)
        return jnp.sum(states_BSD * weights_BSD), states_BSD

    grads, ours = jax.jit(jax.grad(loss, has_aux=True))(NETWORKS["umt5"].from_torch(tensors, CONFIG))
    assert ours.dtype == jnp.float32 and not ours[~real_BS].any()
    assert parity("states", ours[real_BS], theirs.detach().numpy()[real_BS]) < 2e-5
    assert parity("gradients of weights", grads, NETWORKS["umt5"].from_torch(their_grads, CONFIG), size=np.max) < 1e-4


def test_bfloat16_is_near(model, tensors):
    """Activations in bfloat16 on both sides; each rounds about as far from float32."""
    ids_BS, real_BS, _ = draw_inputs()
    inputs = {"input_ids": torch.tensor(ids_BS), "attention_mask": torch.tensor(real_BS, dtype=torch.long)}
    params = NETWORKS["umt5"].from_torch(tensors, CONFIG)
    with torch.no_grad():
        exact = model(**inputs)[0].numpy()[real_BS]
        rounded = modeling.UMT5EncoderModel(model.config).eval()
        rounded.load_state_dict(model.state_dict())
        theirs = rounded.to(torch.bfloat16)(**inputs)[0].float().numpy()[real_BS]
    ours = UMT5Encoder(CONFIG, Execution(dtype="bfloat16")).apply({"params": params}, ids_BS, real_BS)[real_BS]
    our_error, their_error = (np.sqrt(np.mean((np.asarray(x) - exact) ** 2)) for x in (ours, theirs))
    assert 0 < our_error < 1.5 * their_error


@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (16, 40), (8, 20)])
def test_buckets(buckets, max_distance):
    config = configuration.UMT5Config(
        relative_attention_num_buckets=buckets, relative_attention_max_distance=max_distance, d_model=8, d_kv=4
    )
    attention = modeling.UMT5Attention(config, has_relative_attention_bias=True)
    places = torch.arange(600)
    theirs = attention._relative_position_bucket(places[None, :] - places[:, None])
    np.testing.assert_array_equal(relative_buckets(600, buckets, max_distance), theirs.numpy())


def test_export_loads_in_transformers(model, tensors):
    """What is written under transformers' names is a state_dict that it accepts, and bit for bit the same."""
    written = core.to_torch(umt5.HF_TABLE, NETWORKS["umt5"].from_torch(tensors, CONFIG))
    state = {name: torch.tensor(array) for name, array in written.items()}
    state["encoder.embed_tokens.weight"] = state["shared.weight"]
    other = modeling.UMT5EncoderModel(model.config)
    other.load_state_dict(state, strict=True)
    assert all(torch.equal(a, b) for a, b in zip(other.state_dict().values(), model.state_dict().values(), strict=True))


def test_a_record_of_it_replays(model, tensors, replayed):
    ids_BS, real_BS, _ = draw_inputs()
    inputs = {"input_ids": ids_BS, "attention_mask": real_BS.astype(np.int64)}
    with torch.no_grad():
        states_BSD = model(**{name: torch.tensor(x) for name, x in inputs.items()})[0].numpy()
    outputs = {"last_hidden": states_BSD * real_BS[..., None]}
    assert replayed("umt5", tensors, inputs, outputs, max_distance=40).ok
    assert not replayed("umt5", tensors, inputs, outputs).ok  # with the buckets of the released size
    outputs["last_hidden"][0, 3] += 0.01
    assert not replayed("umt5", tensors, inputs, outputs, max_distance=40).ok
