"""CLIP's text and vision towers (transformers `models/clip`): pre-LN blocks, all linears with bias, learned positions.

Axes: T tokens of a text, P places (of the vision tower: the class token, then the patches by rows); images are
[B, H, W, 3], normalised as CLIP's.

Parameters of the text tower: `embedding` [V, D], `positions` [P, D], `layers` (every leaf stacked on axis 0),
`final_norm`; of the vision tower: `patch_embed`, `embedding` [1, D] of the class token, `positions`, `pre_norm`,
`layers`, `post_norm`.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotverse_jax.config import CLIPTextConfig, CLIPVisionConfig, Execution
from shotverse_jax.nn.attention import attend
from shotverse_jax.nn.linear import Linear
from shotverse_jax.nn.norm import LayerNorm
from shotverse_jax.nn.stack import run_stack

_init = nn.initializers.normal(0.02)


def activate(x: jax.Array, name: str) -> jax.Array:
    """The exact GELU ("gelu"), or x sigmoid(1.702 x) ("quick_gelu"); ValueError for another name."""
    if name == "gelu":
        return nn.gelu(x, approximate=False)
    if name == "quick_gelu":
        return x * nn.sigmoid(1.702 * x)
    raise ValueError(f'CLIP\'s activation is "gelu" or "quick_gelu", got "{name}"')


class Block(nn.Module):
    """x + attention(norm(x)), then x + fc2(activation(fc1(norm(x)))); the block of both towers.

    causal: whether a token sees only those up to itself, as in the text tower.
    """

    config: CLIPTextConfig | CLIPVisionConfig
    execution: Execution
    causal: bool

    @nn.compact
    def __call__(self, x_BTD, real_BT):
        config = self.config
        heads = (*x_BTD.shape[:2], config.num_heads, config.hidden_size // config.num_heads)
        normed_BTD = LayerNorm(config.layer_norm_eps, name="norm1")(x_BTD)
        q, k, v = (
            Linear(config.hidden_size, use_bias=True, name=name)(normed_BTD).reshape(heads)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        real_B1T = None if real_BT is None else real_BT[:, None]
        mixed_BTNH = attend(q, k, v, kernel=self.execution.attention, causal=self.causal, mask_BTS=real_B1T)
        x_BTD = x_BTD + Linear(config.hidden_size, use_bias=True, name="out_proj")(mixed_BTNH.reshape(x_BTD.shape))
        normed_BTD = LayerNorm(config.layer_norm_eps, name="norm2")(x_BTD)
        wide_BTF = activate(Linear(config.mlp_size, use_bias=True, name="fc1")(normed_BTD), config.activation)
        return x_BTD + Linear(config.hidden_size, use_bias=True, name="fc2")(wide_BTF)


def _run_blocks(tower: "CLIPText | CLIPVision", causal: bool, x_BTD, real_BT):
    """The blocks of a tower, in its one stack or in the two that `kept` divides it into."""
    config, execution = tower.config, tower.execution
    for name, length in (("layers", tower.kept or config.num_layers), ("last", config.num_layers - tower.kept)):
        if name == "layers" or tower.kept:
            x_BTD = run_stack(Block(config, execution, causal=causal, name=name), length, execution, x_BTD, real_BT)
    return x_BTD


class CLIPText(nn.Module):
    """Token ids in, final-normed states out (transformers' CLIPTextModel, `last_hidden_state`).

    kept: number of the first blocks that do not learn. They are then the stack `layers`, and the others a stack `last`,
        so that no gradient is made for the first ones. 0 (default): all are in `layers`.
    """

    config: CLIPTextConfig
    execution: Execution = Execution()
    kept: int = 0

    @nn.compact
    def __call__(self, ids_BT: jax.Array, real_BT: jax.Array) -> jax.Array:
        """States [B, T, D], float32, of padding too; a token sees the real tokens (True in real_BT) up to itself.

        Raises ValueError for more tokens than positions.
        """
        config = self.config
        length = ids_BT.shape[1]
        if length > config.max_positions:
            raise ValueError(f"the text tower reads {config.max_positions} tokens, got {length}; cut the text")
        table_VD = self.param("embedding", _init, (config.vocab_size, config.hidden_size))
        positions_PD = self.param("positions", _init, (config.max_positions, config.hidden_size))
        x_BTD = (table_VD[ids_BT] + positions_PD[:length]).astype(self.execution.dtype)
        x_BTD = _run_blocks(self, True, x_BTD, real_BT)
        return LayerNorm(config.layer_norm_eps, name="final_norm")(x_BTD).astype(jnp.float32)


def end_of_text(states_BTD: jax.Array, ids_BT: jax.Array) -> jax.Array:
    """States [B, D] at the end token of each text, which has the largest id of the vocabulary (`pooler_output`)."""
    end_B11 = jnp.argmax(ids_BT, axis=1)[:, None, None]
    return jnp.take_along_axis(states_BTD, end_B11, axis=1)[:, 0]


class Seen(NamedTuple):
    """What the vision tower returns, float32.

    last_BPD: states of the class token and of the patches, before any final norm.
    pooled_BD: the class token after the final norm.
    """

    last_BPD: jax.Array
    pooled_BD: jax.Array


class PatchEmbed(nn.Module):
    """Patches by rows, [B, patches, D]: a convolution without bias whose stride is its kernel, [y, x, 3, D]."""

    config: CLIPVisionConfig

    @nn.compact
    def __call__(self, image_BHWC):
        size, width = self.config.patch_size, self.config.hidden_size
        side = self.config.image_size // size
        kernel = self.param("kernel", _init, (size, size, 3, width)).reshape(-1, width).astype(image_BHWC.dtype)
        # A rest that fills no patch is left out, as a convolution without padding leaves it out.
        cells = image_BHWC[:, : side * size, : side * size].reshape(-1, side, size, side, size, 3)
        return cells.swapaxes(2, 3).reshape(len(image_BHWC), side * side, -1) @ kernel


class CLIPVision(nn.Module):
    """Pictures in, states out (transformers' CLIPVisionModel, `last_hidden_state` and `pooler_output`).

    kept: as that of `CLIPText`.
    """

    config: CLIPVisionConfig
    execution: Execution = Execution()
    kept: int = 0

    @nn.compact
    def __call__(self, image_BHWC: jax.Array) -> Seen:
        """image_BHWC: three channels, normalised as the tower was trained; ValueError for another size."""
        config, batch, width = self.config, len(image_BHWC), self.config.hidden_size
        expected = config.image_size, config.image_size, 3
        if image_BHWC.shape[1:] != expected:
            raise ValueError(f"the vision tower reads pictures {list(expected)}, got {list(image_BHWC.shape[1:])}")
        x_BPD = PatchEmbed(config, name="patch_embed")(image_BHWC.astype(self.execution.dtype))
        class_1D = self.param("embedding", _init, (1, width))
        x_BPD = jnp.concatenate([jnp.broadcast_to(class_1D, (batch, 1, width)), x_BPD], axis=1)
        x_BPD = (x_BPD + self.param("positions", _init, (config.places, width))).astype(self.execution.dtype)
        x_BPD = LayerNorm(config.layer_norm_eps, name="pre_norm")(x_BPD)
        x_BPD = _run_blocks(self, False, x_BPD, None).astype(jnp.float32)
        return Seen(x_BPD, LayerNorm(config.layer_norm_eps, name="post_norm")(x_BPD[:, 0]))


def example(config: CLIPTextConfig | CLIPVisionConfig) -> dict:
    """The smallest arguments of a tower's `__call__` that fix the parameters, as shapes.

    One token, or one image.
    """
    if isinstance(config, CLIPVisionConfig):
        side = config.image_size
        return {"image_BHWC": jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)}
    return {"ids_BT": jax.ShapeDtypeStruct((1, 1), jnp.int32), "real_BT": jax.ShapeDtypeStruct((1, 1), bool)}
