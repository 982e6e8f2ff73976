"""A linear layer that takes a low-rank adapter when the `lora` variable collection holds one for it."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct


class Adapter(struct.PyTreeNode):
    """The low-rank adapter of one linear layer: y += scale * dropout(x) A B (LoRA, arXiv 2106.09685, Eq. 3).

    a: [in, rank], with leading axes where layers are stacked.
    b: [rank, out], likewise.
    scale: alpha / rank. Like dropout a constant of the tree and not a leaf, so that an optimiser never sees it.
    dropout: probability that an input channel is set to zero in training; default 0.
    weight: a factor of every column of x A, where several adapters are side by side and each has a weight that changes
        without another program. [rank] is the same for all of x; [B, runs, rank] gives every sample its own, and every
        run of so many tokens, such as those of a latent frame; for x without tokens [B, rank]. With the leading axes
        of a. None (default) is one adapter with weight 1.
    """

    a: jax.Array
    b: jax.Array
    scale: float = struct.field(pytree_node=False)
    dropout: float = struct.field(pytree_node=False, default=0.0)
    weight: jax.Array | None = None


class Linear(nn.Module):
    """x [..., in] -> [..., features] in the dtype of x; parameters `kernel` [in, features] and `bias` [features].

    A leaf `scale` [features] beside a kernel in 8 bits (`nn/quantized.py`) multiplies the product of each channel.

    Where the variable collection `lora` holds an `Adapter` for this layer (`lora.py` makes them), its side path is
    added. The adapter's dropout runs when `deterministic` is False, and draws from the rng named "dropout".

    features: the width of the output.
    use_bias: whether there is a bias; default no.
    kernel_init, bias_init: initial values, default normal with standard deviation 0.02, and zeros.
    """

    features: int
    use_bias: bool = False
    kernel_init: Callable = nn.initializers.normal(0.02)
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool = True) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        y = x @ kernel.astype(x.dtype)
        if self.has_variable("params", "scale"):
            y = y * self.get_variable("params", "scale").astype(x.dtype)
        if self.has_variable("lora", "adapter"):
            adapter = self.get_variable("lora", "adapter")
            low = nn.Dropout(adapter.dropout)(x, deterministic=deterministic) @ adapter.a.astype(x.dtype)
            if adapter.weight is not None:
                low = low * _of_tokens(adapter.weight, low).astype(x.dtype)
            y = y + adapter.scale * (low @ adapter.b.astype(x.dtype))
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,)).astype(x.dtype)
        return y


def _of_tokens(weight: jax.Array, low: jax.Array) -> jax.Array:
    """The weights of runs of tokens as those of the tokens [B, X, rank]; weights of all of x as they are."""
    if weight.ndim < 3:
        return weight
    if low.shape[-2] % weight.shape[-2]:
        raise ValueError(f"{low.shape[-2]} tokens are no multiple of the {weight.shape[-2]} runs that have weights")
    return jnp.repeat(weight, low.shape[-2] // weight.shape[-2], axis=-2)
