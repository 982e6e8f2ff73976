"""Normalisation over the last axis, computed in float32 whatever the dtype of the activations."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class RMSNorm(nn.Module):
    """x / rms(x) in float32, rounded to the dtype of x, then times `scale` (as Qwen3VLTextRMSNorm)."""

    eps: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        x_fp32 = x.astype(jnp.float32)
        normed = x_fp32 * jax.lax.rsqrt(jnp.mean(x_fp32 * x_fp32, axis=-1, keepdims=True) + self.eps)
        return normed.astype(x.dtype) * scale.astype(x.dtype)


class LayerNorm(nn.Module):
    """Mean and variance over the last axis, then `scale` and `bias` (torch LayerNorm)."""

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        x_fp32 = x.astype(jnp.float32)
        centred = x_fp32 - jnp.mean(x_fp32, axis=-1, keepdims=True)
        normed = centred * jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + self.eps)
        return (normed * scale + bias).astype(x.dtype)
