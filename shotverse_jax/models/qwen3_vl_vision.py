"""Qwen3-VL's vision tower (transformers `models/qwen3_vl`, Qwen3VLVisionModel).

A frame is a row of the batch: its patches see one another and nothing else. So the frames of all images and videos are
stacked, each padded to S patches, and attention costs no more than the frames themselves. Patches come in merge-block
order, where the merge_size x merge_size patches of a token are neighbours (`inputs/qwen3_vl.py`).

Parameters: `patch_embed`, `position` [G, D], `blocks` (every leaf stacked on axis 0), `merger`, `deepstack_mergers`
(stacked).

Axes: F frames, S patches of a frame, P values of a patch, M tokens that a frame becomes, K levels of DeepStack, G
places of the table of positions, N heads, H head width, D width.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.config import Execution, Qwen3VLVisionConfig
from shotverse_jax.nn.attention import attend
from shotverse_jax.nn.linear import Linear
from shotverse_jax.nn.norm import LayerNorm
from shotverse_jax.nn.rope import image_table, rotate_halves
from shotverse_jax.nn.stack import run_stack


class Seen(NamedTuple):
    """What the tower returns. Behind a frame's own patches all of it is meaningless and finite.

    last_FSD: states of the patches after the last block.
    merged_FMD: tokens for the text decoder, M = S / merged_patches.
    deepstack_KFMD: the same of the K earlier blocks in `config.deepstack_layers`.
    """

    last_FSD: jax.Array
    merged_FMD: jax.Array
    deepstack_KFMD: jax.Array


class PatchEmbed(nn.Module):
    """A convolution whose stride is its kernel, [channels, frames, y, x, D]; of patches that are cut out already."""

    config: Qwen3VLVisionConfig

    @nn.compact
    def __call__(self, pixels_FSP):
        config = self.config
        shape = (config.in_channels, config.temporal_patch_size, config.patch_size, config.patch_size)
        kernel = self.param("kernel", nn.initializers.normal(0.02), (*shape, config.hidden_size))
        bias = self.param("bias", nn.initializers.zeros, (config.hidden_size,))
        kernel_PD = kernel.reshape(-1, config.hidden_size).astype(pixels_FSP.dtype)
        return pixels_FSP @ kernel_PD + bias.astype(pixels_FSP.dtype)


class Block(nn.Module):
    """Pre-norm attention among the patches of a frame, and a GELU MLP.

    carry: (states x_FSD, kept_FKSD); the new states are also written into kept_FKSD, at index `layer` of K.
    """

    config: Qwen3VLVisionConfig
    execution: Execution

    @nn.compact
    def __call__(self, carry, rope, length_F, *, layer):
        config, (x_FSD, kept_FKSD) = self.config, carry
        normed_FSD = LayerNorm(config.layer_norm_eps, name="norm1")(x_FSD)
        qkv = Linear(3 * config.hidden_size, use_bias=True, name="qkv")(normed_FSD)
        q, k, v = jnp.moveaxis(qkv.reshape(*x_FSD.shape[:2], 3, config.num_heads, -1), 2, 0)  # each [F, S, N, H]
        q, k = rotate_halves(q, rope), rotate_halves(k, rope)
        mixed = attend(q, k, v, kernel=self.execution.attention, kv_lengths=length_F).reshape(x_FSD.shape)
        x_FSD = x_FSD + Linear(config.hidden_size, use_bias=True, name="proj")(mixed)
        normed_FSD = LayerNorm(config.layer_norm_eps, name="norm2")(x_FSD)
        wide = nn.gelu(Linear(config.mlp_size, use_bias=True, name="linear_fc1")(normed_FSD), approximate=True)
        x_FSD = x_FSD + Linear(config.hidden_size, use_bias=True, name="linear_fc2")(wide)
        return (x_FSD, jax.lax.dynamic_update_index_in_dim(kept_FKSD, x_FSD, layer, 1)), None


class Merger(nn.Module):
    """Makes one token of merged_patches neighbours: LayerNorm, then an MLP with the exact GELU, [F, M, out_size].

    norm_merged: True normalises the joined patches, False each patch by itself.
    """

    config: Qwen3VLVisionConfig
    norm_merged: bool

    @nn.compact
    def __call__(self, x_FSD):
        config, norm = self.config, LayerNorm(self.config.layer_norm_eps, name="norm")
        width = config.hidden_size * config.merged_patches
        if self.norm_merged:
            x = norm(x_FSD.reshape(len(x_FSD), -1, width))
        else:
            x = norm(x_FSD).reshape(len(x_FSD), -1, width)
        # The original takes the exact GELU here and the tanh form in the blocks.
        x = nn.gelu(Linear(width, use_bias=True, name="linear_fc1")(x), approximate=False)
        return Linear(config.out_size, use_bias=True, name="linear_fc2")(x)


class Qwen3VLVision(nn.Module):
    """Patches of frames in, features for the text decoder out."""

    config: Qwen3VLVisionConfig
    execution: Execution = Execution()

    @nn.compact
    def __call__(self, pixels_FSP: jax.Array, size_F2: jax.Array) -> Seen:
        """Features of F frames of up to S patches.

        pixels_FSP: the patches of each frame and then padding; a frame of size 0 is all padding.
        size_F2: height and width of each frame in patches, multiples of merge_size.

        Raises:
            ValueError: an S that is not made of whole tokens, or patches of another number of values.
        """
        config = self.config
        frames, patches, values = pixels_FSP.shape
        if values != config.patch_values or patches % config.merged_patches:
            raise ValueError(
                f"the vision tower reads frames of a multiple of {config.merged_patches} patches with "
                f"{config.patch_values} values each, got {patches} with {values}; make them with inputs/qwen3_vl.py"
            )
        row_FS, column_FS = patch_places(size_F2, patches, config.merge_size)
        x_FSD = PatchEmbed(config, name="patch_embed")(pixels_FSP.astype(self.execution.dtype))
        side = config.position_grid
        table = self.param("position", nn.initializers.normal(0.02), (side * side, config.hidden_size))
        x_FSD = x_FSD + interpolate(table, row_FS, column_FS, size_F2).astype(x_FSD.dtype)

        rope = image_table(row_FS, column_FS, config.hidden_size // config.num_heads, config.rope_theta)
        length_F = jnp.maximum(size_F2[:, 0] * size_F2[:, 1], 1)  # a kernel may make NaN of a frame without patches
        # The states that DeepStack wants go to their places as they pass; all others overwrite the one place behind.
        taps = len(config.deepstack_layers)
        place_L = np.full(config.num_layers, taps)
        place_L[list(config.deepstack_layers)] = np.arange(taps)
        # Frames come first here too, as meshes split what a stack carries by its first axis.
        carry = x_FSD, jnp.zeros((len(x_FSD), taps + 1, *x_FSD.shape[1:]), x_FSD.dtype)
        blocks = Block(config, self.execution, name="blocks")
        (x_FSD, kept_FKSD), _ = run_stack(
            blocks, config.num_layers, self.execution, carry, rope, length_F, per_layer=jnp.asarray(place_L)
        )
        stacked = {"variable_axes": {"params": 0, "lora": 0}, "split_rngs": {"params": True}}
        deepstack_KFMD = nn.vmap(Merger, **stacked)(config, True, name="deepstack_mergers")(
            jnp.moveaxis(kept_FKSD, 1, 0)[:taps]
        )
        return Seen(x_FSD, Merger(config, False, name="merger")(x_FSD), deepstack_KFMD)


def patch_places(size_F2: jax.Array, patches: int, merge_size: int) -> tuple[jax.Array, jax.Array]:
    """(row, column), each int [F, patches]: where in its frame a patch is, in merge-block order.

    That order goes by row and column of the block, then by row and column within it. Behind a frame's end the rows go
    on. size_F2: height and width of the frames in patches.
    """
    block, inner = np.divmod(np.arange(patches), merge_size**2)
    blocks_F1 = jnp.maximum(size_F2[:, 1:] // merge_size, 1)  # in a row
    row_FS = block // blocks_F1 * merge_size + inner // merge_size
    column_FS = block % blocks_F1 * merge_size + inner % merge_size
    return row_FS, column_FS


def interpolate(table_GD: jax.Array, row_FS: jax.Array, column_FS: jax.Array, size_F2: jax.Array) -> jax.Array:
    """Position embeddings [F, S, D], float32: a square table stretched over each frame, corner on corner, bilinearly.

    table_GD: by row, G = side * side. A frame of side x side patches gets the table itself.
    """
    side = int(len(table_GD) ** 0.5)

    def taps(index_FS, count_F):
        span_F1 = jnp.maximum(count_F - 1, 1)[:, None]
        # These are whole numbers: a product of floats may be just below one, and its floor then one row too low.
        low = jnp.minimum(index_FS * (side - 1) // span_F1, side - 1)  # padding lies beyond the table
        share = index_FS * (side - 1) % span_F1 / span_F1
        return (low, 1 - share), (jnp.minimum(low + 1, side - 1), share)

    table_GD = table_GD.astype(jnp.float32)
    rows, columns = taps(row_FS, size_F2[:, 0]), taps(column_FS, size_F2[:, 1])
    return sum((a * b)[..., None] * table_GD[r * side + c] for r, a in rows for c, b in columns)
