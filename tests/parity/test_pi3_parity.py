"""Pi3's encoder against transformers' DINOv2 with registers on the same random weights, float32."""

import jax
import numpy as np
import pytest

from shotverse_jax.config import Execution, Pi3Config
from shotverse_jax.conversion import core
from shotverse_jax.conversion.pi3 import TABLE
from shotverse_jax.models.pi3 import Encoder

torch = pytest.importorskip("torch")
dinov2 = pytest.importorskip("transformers.models.dinov2_with_registers.modeling_dinov2_with_registers")
configuration = pytest.importorskip("transformers.models.dinov2_with_registers.configuration_dinov2_with_registers")

CONFIG = Pi3Config(hidden_size=24, head_dim=8, encoder_layers=2, position_grid=5, patch_size=4)
TOP = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "register_tokens": "embeddings.register_tokens",
    **{f"patch_embed.proj.{x}": f"embeddings.patch_embeddings.projection.{x}" for x in ("weight", "bias")},
    **{f"norm.{x}": f"layernorm.{x}" for x in ("weight", "bias")},
}
LAYER = {"attn.proj": "attention.o_proj", **{name: name for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2")}}


def published_names(state):
    """transformers' tensors under the names of DINOv2's own file, where q, k and v are one."""
    named = {f"encoder.{name}": state[theirs] for name, theirs in TOP.items()}
    for i in range(CONFIG.encoder_layers):
        ours, theirs = f"encoder.blocks.{i}.", f"encoder.layer.{i}."
        for x in ("weight", "bias"):
            named |= {f"{ours}{name}.{x}": state[f"{theirs}{other}.{x}"] for name, other in LAYER.items()}
            parts = [state[f"{theirs}attention.{part}_proj.{x}"] for part in "qkv"]
            named[f"{ours}attn.qkv.{x}"] = np.concatenate(parts)
        named |= {f"{ours}ls{n}.gamma": state[f"{theirs}layer_scale{n}.lambda1"] for n in (1, 2)}
    return named


def test_the_encoder(parity):
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "patch_size": 4, "image_size": 20}
    model = dinov2.Dinov2WithRegistersModel(configuration.Dinov2WithRegistersConfig(**sizes, num_register_tokens=4))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter) + ("norm" in name or "lambda" in name))
    tensors = published_names({name: tensor.numpy() for name, tensor in model.state_dict().items()})
    # 3 x 7 patches, to which the table of 5 x 5 positions is stretched, made smaller one way and larger the other.
    frames_FHWC = np.random.default_rng(1).normal(size=(2, 12, 28, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = model.eval()(torch.tensor(frames_FHWC.transpose(0, 3, 1, 2))).last_hidden_state[:, 5:]
    encoder = Encoder(CONFIG, Execution())
    shapes = jax.eval_shape(lambda: encoder.init(jax.random.key(0), frames_FHWC))["params"]
    entries = (e for e in TABLE.entries if e.source.startswith("encoder."))
    table = core.Table(tuple(core.Entry(e.source, e.target.removeprefix("encoder/"), e.transform) for e in entries))
    ours = jax.jit(encoder.apply)({"params": core.to_flax(table, tensors, shapes)}, frames_FHWC)
    assert parity("DINOv2 with registers", ours, theirs.numpy()) < 1e-5
