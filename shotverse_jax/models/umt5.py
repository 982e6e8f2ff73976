"""UMT5's encoder (transformers `models/umt5`; Wan2.2 `wan/modules/t5.py`), which reads the controller's prompt.

Parameters: `embedding` [V, D], `layers` (every leaf stacked on axis 0), `norm`.
Axes: T and S are the same tokens, as queries and as keys; R rows of the table of biases.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.config import Execution, UMT5Config
from shotverse_jax.nn.linear import Linear
from shotverse_jax.nn.norm import RMSNorm
from shotverse_jax.nn.stack import run_stack


def relative_buckets(length: int, buckets: int, max_distance: int) -> np.ndarray:
    """The row of the bias table for query t and key s, [length, length] int32 (T5, arXiv 1910.10683 §2.1).

    The second half of the `buckets` rows is for keys after the query. Within a half, the first rows are for one
    distance each and the others for ranges that grow logarithmically up to `max_distance`; all larger distances share
    the last row.
    """
    offset_TS = np.arange(length)[None, :] - np.arange(length)[:, None]
    half, exact = buckets // 2, buckets // 4
    distance_TS = np.abs(offset_TS)
    # In float32 as the original: where the logarithm is a whole number, its rounding decides the row.
    octaves_TS = np.log(np.maximum(distance_TS, 1).astype(np.float32) / np.float32(exact))
    far_TS = exact + (octaves_TS / np.float32(math.log(max_distance / exact)) * np.float32(half - exact)).astype(int)
    rows_TS = np.where(distance_TS < exact, distance_TS, np.minimum(far_TS, half - 1))
    return (rows_TS + half * (offset_TS > 0)).astype(np.int32)


class Attention(nn.Module):
    """Unscaled self-attention with a learned bias per head and bucket of the distance; softmax in float32."""

    config: UMT5Config

    @nn.compact
    def __call__(self, x_BSD, bucket_TS, real_BS):
        config = self.config
        width, inner = config.hidden_size, config.num_heads * config.head_dim
        q_init = nn.initializers.normal((width * config.head_dim) ** -0.5)  # what the missing 1 / sqrt(H) would do
        init = nn.initializers.normal(width**-0.5)

        def heads(name, kernel_init):
            y = Linear(inner, kernel_init=kernel_init, name=name)(x_BSD)
            return y.reshape(*x_BSD.shape[:2], config.num_heads, config.head_dim)

        q_BTNH, k_BSNH, v_BSNH = heads("q_proj", q_init), heads("k_proj", init), heads("v_proj", init)
        # UMT5 has a table in every layer; in T5 all layers share the first one's.
        bias_RN = self.param("relative_bias", init, (config.buckets, config.num_heads))
        bias_NTS = jnp.take(bias_RN.T, bucket_TS, axis=1).astype(jnp.float32)
        scores_BNTS = jnp.einsum("BTNH,BSNH->BNTS", q_BTNH, k_BSNH, preferred_element_type=jnp.float32) + bias_NTS
        # The mask has the smallest number and not -inf, with which a text without real tokens would become NaN.
        scores_BNTS = jnp.where(real_BS[:, None, None], scores_BNTS, jnp.finfo(jnp.float32).min)
        shares_BNTS = jax.nn.softmax(scores_BNTS, axis=-1).astype(v_BSNH.dtype)
        mixed_BTNH = jnp.einsum("BNTS,BSNH->BTNH", shares_BNTS, v_BSNH)
        o_init = nn.initializers.normal(inner**-0.5)
        return Linear(width, kernel_init=o_init, name="o_proj")(mixed_BTNH.reshape(*x_BSD.shape[:2], inner))


class Block(nn.Module):
    """x + attention(norm(x)), then x + down(gelu(gate(norm(x))) * up(norm(x))), gelu by its tanh form."""

    config: UMT5Config

    @nn.compact
    def __call__(self, x_BSD, bucket_TS, real_BS):
        config = self.config
        init = nn.initializers.normal(config.hidden_size**-0.5)
        normed_BSD = RMSNorm(config.rms_norm_eps, name="attn_norm")(x_BSD)
        x_BSD = x_BSD + Attention(config, name="attn")(normed_BSD, bucket_TS, real_BS)
        normed_BSD = RMSNorm(config.rms_norm_eps, name="mlp_norm")(x_BSD)
        gate_BSF = Linear(config.mlp_size, kernel_init=init, name="gate_proj")(normed_BSD)
        up_BSF = Linear(config.mlp_size, kernel_init=init, name="up_proj")(normed_BSD)
        down = Linear(config.hidden_size, kernel_init=nn.initializers.normal(config.mlp_size**-0.5), name="down_proj")
        return x_BSD + down(nn.gelu(gate_BSF, approximate=True) * up_BSF)


class UMT5Encoder(nn.Module):
    """Token ids in, final-normed states out."""

    config: UMT5Config
    execution: Execution = Execution()

    @nn.compact
    def __call__(self, ids_BS: jax.Array, real_BS: jax.Array) -> jax.Array:
        """States [B, S, D], float32, zero at padding.

        real_BS: bool, True at real tokens (the end token too), False at padding.
        """
        config = self.config
        table_VD = self.param("embedding", nn.initializers.normal(1.0), (config.vocab_size, config.hidden_size))
        x_BSD = jnp.take(table_VD, ids_BS, axis=0).astype(self.execution.dtype)
        bucket_TS = jnp.asarray(relative_buckets(ids_BS.shape[1], config.buckets, config.max_distance))
        layers = Block(config, name="layers")
        x_BSD = run_stack(layers, config.num_layers, self.execution, x_BSD, bucket_TS, real_BS)
        x_BSD = RMSNorm(config.rms_norm_eps, name="norm")(x_BSD)
        # Wan's pipeline sets the states of padding to zero, and the video transformer has learned with these.
        return jnp.where(real_BS[..., None], x_BSD.astype(jnp.float32), 0.0)


def example(config: UMT5Config) -> dict:
    """The smallest arguments of `UMT5Encoder.__call__` that fix the parameters, as shapes.

    One token.
    """
    return {"ids_BS": jax.ShapeDtypeStruct((1, 1), jnp.int32), "real_BS": jax.ShapeDtypeStruct((1, 1), bool)}
