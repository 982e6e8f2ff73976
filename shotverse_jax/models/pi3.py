"""Pi3 (arXiv 2507.13347, github.com/yyfz/Pi3): cameras and points of frames, whatever order the frames have.

A DINOv2 encoder with registers reads every frame by itself. In the decoder, blocks that attend within a frame and
blocks that attend within the whole scene take turns. Three towers read the states of its last two blocks: one makes the
points of all pixels in the frame's camera, one how sure these are, one the pose of the camera. Nothing says which frame
is the first: permuted frames give permuted results.

Parameters: `image_mean`, `image_std`; `encoder`; `registers` [R, D]; `decoder` (blocks `frame` and `scene`, every leaf
stacked on axis 0); `points`, `confidence` and `camera` (each a `tower` and what makes the values).

Axes: B scenes, T frames of a scene, F frames of all scenes (B * T), S tokens of a frame (its registers, then its
patches by rows), P patches, D width; of attention N heads, H head width, X tokens of a scene; of pictures H, W, C.
"""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotverse_jax.config import Execution, Pi3Config
from shotverse_jax.nn.attention import attend
from shotverse_jax.nn.linear import Linear
from shotverse_jax.nn.norm import LayerNorm
from shotverse_jax.nn.rope import image_table, rotate_halves_by_axis
from shotverse_jax.nn.stack import run_stack

EPS = 1e-6
"""Of the norms of states; those of queries and keys have torch's default, 1e-5."""
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's; the published weights hold them too."""

_Dense = partial(Linear, use_bias=True)
_token = nn.initializers.normal(0.02)


class Geometry(NamedTuple):
    """What is seen in frames, float32. The unit of length and the world are a scene's own: only ratios mean something.

    local_BTHWC: the point of each pixel in its camera, OpenCV axes (x right, y down, z forward).
    points_BTHWC: the same points in the world of the scene.
    logit_BTHW: how sure the network is of the point; the sigmoid of it is between 0 and 1.
    pose_BT44: camera-to-world, OpenCV axes. No camera is the world's origin by design, the first neither.
    """

    local_BTHWC: jax.Array
    points_BTHWC: jax.Array
    logit_BTHW: jax.Array
    pose_BT44: jax.Array


class Gain(nn.Module):
    """LayerScale: a learned factor for every channel, which starts at `start`."""

    start: float

    @nn.compact
    def __call__(self, x):
        return x * self.param("scale", nn.initializers.constant(self.start), x.shape[-1:]).astype(x.dtype)


class Block(nn.Module):
    """x + attention(norm1(x)), then x + fc2(gelu(fc1(norm2(x)))), both by a gain where there is one.

    gain: where the gains start; None for a block without them.
    normed: whether queries and keys are normalised.
    """

    head_dim: int
    execution: Execution
    gain: float | None = None
    normed: bool = False

    @nn.compact
    def __call__(self, x_FSD, rope=None, tokens_B=None, scenes: int | None = None):
        """The states after the block, float32 as those before it; matrix products are in the execution's dtype.

        rope: the table of `image_table`; None turns nothing.
        tokens_B: how many tokens of each scene are real, where attention is within scenes; None for all.
        scenes: their number where attention is within scenes; None where it is within frames.
        """
        width, dtype = x_FSD.shape[-1], self.execution.dtype
        gain = (lambda name: lambda y: y) if self.gain is None else (lambda name: Gain(self.gain, name=name))
        normed_FSD = LayerNorm(EPS, name="norm1")(x_FSD).astype(dtype)
        qkv = _Dense(3 * width, name="qkv")(normed_FSD)
        q, k, v = jnp.moveaxis(qkv.reshape(*x_FSD.shape[:2], 3, -1, self.head_dim), 2, 0)  # each [F, S, N, H]
        if self.normed:
            q, k = LayerNorm(name="q_norm")(q), LayerNorm(name="k_norm")(k)
        if rope is not None:
            q, k = rotate_halves_by_axis(q, rope), rotate_halves_by_axis(k, rope)
        mixed_FSD = self._mix(q, k, v, tokens_B, scenes).reshape(x_FSD.shape)
        x_FSD = x_FSD + gain("gain1")(_Dense(width, name="proj")(mixed_FSD).astype(jnp.float32))
        normed_FSD = LayerNorm(EPS, name="norm2")(x_FSD).astype(dtype)
        wide_FSD = nn.gelu(_Dense(4 * width, name="fc1")(normed_FSD), approximate=False)
        return x_FSD + gain("gain2")(_Dense(width, name="fc2")(wide_FSD).astype(jnp.float32))

    def _mix(self, q, k, v, tokens_B, scenes):
        kernel, spread = self.execution.attention, self.execution.spread

        def mixer(q, k, v, lengths_B=None):
            return attend(q, k, v, kernel=kernel, kv_lengths=lengths_B)

        if scenes is None:
            return mixer(q, k, v) if spread is None else spread.mix(mixer, (q, k, v))
        q, k, v = (y.reshape(scenes, -1, *y.shape[2:]) for y in (q, k, v))
        lengths = () if tokens_B is None else (tokens_B,)
        # The queries of a scene are too many for one device, and there is often but one scene.
        return mixer(q, k, v, *lengths) if spread is None else spread.own_queries(mixer, q, (k, v), lengths)


class Pair(nn.Module):
    """Two blocks of the decoder: within each frame, then within the scene.

    carry: the states after the second block and after the first, of which the last pair's are read.
    """

    config: Pi3Config
    execution: Execution

    @nn.compact
    def __call__(self, carry, rope, tokens_B, scenes):
        block = partial(Block, self.config.head_dim, self.execution, gain=0.01, normed=True)
        frame_FSD = block(name="frame")(carry[0], rope)
        return block(name="scene")(frame_FSD, rope, tokens_B, scenes=scenes), frame_FSD


class Encoder(nn.Module):
    """DINOv2 with registers (arXiv 2309.16588): normalised frames [F, H, W, 3] → the final-normed states of patches.

    Parameters: `patch_embed`, `embedding` [1, D] of the class token, `registers`, `positions` (the class token's, then
    a square by rows), `blocks`, `norm`.
    """

    config: Pi3Config
    execution: Execution

    @nn.compact
    def __call__(self, frames_FHWC):
        config, width, size = self.config, self.config.hidden_size, self.config.patch_size
        stride = (size, size)
        embed = nn.Conv(width, stride, stride, "VALID", dtype=self.execution.dtype, name="patch_embed")
        x_FPD = embed(frames_FHWC).astype(jnp.float32)
        grid, frames = x_FPD.shape[1:3], len(x_FPD)
        x_FPD = x_FPD.reshape(frames, -1, width)
        class_1D = self.param("embedding", _token, (1, width)).astype(jnp.float32)
        registers_RD = self.param("registers", _token, (config.encoder_registers, width)).astype(jnp.float32)
        places = config.position_grid**2 + 1
        positions = self.param("positions", _token, (places, width)).astype(jnp.float32)
        x_FPD = x_FPD + stretched(positions[1:], grid)
        # The registers have no position.
        first_SD = jnp.concatenate([class_1D + positions[:1], registers_RD])
        x_FSD = jnp.concatenate([jnp.broadcast_to(first_SD, (frames, *first_SD.shape)), x_FPD], axis=1)
        blocks = Block(config.head_dim, self.execution, gain=1.0, name="blocks")
        x_FSD = run_stack(blocks, config.encoder_layers, self.execution, x_FSD)
        return LayerNorm(EPS, name="norm")(x_FSD[:, len(first_SD) :])


def stretched(table_GD: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """Positions [rows * columns, D] of a square table by rows, made to fit a grid: bicubic, with antialiasing."""
    side = round(len(table_GD) ** 0.5)
    square = table_GD.reshape(side, side, -1)
    return jax.image.resize(square, (*grid, square.shape[-1]), "cubic").reshape(-1, square.shape[-1])


class Tower(nn.Module):
    """States of the decoder [F, S, 2D] → states of patches [F, P, size] in float32, by blocks within the frame."""

    config: Pi3Config
    execution: Execution
    size: int

    @nn.compact
    def __call__(self, x_FSD, rope):
        config, dtype = self.config, self.execution.dtype
        x_FSD = _Dense(config.tower_size, name="project")(x_FSD.astype(dtype)).astype(jnp.float32)
        blocks = Block(config.head_dim, self.execution, name="blocks")
        x_FSD = run_stack(blocks, config.tower_layers, self.execution, x_FSD, rope)
        return _Dense(self.size, name="out")(x_FSD[:, config.registers :].astype(dtype)).astype(jnp.float32)


class Pixels(nn.Module):
    """`channels` values for every pixel, [F, H, W, channels] float32, of a grid of patches."""

    config: Pi3Config
    execution: Execution
    channels: int

    @nn.compact
    def __call__(self, x_FSD, rope, grid):
        size = self.config.patch_size
        x_FPD = Tower(self.config, self.execution, self.config.tower_size, name="tower")(x_FSD, rope)
        with jax.default_matmul_precision("float32"):
            values = _Dense(self.channels * size**2, name="head")(x_FPD)
        values = values.reshape(-1, *grid, self.channels, size, size).transpose(0, 1, 4, 2, 5, 3)
        return values.reshape(len(x_FPD), grid[0] * size, grid[1] * size, self.channels)


class Residual(nn.Module):
    """x + relu(hidden3(relu(hidden2(relu(hidden1(x))))))."""

    @nn.compact
    def __call__(self, x):
        y = x
        for name in ("hidden1", "hidden2", "hidden3"):
            y = nn.relu(_Dense(x.shape[-1], name=name)(y))
        return x + y


class Camera(nn.Module):
    """The pose of every frame, camera-to-world [F, 4, 4] float32."""

    config: Pi3Config
    execution: Execution

    @nn.compact
    def __call__(self, x_FSD, rope):
        x_FPD = Tower(self.config, self.execution, self.config.camera_size, name="tower")(x_FSD, rope)
        with jax.default_matmul_precision("float32"):
            x_FPD = run_stack(Residual(name="residual"), 2, self.execution, x_FPD)
            x_FD = x_FPD.mean(axis=1)
            for name in ("hidden1", "hidden2"):
                x_FD = nn.relu(_Dense(self.config.camera_size, name=name)(x_FD))
            move_F3 = _Dense(3, name="translation")(x_FD)
            turn_F33 = nearest_rotation(_Dense(9, name="rotation")(x_FD).reshape(-1, 3, 3))
        last_F14 = jnp.broadcast_to(jnp.array([0.0, 0, 0, 1]), (len(move_F3), 1, 4))
        return jnp.concatenate([jnp.concatenate([turn_F33, move_F3[..., None]], axis=2), last_F14], axis=1)


def nearest_rotation(matrix_F33: jax.Array) -> jax.Array:
    """Rotations [F, 3, 3] of any matrices, whose rows are made unit vectors first: transpose(nearest rotation to it).

    With the rows' singular value decomposition it is V diag(1, 1, det) U^T of their transpose (arXiv 2006.14616).
    """
    rows = matrix_F33 / jnp.maximum(jnp.linalg.norm(matrix_F33, axis=-1, keepdims=True), 1e-12)
    u, _, vt = jnp.linalg.svd(rows.swapaxes(1, 2))
    v, ut = vt.swapaxes(1, 2), u.swapaxes(1, 2)
    return v.at[:, :, 2].multiply(jnp.linalg.det(v @ ut)[:, None]) @ ut


class Pi3(nn.Module):
    """Frames in, geometry out."""

    config: Pi3Config
    execution: Execution = Execution()

    @nn.compact
    def __call__(self, frames_BTHWC: jax.Array, count_B: jax.Array | None = None) -> Geometry:
        """The geometry of B scenes of T frames each.

        frames_BTHWC: RGB between 0 and 1, height and width multiples of the patch size.
        count_B: how many frames of each scene are real, its first ones; the others are padding that no other frame
            sees. None for all.

        Raises:
            ValueError: frames that are not made of whole patches, or without three channels.
        """
        config, shape, size = self.config, frames_BTHWC.shape, self.config.patch_size
        scenes, count, height, width, channels = shape
        if channels != 3 or height % size or width % size or 0 in shape:
            raise ValueError(f"Pi3 reads RGB frames whose sides are multiples of {size}, got {list(shape)}")
        grid = height // size, width // size
        mean = self.param("image_mean", lambda _: jnp.array(IMAGE_MEAN)).astype(jnp.float32)
        std = self.param("image_std", lambda _: jnp.array(IMAGE_STD)).astype(jnp.float32)
        frames_FHWC = (frames_BTHWC.astype(jnp.float32).reshape(-1, *shape[2:]) - mean) / std
        x_FSD = Encoder(config, self.execution, name="encoder")(frames_FHWC)
        x_FSD, rope = self._with_registers(x_FSD), self._rope(grid)
        tokens_B = None if count_B is None else count_B * x_FSD.shape[1]
        pairs = Pair(config, self.execution, name="decoder")
        states = run_stack(
            pairs, config.decoder_layers // 2, self.execution, (x_FSD, x_FSD), rope, tokens_B, scenes=scenes
        )
        both_FSD = jnp.concatenate(states[::-1], axis=-1)

        raw_FHWC = Pixels(config, self.execution, 3, name="points")(both_FSD, rope, grid)
        logit_FHWC = Pixels(config, self.execution, 1, name="confidence")(both_FSD, rope, grid)
        pose_F44 = Camera(config, self.execution, name="camera")(both_FSD, rope)
        depth_FHWC = jnp.exp(raw_FHWC[..., 2:])
        local_FHWC = jnp.concatenate([raw_FHWC[..., :2] * depth_FHWC, depth_FHWC], axis=-1)
        turned = jnp.einsum("FHWj,Fij->FHWi", local_FHWC, pose_F44[:, :3, :3], precision=jax.lax.Precision.HIGHEST)
        points_FHWC = turned + pose_F44[:, None, None, :3, 3]
        split = (scenes, count)
        return Geometry(
            local_FHWC.reshape(shape),
            points_FHWC.reshape(shape),
            logit_FHWC.reshape(shape[:-1]),
            pose_F44.reshape(*split, 4, 4),
        )

    def _with_registers(self, x_FPD):
        shape = self.config.registers, self.config.hidden_size
        registers_RD = self.param("registers", nn.initializers.normal(1e-6), shape).astype(x_FPD.dtype)
        return jnp.concatenate([jnp.broadcast_to(registers_RD, (len(x_FPD), *shape)), x_FPD], axis=1)

    def _rope(self, grid):
        """The table of a frame's tokens, [1, S, 1, pairs]: patches count from 1; registers at 0 are not turned."""
        row, column = (jnp.pad(place.ravel() + 1, (self.config.registers, 0))[None] for place in jnp.indices(grid))
        return image_table(row, column, self.config.head_dim, self.config.rope_theta)


def example(config: Pi3Config) -> dict:
    """The smallest arguments of `Pi3.__call__` that fix the parameters, as shapes.

    One frame of one patch.
    """
    return {"frames_BTHWC": jax.ShapeDtypeStruct((1, 1, config.patch_size, config.patch_size, 3), jnp.float32)}
