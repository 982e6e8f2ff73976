"""Qwen3-VL (transformers `models/qwen3_vl`): the text decoder, used by the planner as an encoder of states, and the
whole model, which reads images too.

Parameters of the decoder: `embedding` [V, D], `layers` (every leaf stacked on axis 0), `norm`, and `head` [V, D] where
the output head is not the embedding. The whole model has `text`, which is these, and `vision` (`qwen3_vl_vision.py`).

Axes: T tokens that are read now, S places of the cache, N heads (of which keys and values have fewer), 3 the rows time,
height and width of positions. Beside the legend's: K levels of DeepStack; F frames, S patches of a frame, P values of a
patch, M tokens that a frame becomes, in arrays that come from the vision tower.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotverse_jax.config import Execution, Qwen3VLConfig, Qwen3VLTextConfig
from shotverse_jax.models.qwen3_vl_vision import Qwen3VLVision
from shotverse_jax.nn.attention import attend
from shotverse_jax.nn.linear import Linear
from shotverse_jax.nn.norm import RMSNorm
from shotverse_jax.nn.rope import mrope_table, rotate_halves
from shotverse_jax.nn.stack import run_stack

Cache = dict[str, jax.Array]


class Attention(nn.Module):
    """Grouped-query self-attention, with RMSNorm of each head of q and k before the rotation.

    With a cache ({"k", "v"}, each [B, S, N, H]) the new keys and values are written into it at place `start`, and
    queries see what mask_BTS allows of it; without one they see the tokens up to themselves.
    """

    config: Qwen3VLTextConfig
    execution: Execution

    @nn.compact
    def __call__(self, x_BTD, rope, mask_BTS, cache=None, start=None, *, deterministic):
        config = self.config

        def heads(name, count):
            y = Linear(count * config.head_dim, name=name)(x_BTD, deterministic)
            return y.reshape(*x_BTD.shape[:2], count, config.head_dim)

        norm_eps = config.rms_norm_eps
        q_BTNH = rotate_halves(RMSNorm(norm_eps, name="q_norm")(heads("q_proj", config.num_heads)), rope)
        k_BTNH = rotate_halves(RMSNorm(norm_eps, name="k_norm")(heads("k_proj", config.num_kv_heads)), rope)
        v_BTNH = heads("v_proj", config.num_kv_heads)
        if cache is None:
            o_BTNH = attend(q_BTNH, k_BTNH, v_BTNH, kernel=self.execution.attention, causal=True, mask_BTS=mask_BTS)
        else:
            new = {"k": k_BTNH, "v": v_BTNH}
            cache = {n: jax.lax.dynamic_update_slice_in_dim(cache[n], new[n], start, axis=1) for n in new}
            # The default kernel: the mask differs by query, and in decoding queries are few.
            o_BTNH = attend(q_BTNH, cache["k"], cache["v"], mask_BTS=mask_BTS)
        y_BTD = Linear(config.hidden_size, name="o_proj")(o_BTNH.reshape(*x_BTD.shape[:2], -1), deterministic)
        return y_BTD, cache


class Mlp(nn.Module):
    """SwiGLU: (silu(x gate) * (x up)) down."""

    config: Qwen3VLTextConfig

    @nn.compact
    def __call__(self, x_BTD, deterministic):
        gate_BTF = Linear(self.config.mlp_size, name="gate_proj")(x_BTD, deterministic)
        up_BTF = Linear(self.config.mlp_size, name="up_proj")(x_BTD, deterministic)
        gated = jax.checkpoint(lambda gate, up: nn.silu(gate) * up)  # keeps its two inputs alone for the gradient
        return Linear(self.config.hidden_size, name="down_proj")(gated(gate_BTF, up_BTF), deterministic)


class Block(nn.Module):
    """Pre-norm attention and MLP; returns x, or (x, the cache extended) where `layer` is given.

    layer: what belongs to this block alone. "cache" is its keys and values. "number", from 0, selects the level of
    deepstack_KBTD that is added after it; blocks from K on add nothing.
    """

    config: Qwen3VLTextConfig
    execution: Execution

    @nn.compact
    def __call__(self, x_BTD, rope, mask_BTS, start=None, deepstack_KBTD=None, *, deterministic, layer=None):
        eps = self.config.rms_norm_eps
        attention = Attention(self.config, self.execution, name="self_attn")
        normed_BTD = RMSNorm(eps, name="input_layernorm")(x_BTD)
        cache = None if layer is None else layer.get("cache")
        y_BTD, cache = attention(normed_BTD, rope, mask_BTS, cache, start, deterministic=deterministic)
        x_BTD = x_BTD + y_BTD
        normed_BTD = RMSNorm(eps, name="post_attention_layernorm")(x_BTD)
        x_BTD = x_BTD + Mlp(self.config, name="mlp")(normed_BTD, deterministic)
        if deepstack_KBTD is not None:
            # The blocks are one scanned program, which cannot branch by number: blocks after the last level add zero.
            number, last = layer["number"], len(deepstack_KBTD) - 1
            x_BTD = x_BTD + jnp.where(number <= last, deepstack_KBTD[jnp.minimum(number, last)], 0)
        return x_BTD if layer is None else (x_BTD, cache)


class Qwen3VLText(nn.Module):
    """Embeddings in, final-normed states out; `init` through `__call__`."""

    config: Qwen3VLTextConfig
    execution: Execution = Execution()

    def setup(self):
        config = self.config
        table = nn.initializers.normal(0.02), (config.vocab_size, config.hidden_size)
        self.embedding = self.param("embedding", *table)
        self.head = self.embedding if config.tied else self.param("head", *table)
        self.layers = Block(config, self.execution)
        self.norm = RMSNorm(config.rms_norm_eps)

    def embed(self, ids_BT: jax.Array) -> jax.Array:
        """Rows of the embedding table, [B, T, D], in the activations' dtype; NaN for ids that the table lacks."""
        # `take` makes NaN of an id beyond the table; indexing would silently read the last row.
        return jnp.take(self.embedding, ids_BT, axis=0).astype(self.execution.dtype)

    def logits(self, hidden_BTD: jax.Array) -> jax.Array:
        """Next-token logits [B, T, V] in float32 from final-normed states."""
        table_VD = self.head.astype(hidden_BTD.dtype)
        return jnp.einsum("BTD,VD->BTV", hidden_BTD, table_VD, preferred_element_type=jnp.float32)

    def __call__(
        self,
        x_BTD: jax.Array,
        positions_3BT: jax.Array | None = None,
        real_BT: jax.Array | None = None,
        deterministic: bool = True,
        deepstack_KBTD: jax.Array | None = None,
    ) -> jax.Array:
        """Causal, final-normed states [B, T, D] of the embeddings x_BTD; at padding they are meaningless.

        Args:
            positions_3BT: rows of time, height and width. Default: 0..T-1 in every row; padding does not shift them,
                as in transformers' forward.
            real_BT: bool, True at real tokens; default all are.
            deterministic: False runs the adapters' dropout and needs an rng named "dropout".
            deepstack_KBTD: added to the states after layers 0..K-1 (`Qwen3VL.embed` makes them).
        """
        mask_BTS = None if real_BT is None else real_BT[:, None]
        rope = self._rope(x_BTD, positions_3BT, 0)
        return self._run(x_BTD, rope, mask_BTS, None, deepstack_KBTD, deterministic=deterministic)[0]

    def empty_cache(self, batch: int, length: int) -> Cache:
        """A cache with room for `length` tokens and none in it: {"k", "v"}, each zeros [L, B, length, N_kv, H]."""
        config = self.config
        shape = (config.num_layers, batch, length, config.num_kv_heads, config.head_dim)
        return {name: jnp.zeros(shape, self.execution.dtype) for name in ("k", "v")}

    def extend(
        self,
        x_BTD: jax.Array,
        cache: Cache,
        start: jax.Array | int,
        positions_3BT: jax.Array | None = None,
        real_BS: jax.Array | None = None,
        deepstack_KBTD: jax.Array | None = None,
    ) -> tuple[jax.Array, Cache]:
        """(states [B, T, D] of T further tokens, the cache with them in it).

        A prompt has start 0, a decoding step T = 1. start + T must not exceed the length of the cache.

        Args:
            start: how many tokens the cache holds already; may be traced.
            positions_3BT: default start..start+T-1 in every row.
            real_BS: bool [B, length of the cache], False at cached tokens that are padding; default all are real.
            deepstack_KBTD: as in `__call__`.
        """
        mask_BTS = cache_mask(x_BTD.shape[1], cache["k"].shape[2], start)
        if real_BS is not None:
            mask_BTS = mask_BTS & real_BS[:, None]
        rope = self._rope(x_BTD, positions_3BT, start)
        return self._run(x_BTD, rope, mask_BTS, jnp.asarray(start), deepstack_KBTD, cache=cache, deterministic=True)

    def _run(self, x_BTD, rope, mask_BTS, start, deepstack_KBTD, *, deterministic, cache=None):
        """Final-normed states and the cache extended (None without one)."""
        x_BTD, per_layer = x_BTD.astype(self.execution.dtype), {}
        if cache is not None:
            per_layer["cache"] = cache
        if deepstack_KBTD is not None:
            per_layer["number"] = jnp.arange(self.config.num_layers)
            deepstack_KBTD = deepstack_KBTD.astype(self.execution.dtype)
        run = partial(run_stack, self.layers, self.config.num_layers, self.execution, x_BTD, rope, mask_BTS, start)
        if not per_layer:
            return self.norm(run(deterministic=deterministic)), None
        x_BTD, cache = run(deepstack_KBTD, per_layer=per_layer, deterministic=deterministic)
        return self.norm(x_BTD), cache

    def _rope(self, x_BTD, positions_3BT, start):
        if positions_3BT is None:
            # Text has the same position in all three rows; the rotation is then the ordinary one of a single position.
            positions_3BT = jnp.broadcast_to(start + jnp.arange(x_BTD.shape[1]), (3, 1, x_BTD.shape[1]))
        return mrope_table(positions_3BT, self.config.mrope_section, self.config.rope_theta)


def cache_mask(tokens: int, length: int, start: jax.Array | int) -> jax.Array:
    """Which of `length` places of a cache each of `tokens` tokens from place `start` on may see, bool [1, T, S]."""
    # Places after the token itself hold zeros that nobody has written yet; they must not be seen.
    return (jnp.arange(length) <= start + jnp.arange(tokens)[:, None])[None]


class Qwen3VL(nn.Module):
    """Tokens and images in, final-normed states out; `init` through `__call__`.

    `inputs/qwen3_vl.py` makes the inputs: `pack` pixels_FSP and size_F2, `arrange` feature_BT and positions_3BT.
    """

    config: Qwen3VLConfig
    execution: Execution = Execution()

    def setup(self):
        self.text = Qwen3VLText(self.config.text, self.execution)
        self.vision = Qwen3VLVision(self.config.vision, self.execution)

    def embed(
        self, ids_BT: jax.Array, pixels_FSP: jax.Array, size_F2: jax.Array, feature_BT: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """(x_BTD, deepstack_KBTD): embeddings with the images' features in their places, and what later layers add.

        feature_BT: the index of a token's feature among the F * S / merged_patches of all frames; -1 for text.
        """
        seen = self.vision(pixels_FSP, size_F2)
        here_BT1 = (feature_BT >= 0)[..., None]

        def place(features_FMD, other):
            rows = features_FMD.reshape(-1, features_FMD.shape[-1])
            # Text has index -1: it reads row 0 and drops it, so that shapes do not depend on where images are.
            return jnp.where(here_BT1, rows[jnp.maximum(feature_BT, 0)], other)

        return place(seen.merged_FMD, self.text.embed(ids_BT)), jax.vmap(lambda x: place(x, 0))(seen.deepstack_KFMD)

    def logits(self, hidden_BTD: jax.Array) -> jax.Array:
        """Next-token logits [B, T, V] in float32 from final-normed states."""
        return self.text.logits(hidden_BTD)

    def __call__(
        self,
        ids_BT: jax.Array,
        pixels_FSP: jax.Array,
        size_F2: jax.Array,
        feature_BT: jax.Array,
        positions_3BT: jax.Array,
        real_BT: jax.Array | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """Causal states [B, T, D] of a text with images; the arguments as in `embed` and in the text decoder."""
        x_BTD, deepstack_KBTD = self.embed(ids_BT, pixels_FSP, size_F2, feature_BT)
        return self.text(x_BTD, positions_3BT, real_BT, deterministic, deepstack_KBTD)


def example(config: Qwen3VLTextConfig | Qwen3VLConfig) -> dict:
    """The smallest arguments of `__call__` that fix the parameters, as shapes.

    The embedding of one token for `Qwen3VLText`; one token and one frame of as many patches as are merged for
    `Qwen3VL`.
    """
    if isinstance(config, Qwen3VLTextConfig):
        return {"x_BTD": jax.ShapeDtypeStruct((1, 1, config.hidden_size), jnp.float32)}
    vision = config.vision
    return {
        "ids_BT": jax.ShapeDtypeStruct((1, 1), jnp.int32),
        "pixels_FSP": jax.ShapeDtypeStruct((1, vision.merged_patches, vision.patch_values), jnp.float32),
        "size_F2": jax.ShapeDtypeStruct((1, 2), jnp.int32),
        "feature_BT": jax.ShapeDtypeStruct((1, 1), jnp.int32),
        "positions_3BT": jax.ShapeDtypeStruct((3, 1, 1), jnp.int32),
    }
