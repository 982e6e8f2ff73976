"""GenDoP's OPT-style decoder: the network that training sees, and the same network with a cache for decoding.

Axes: P places of the prefix, T tokens (in the network: prefix and tokens together), N heads, D width, V vocabulary.
Beside the legend's, in decoding: Z = samples * heads, S places of the cache, C columns (samples * places).
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotverse_jax.camera.tokens.shotverse import PAD
from shotverse_jax.config import Execution, OPTConfig
from shotverse_jax.nn.attention import attend
from shotverse_jax.nn.linear import Linear
from shotverse_jax.nn.norm import LayerNorm
from shotverse_jax.nn.stack import run_stack

Params = dict[str, Any]


def _embed_init(key, shape, dtype=jnp.float32):
    """Normal values with standard deviation 0.02; the row of PAD is zero."""
    return nn.initializers.normal(0.02)(key, shape, dtype).at[PAD].set(0.0)


class OPTBlock(nn.Module):
    """x = LN(x + attention(x)); x = LN(x + fc2(relu(fc1(x)))), all linears with bias (GenDoP modeling_opt.py)."""

    config: OPTConfig
    execution: Execution

    @nn.compact
    def __call__(self, x_BTD: jax.Array, deterministic: bool = True) -> jax.Array:
        config = self.config
        heads = (*x_BTD.shape[:2], config.num_heads, config.hidden_size // config.num_heads)
        dropout = nn.Dropout(config.dropout, deterministic=deterministic)

        def linear(name, features, x, std=0.02):
            init = nn.initializers.normal(std)
            return Linear(features, use_bias=True, kernel_init=init, name=name)(x, deterministic)

        q, k, v = (linear(name, config.hidden_size, x_BTD).reshape(heads) for name in ("q_proj", "k_proj", "v_proj"))
        mixed_BTD = attend(q, k, v, kernel=self.execution.attention, causal=True).reshape(x_BTD.shape)
        # GenDoP begins this matrix smaller, by the root of the number of residual additions in the stack.
        mixed_BTD = linear("out_proj", config.hidden_size, mixed_BTD, 0.02 / math.sqrt(2 * config.num_layers))
        x_BTD = LayerNorm(name="attn_norm")(x_BTD + dropout(mixed_BTD))
        hidden_BTF = nn.relu(linear("fc1", config.mlp_size, x_BTD))
        return LayerNorm(name="final_norm")(x_BTD + dropout(linear("fc2", config.hidden_size, hidden_BTF)))


class OPTDecoder(nn.Module):
    """A causal decoder over [prefix; tokens] (GenDoP core/transformer/modeling_opt.py).

    It has learned positions from index 0, post-LN blocks, and a head of its own without bias. There is no norm before
    or after the stack and no scaling of embeddings, and the prefix is causal too. Parameters: embed [V, D], positions
    [max_positions, D], layers (stacked), lm_head.
    """

    config: OPTConfig
    execution: Execution

    def setup(self):
        config = self.config
        self.embed = self.param("embed", _embed_init, (config.vocab_size, config.hidden_size))
        self.positions = self.param(
            "positions", nn.initializers.normal(0.02), (config.max_positions, config.hidden_size)
        )
        self.layers = OPTBlock(config, self.execution)
        self.lm_head = Linear(config.vocab_size)

    def __call__(self, prefix_BPD: jax.Array, ids_BT: jax.Array, deterministic: bool = True) -> jax.Array:
        """Logits [B, P + T, V], float32; the logits of a place predict the token of the next one.

        prefix_BPD: projected conditions. deterministic: False runs dropout and needs an rng named "dropout".

        Raises:
            ValueError: prefix and tokens are more than `max_positions`.
        """
        length = prefix_BPD.shape[1] + ids_BT.shape[1]
        check_length(self.config, length)
        tokens_BTD = self.embed[ids_BT]
        x_BTD = jnp.concatenate([prefix_BPD.astype(tokens_BTD.dtype), tokens_BTD], axis=1) + self.positions[:length]
        x_BTD = x_BTD.astype(self.execution.dtype)
        x_BTD = run_stack(self.layers, self.config.num_layers, self.execution, x_BTD, deterministic=deterministic)
        return self.lm_head(x_BTD).astype(jnp.float32)


def check_length(config: OPTConfig, length: int) -> None:
    """Raises ValueError when a sequence (prefix and tokens) has more places than the decoder has positions."""
    if length > config.max_positions:
        raise ValueError(
            f"the decoder has {config.max_positions} positions, prefix and tokens need {length}; "
            "shorten the trajectory or raise max_positions"
        )


# ------------------------------------------------------------------------------------------------------- decoding

# Activations are columns, x_DC, and weights are [out, in]: on a CPU `W @ x` reads the weights at the speed of memory,
# `x @ W` at half of it. A cache is a list of (k_ZSH, v_ZSH), one pair a layer.


def decode_weights(params: Params, config: OPTConfig, dtype: str = "float32") -> Params:
    """Parameters of `OPTDecoder` as `prefill` and `step` take them; to be made once for a set of parameters.

    Layers are a list, weights are [out, in], q, k and v are one matrix, and q is scaled by 1 / sqrt(H).
    dtype: of the weights; norms, biases and sums stay float32.
    """
    params = jax.tree.map(jnp.asarray, params)
    return {
        "embed": params["embed"],
        "positions": params["positions"],
        "layers": [_layer_weights(params["layers"], i, config, dtype) for i in range(config.num_layers)],
        "lm_head": params["lm_head"]["kernel"].T.astype(dtype),
    }


@functools.partial(jax.jit, static_argnames=("config", "dtype"))
def _layer_weights(stacked: Params, i: int, config: OPTConfig, dtype: str) -> Params:
    """The weights of layer i. i is traced, so that all layers share one small program."""
    layer = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), stacked)
    # The scale of the scores is folded into q's weights once, instead of scaling q at every token.
    scales = {"q_proj": (config.hidden_size // config.num_heads) ** -0.5}

    def weight_and_bias(name):
        scale = scales.get(name, 1.0)
        return (layer[name]["kernel"].T * scale).astype(dtype), (layer[name]["bias"] * scale)[:, None]

    qkv = zip(*(weight_and_bias(name) for name in ("q_proj", "k_proj", "v_proj")), strict=True)
    norms = {
        name: (layer[name]["scale"][:, None], layer[name]["bias"][:, None]) for name in ("attn_norm", "final_norm")
    }
    linears = {name: weight_and_bias(name) for name in ("out_proj", "fc1", "fc2")}
    return {"qkv": tuple(jnp.concatenate(x) for x in qkv), **linears, **norms}


def prefill(weights: Params, config: OPTConfig, prefix_BPD: jax.Array, length: int) -> list:
    """The cache after the prefix, with room for `length` places in all.

    Raises ValueError when the decoder has fewer positions.
    """
    batch, places = prefix_BPD.shape[:2]
    check_length(config, length)
    x_BPD = prefix_BPD.astype(jnp.float32) + weights["positions"][:places]
    x_DC = x_BPD.reshape(batch * places, -1).T
    # The prefix is causal too, in GenDoP's decoder as in training here.
    causal = jnp.tril(jnp.ones((places, places), bool))
    cache = []
    for layer in weights["layers"]:
        q, k, v = _heads(x_DC, layer, config, batch)
        cache.append((k, v))
        x_DC = _rest_of_block(x_DC, _attend(q, k, v, causal), layer, batch)
    return grow(cache, length)


def step(weights: Params, config: OPTConfig, ids_B: jax.Array, place: jax.Array, cache: list) -> tuple[jax.Array, list]:
    """(logits [B, V] of the next token, the cache with this one): reads a token of every sample.

    place: the index of the token, the same for all samples, counted from the start of the prefix.
    """
    x_DB = (weights["embed"][ids_B] + weights["positions"][place]).T
    seen_S = jnp.arange(cache[0][0].shape[1]) <= place
    after = []
    # A Python loop, not a scan: on a CPU a scan would copy each layer's weights and cache at every token.
    for layer, (k_ZSH, v_ZSH) in zip(weights["layers"], cache, strict=True):
        q, k, v = _heads(x_DB, layer, config, len(ids_B))
        k_ZSH = jax.lax.dynamic_update_slice(k_ZSH, k, (0, place, 0))
        v_ZSH = jax.lax.dynamic_update_slice(v_ZSH, v, (0, place, 0))
        x_DB = _rest_of_block(x_DB, _attend(q, k_ZSH, v_ZSH, seen_S), layer, len(ids_B))
        after.append((k_ZSH, v_ZSH))
    return _logits(x_DB, weights), after


def grow(cache: list, length: int) -> list:
    """The same cache with room for `length` places, the new ones zero."""
    return jax.tree.map(lambda x_ZSH: jnp.pad(x_ZSH, ((0, 0), (0, length - x_ZSH.shape[1]), (0, 0))), cache)


def _affine(x_DC, weight_and_bias):
    weight, bias = weight_and_bias
    return jnp.matmul(weight, x_DC.astype(weight.dtype), preferred_element_type=jnp.float32) + bias


def _heads(x_DC, layer, config, batch):
    """q, k and v, each [Z, places, H]. Samples and heads are one axis, so that XLA updates a cache in place."""
    qkv_DC = _affine(x_DC, layer["qkv"]).astype(layer["qkv"][0].dtype)
    places = qkv_DC.shape[1] // batch
    heads = qkv_DC.reshape(3, config.num_heads, -1, batch, places).transpose(0, 3, 1, 4, 2)
    return heads.reshape(3, batch * config.num_heads, places, -1)


def _attend(q_ZPH, k_ZSH, v_ZSH, seen):
    scores_ZPS = jnp.einsum("ZPH,ZSH->ZPS", q_ZPH, k_ZSH, preferred_element_type=jnp.float32)
    shares_ZPS = jax.nn.softmax(jnp.where(seen, scores_ZPS, jnp.finfo(jnp.float32).min), axis=-1)
    return jnp.einsum("ZPS,ZSH->ZPH", shares_ZPS.astype(v_ZSH.dtype), v_ZSH)


def _rest_of_block(x_DC, out_ZPH, layer, batch):
    heads = out_ZPH.reshape(batch, -1, *out_ZPH.shape[1:])
    mixed_DC = heads.transpose(1, 3, 0, 2).reshape(x_DC.shape)
    x_DC = _norm(x_DC + _affine(mixed_DC, layer["out_proj"]), layer["attn_norm"])
    return _norm(x_DC + _affine(jax.nn.relu(_affine(x_DC, layer["fc1"])), layer["fc2"]), layer["final_norm"])


def _norm(x_DC, scale_and_bias):
    scale, bias = scale_and_bias
    centred = x_DC - jnp.mean(x_DC, axis=0, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred * centred, axis=0, keepdims=True) + 1e-5) * scale + bias


def _logits(x_DB, weights):
    head = weights["lm_head"]
    return jnp.matmul(head, x_DB.astype(head.dtype), preferred_element_type=jnp.float32).T


def example(config: OPTConfig) -> dict:
    """The smallest arguments of `OPTDecoder.__call__` that fix the parameters, as shapes.

    A prefix of one place and one token.
    """
    return {
        "prefix_BPD": jax.ShapeDtypeStruct((1, 1, config.hidden_size), jnp.float32),
        "ids_BT": jax.ShapeDtypeStruct((1, 1), jnp.int32),
    }
