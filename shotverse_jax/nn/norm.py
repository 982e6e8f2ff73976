"""Normalisations over the last axis. They compute in float32, whatever the dtype of the activations is."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) in float32, rounded to the dtype of x, then times the parameter `scale`.

    It rounds before it multiplies, as transformers' Qwen3VLTextRMSNorm and UMT5LayerNorm do.
    """

    eps: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        x_fp32 = x.astype(jnp.float32)
        normed = x_fp32 * jax.lax.rsqrt(jnp.mean(x_fp32 * x_fp32, axis=-1, keepdims=True) + self.eps)
        return normed.astype(x.dtype) * scale.astype(x.dtype)


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) times the parameter `scale` plus `bias`, all in float32 (torch's LayerNorm)."""

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        x_fp32 = x.astype(jnp.float32)
        centred = x_fp32 - jnp.mean(x_fp32, axis=-1, keepdims=True)
        normed = centred * jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + self.eps)
        return (normed * scale + bias).astype(x.dtype)
