"""Wan2.2-T2V-A14B's video transformer with HoloCine's shot windows and sparse attention and ShotVerse's camera.

Wan: github.com/Wan-Video/Wan2.2 `wan/modules/model.py`. HoloCine: arXiv 2510.20822 §3.2. ShotVerse §3.2.
Parameters: `patch_embed`, `text_in`, `text_out`, `time_in`, `time_out`, `time_proj`, `blocks` (every leaf stacked on
axis 0), `head_modulation`, `head`. In a block: `modulation`, `self_attn`, `cross_norm`, `cross_attn`, `ffn_in`,
`ffn_out` and, if the config has it, `camera` (`camera_encoder.py`).

Axes: X tokens of the video (latent frame by row by column), T latent frames, S tokens of the text, K shots, N heads,
D width, F width of the MLP. H is a head's width, and in latents [B, T, H, W, C] the height. P: numbers of a patch of
latents, or the twelve of a camera.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from shotverse_jax.config import Execution, WanDiTConfig
from shotverse_jax.models.camera_encoder import CAMERA_SIZE, CameraEncoder, camera_of_tokens
from shotverse_jax.nn.attention import attend
from shotverse_jax.nn.linear import Linear
from shotverse_jax.nn.norm import LayerNorm, RMSNorm
from shotverse_jax.nn.rope import rotate_pairs, shotverse4d_table, wan3d_table
from shotverse_jax.nn.shot_attention import by_shot, sparse_attend
from shotverse_jax.nn.stack import run_stack


class Attention(nn.Module):
    """Multi-head attention with RMSNorm of q and k over all heads together."""

    config: WanDiTConfig
    execution: Execution

    @nn.compact
    def __call__(self, x_BXD, memory_BSD, rope, mix: Callable[..., jax.Array], deterministic: bool):
        """[B, X, D] from the queries of x_BXD and the keys and values of memory_BSD (in self-attention the same).

        mix: what happens between the projections, (q_BXNH, k_BSNH, v_BSNH) -> the shape of q. rope: a rotary table
        for queries and keys, or None.
        """
        config = self.config

        def project(name, x):
            return Linear(config.hidden_size, use_bias=True, name=name)(x, deterministic)

        def heads(y):
            return y.reshape(*y.shape[:2], config.num_heads, config.head_dim)

        # The norm comes before the heads are separated: Wan's RMS is over the whole width, not over each head.
        q_BXNH = heads(RMSNorm(config.eps, name="q_norm")(project("q_proj", x_BXD)))
        k_BSNH = heads(RMSNorm(config.eps, name="k_norm")(project("k_proj", memory_BSD)))
        v_BSNH = heads(project("v_proj", memory_BSD))
        if rope is not None:
            q_BXNH, k_BSNH = rotate_pairs(q_BXNH, rope), rotate_pairs(k_BSNH, rope)
        return project("o_proj", mix(q_BXNH, k_BSNH, v_BSNH).reshape(x_BXD.shape))


class Block(nn.Module):
    """Self-attention and MLP with modulation and gates; between them cross-attention to the text, without either."""

    config: WanDiTConfig
    execution: Execution

    @nn.compact
    def __call__(self, x_BXD, time_B6D, context_BSD, rope, window, camera_BXP, *, shot_tokens, deterministic):
        """The tokens after the block, [B, X, D] in the dtype of x_BXD.

        time_B6D: shift, scale and gate of self-attention, then of the MLP; modulation and gates run in its dtype.
        window and shot_tokens: see `_cross_mixer`.
        """
        config, island = self.config, time_B6D.dtype
        init = nn.initializers.normal(config.hidden_size**-0.5)
        table_6D = self.param("modulation", init, (6, config.hidden_size)).astype(island)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = jnp.split(table_6D + time_B6D, 6, axis=1)

        def gated(x_BXD, y_BXD, gate_B1D):
            return (x_BXD.astype(island) + y_BXD.astype(island) * gate_B1D).astype(x_BXD.dtype)

        y_BXD = _modulate(x_BXD, shift, scale, config.eps)
        if config.camera:
            # The camera enters after modulation and before the projections: q, k and v all see it (ShotVerse §3.2).
            y_BXD += CameraEncoder(config.hidden_size, name="camera")(camera_BXP)
        y_BXD = y_BXD.astype(x_BXD.dtype)
        mix = self._self_mixer(shot_tokens)
        y_BXD = Attention(config, self.execution, name="self_attn")(y_BXD, y_BXD, rope, mix, deterministic)
        x_BXD = gated(x_BXD, y_BXD, gate)

        y_BXD = LayerNorm(config.eps, name="cross_norm")(x_BXD)
        mix = self._cross_mixer(window, shot_tokens)
        x_BXD += Attention(config, self.execution, name="cross_attn")(y_BXD, context_BSD, None, mix, deterministic)

        y_BXD = _modulate(x_BXD, mlp_shift, mlp_scale, config.eps).astype(x_BXD.dtype)
        y_BXF = Linear(config.mlp_size, use_bias=True, name="ffn_in")(y_BXD, deterministic)
        y_BXF = jax.checkpoint(nn.gelu)(y_BXF)  # keeps y alone for the gradient
        y_BXD = Linear(config.hidden_size, use_bias=True, name="ffn_out")(y_BXF, deterministic)
        return gated(x_BXD, y_BXD, mlp_gate)

    def _self_mixer(self, shot_tokens):
        kernel, mix = self.execution.attention, _mixing(self.execution)
        if self.config.self_attention == "full":
            return lambda *qkv: mix(partial(attend, kernel=kernel), qkv)
        return lambda *qkv: mix(lambda q, k, v: sparse_attend(q, k, v, *shot_tokens, kernel=kernel), qkv)

    def _cross_mixer(self, window, shot_tokens):
        """Attention of the video's tokens to the text.

        window: True where a text token may be seen; window_BKS, one row for each shot, where the shots' lengths are
        known (shot_tokens), else window_BXS, one row for each token of the video; None: all text is seen.
        """
        kernel, mix = self.execution.attention, _mixing(self.execution)
        windows = () if window is None else (window,)

        def by_token(q, k, v, window_BXS=None):
            return attend(q, k, v, kernel=kernel, mask_BTS=window_BXS)

        def by_window(q_BXNH, k_BSNH, v_BSNH, window_BKS):
            # All queries of a shot have one window, so the mask needs no row for every query: kernels take it as it is.
            def attend_shots(shots, q):
                keys, values = (jnp.repeat(x, len(shots), axis=0) for x in (k_BSNH, v_BSNH))
                window = window_BKS[:, np.array(shots)].reshape(len(q), 1, -1)
                return attend(q, keys, values, kernel=kernel, mask_BTS=window)

            return by_shot(attend_shots, shot_tokens[0], q_BXNH)

        if window is None or shot_tokens is None:
            # A token's row is all that its query needs, so tokens stay on their devices.
            return lambda q, k, v: mix(by_token, (q,), (k, v), windows, exchange=False)
        # Shots are cut out of the whole film, so a device must have all tokens (of its heads).
        return lambda q, k, v: mix(by_window, (q,), (k, v), windows)


def _mixing(execution: Execution) -> Callable[..., jax.Array]:
    """`execution.spread.mix` (`parallel/sequence.py`), or where nothing is spread a stand-in that calls the mixer."""
    if execution.spread is not None:
        return execution.spread.mix
    return lambda mixer, split, whole=(), masks=(), *, exchange=True: mixer(*split, *whole, *masks)


class WanDiT(nn.Module):
    """The velocity of noisy latents, one expert; `init` and `apply` through `__call__`."""

    config: WanDiTConfig
    execution: Execution = Execution()

    @nn.compact
    def __call__(
        self,
        latents_BTHWC: jax.Array,
        timestep_B: jax.Array,
        context_BSD: jax.Array,
        shot_BT: jax.Array | None = None,
        window_BKS: jax.Array | None = None,
        camera_BTP: jax.Array | None = None,
        *,
        shot_lengths: tuple[int, ...] | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """velocity_BTHWC in float32.

        Args:
            latents_BTHWC: noisy latents, H and W multiples of the config's patch.
            timestep_B: noise level, 0 to 1000.
            context_BSD: states of the text encoder, zero at padding.
            shot_BT: int, the shot of each latent frame, from 0; default: all frames are of one shot.
            window_BKS: bool, True where the frames of shot k may see text token s; default: every token of the video
                sees the whole context, padding too, as in Wan.
            camera_BTP: the 3x4 camera-to-world matrix of each latent frame, row by row (ShotVerse §3.2).
            shot_lengths: latent frames of each shot, the same for the whole batch. Static: another value compiles
                another program. Sparse attention needs it; with it text windows need no mask over all tokens.
            deterministic: False runs the adapters' dropout and needs an rng named "dropout".

        Raises:
            ValueError: shapes that do not fit, a camera that the config lacks or misses, shots that window_BKS or
                shot_lengths do not have. Where shot_BT is traced, a sample with such shots becomes NaN instead.
        """
        config, execution = self.config, self.execution
        self._check_shapes(latents_BTHWC, timestep_B, context_BSD, window_BKS, camera_BTP)
        shot_BT, wrong_BT = self._shots(latents_BTHWC, shot_BT, window_BKS, shot_lengths)
        batch, frames, height, width, _ = latents_BTHWC.shape
        rows, columns = height // config.patch[1], width // config.patch[2]
        summary = rows * columns  # tokens of a latent frame, which stand for a shot in sparse attention
        # Wan computes time, modulation, gates and head in float32 in a bfloat16 network; HoloCine's code uses bfloat16.
        island = jnp.dtype(jnp.float32 if config.rounding == "float32" else execution.dtype)

        time_BD, time_B6D = self._time(timestep_B, island)
        context_BSD = context_BSD.astype(execution.dtype)
        # Padding comes in as zeros and leaves as one constant vector; plain Wan attends to it, as it was trained to.
        context_BSD = nn.gelu(self._linear("text_in")(context_BSD))
        context_BSD = self._linear("text_out")(context_BSD)
        pt, ph, pw = config.patch
        pixels_BXP = rearrange(latents_BTHWC, "b (t p) (h q) (w r) c -> b (t h w) (c p q r)", p=pt, q=ph, r=pw)
        tokens = execution.spread.tokens if execution.spread is not None else lambda x_BXP: x_BXP
        x_BXD = self._linear("patch_embed")(tokens(pixels_BXP.astype(execution.dtype)))
        # Compiled code cannot raise an error; without NaN a wrong shot would silently read another shot's window.
        x_BXD = tokens(jnp.where(wrong_BT.any(axis=1)[:, None, None], jnp.nan, x_BXD))

        shot_tokens = None if shot_lengths is None else (tuple(n * summary for n in shot_lengths), summary)
        window = window_BKS
        if window is not None and shot_tokens is None:  # every token gets the row of its frame's shot
            window = jnp.repeat(jnp.take_along_axis(window_BKS, shot_BT[..., None], axis=1), summary, axis=1)
        x_BXD = run_stack(
            Block(config, execution, name="blocks"),
            config.num_layers,
            execution,
            x_BXD,
            time_B6D,
            context_BSD,
            self._rope(shot_BT, rows, columns),
            window,
            None if camera_BTP is None else camera_of_tokens(camera_BTP, summary, island),
            shot_tokens=shot_tokens,
            deterministic=deterministic,
        )

        # Wan's head is modulated by the time embedding itself, not by the projection of it that the blocks get.
        y_BXP = tokens(self._head(x_BXD, time_BD))
        # Wan's head has the channels of a patch last, its embedding first.
        y_BTHWC = rearrange(y_BXP, "b (t h w) (p q r c) -> b (t p) (h q) (w r) c", h=rows, w=columns, p=pt, q=ph, r=pw)
        return y_BTHWC.astype(jnp.float32)

    def _linear(self, name: str, features: int = 0) -> Linear:
        return Linear(features or self.config.hidden_size, use_bias=True, name=name)

    def _time(self, timestep_B, island):
        """(time_BD, time_B6D) in the dtype `island`: the embedding, and what is added to every block's modulations."""
        if self.config.rounding == "holocine":
            # HoloCine's pipeline rounds the timestep before its embedding: 995.9 becomes 996.
            timestep_B = jnp.asarray(timestep_B).astype(jnp.bfloat16)
        features_BF = time_features(timestep_B, self.config.frequency_size).astype(island)
        with _exact(island):
            time_BD = self._linear("time_out")(nn.silu(self._linear("time_in")(features_BF)))
            time_BM = self._linear("time_proj", 6 * self.config.hidden_size)(nn.silu(time_BD))
        return time_BD, time_BM.reshape(len(time_BM), 6, -1)

    def _head(self, x_BXD, time_BD):
        """The numbers of every token's patch, [B, X, P], in the dtype of time_BD."""
        config = self.config
        init = nn.initializers.normal(config.hidden_size**-0.5)
        table_2D = self.param("head_modulation", init, (2, config.hidden_size)).astype(time_BD.dtype)
        shift, scale = jnp.split(table_2D + time_BD[:, None], 2, axis=1)
        with _exact(time_BD.dtype):
            values = int(np.prod(config.patch)) * config.latent_channels
            return self._linear("head", values)(_modulate(x_BXD, shift, scale, config.eps))

    def _rope(self, shot_BT, rows, columns):
        """Rotary tables of all tokens, [B, X, 1, H/2]; B is 1 where nothing depends on the sample."""
        config, shape = self.config, (1, shot_BT.shape[1], rows, columns)
        positions = [np.broadcast_to(p, shape).reshape(1, -1) for p in np.indices(shape)[1:]]
        if config.rope == "wan3d":
            return wan3d_table(*positions, config.head_dim, config.rope_theta)
        # The frame's position goes on over cuts; at a cut only the channels of the shot turn (ShotVerse Alg. 1).
        shot_BX = jnp.repeat(shot_BT, rows * columns, axis=1)
        return shotverse4d_table(shot_BX, *positions, config.head_dim, config.rope_theta)

    def _check_shapes(self, latents_BTHWC, timestep_B, context_BSD, window_BKS, camera_BTP):
        config = self.config
        if config.camera != (camera_BTP is not None):
            has = (
                "has a camera encoder and got no camera_BTP" if config.camera else "has no camera encoder, got a camera"
            )
            raise ValueError(f"this expert {has}; config.camera and the inputs must agree")
        if config.patch[0] != 1:
            raise ValueError(f"config.patch {config.patch} joins latent frames, which belong to shots; use 1 in time")
        batch, frames, height, width, channels = latents_BTHWC.shape
        if channels != config.latent_channels or height % config.patch[1] or width % config.patch[2]:
            raise ValueError(
                f"latents of shape {latents_BTHWC.shape} must be [B, T, H, W, {config.latent_channels}] with H and W "
                f"in multiples of the patch {config.patch[1:]}"
            )
        context = (batch, context_BSD.shape[1], config.text_size)
        wanted = {
            "timestep": (timestep_B, (batch,)),
            "context": (context_BSD, context),
            "camera": (camera_BTP, (batch, frames, CAMERA_SIZE)),
        }
        if window_BKS is not None:
            wanted["window"] = window_BKS, (batch, window_BKS.shape[1], context[1])
        for name, (array, shape) in wanted.items():
            if array is not None and array.shape != shape:
                raise ValueError(
                    f"{name} has shape {array.shape}, expected {shape} beside latents {latents_BTHWC.shape}"
                )

    def _shots(self, latents_BTHWC, shot_BT, window_BKS, shot_lengths):
        """(shot_BT, wrong_BT): the shot of each latent frame, and True where window or lengths have no such shot."""
        batch, frames = latents_BTHWC.shape[:2]
        if shot_lengths is None and self.config.self_attention == "sparse":
            raise ValueError("sparse attention needs shot_lengths, the latent frames of each shot")
        if shot_lengths is not None and (sum(shot_lengths) != frames or min(shot_lengths) < 1):
            raise ValueError(f"shot_lengths {shot_lengths} must be positive and sum to {frames} latent frames")
        # By NumPy, because what is known while the program is traced can raise an error; traced shots become NaN.
        given_T = np.repeat(np.arange(len(shot_lengths or (0,))), shot_lengths or frames)
        if shot_BT is None:
            if shot_lengths is None and window_BKS is not None and window_BKS.shape[1] > 1:
                raise ValueError(
                    f"text windows of {window_BKS.shape[1]} shots need shot_BT or shot_lengths to say whose they are"
                )
            shot_BT = np.broadcast_to(given_T, (batch, frames))
        if shot_BT.shape != (batch, frames):
            raise ValueError(f"shot_BT has shape {shot_BT.shape}, expected {(batch, frames)}")
        wrong_BT = shot_BT < 0
        if window_BKS is not None:
            wrong_BT = wrong_BT | (shot_BT >= window_BKS.shape[1])
        if shot_lengths is not None:
            wrong_BT = wrong_BT | (shot_BT != given_T)
        if not isinstance(wrong_BT, jax.core.Tracer) and wrong_BT.any():
            raise ValueError(
                f"the shots of the latent frames, {np.asarray(shot_BT).tolist()}, do not fit "
                + (f"shot_lengths {shot_lengths}" if shot_lengths is not None else "")
                + (" and " if shot_lengths is not None and window_BKS is not None else "")
                + (f"text windows of {window_BKS.shape[1]} shots" if window_BKS is not None else "")
            )
        return shot_BT, wrong_BT


def reads_of(path: str) -> Literal["video", "text", "time"]:
    """Returns what the linear at a path of the parameter tree reads: tokens of the video or the text, or the time."""
    if path.startswith("time_"):
        return "time"
    return "text" if path.startswith("text_") or path.endswith(("cross_attn/k_proj", "cross_attn/v_proj")) else "video"


def time_features(timestep_B: jax.Array, size: int) -> jax.Array:
    """[B, size] in float32: the cosines, then the sines of t * 10000^(-k / (size / 2))."""
    # The powers are taken in float64, as in Wan, and rounded once.
    frequencies = (10000.0 ** (-np.arange(size // 2) / (size // 2))).astype(np.float32)
    angle_BF = jnp.asarray(timestep_B, jnp.float32)[:, None] * frequencies
    # Wan has the cosines first, and the weights of `time_in` expect this order.
    return jnp.concatenate([jnp.cos(angle_BF), jnp.sin(angle_BF)], axis=-1)


def _modulate(x, shift, scale, eps):
    """LayerNorm without parameters in float32, then times 1 + scale plus shift in their dtype."""
    x_fp32 = x.astype(jnp.float32)
    centred = x_fp32 - jnp.mean(x_fp32, axis=-1, keepdims=True)
    normed = centred * jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + eps)
    return normed.astype(scale.dtype) * (1 + scale) + shift


def _exact(dtype):
    """A context in which float32 products are computed in float32: accelerators use fewer bits by default."""
    return jax.default_matmul_precision("highest") if dtype == jnp.float32 else contextlib.nullcontext()


def example(config: WanDiTConfig) -> dict:
    """The smallest arguments of `WanDiT.__call__` that fix the parameters, as shapes.

    One latent frame of one patch, one text token.
    """
    camera = {"camera_BTP": jax.ShapeDtypeStruct((1, 1, CAMERA_SIZE), jnp.float32)} if config.camera else {}
    return {
        "latents_BTHWC": jax.ShapeDtypeStruct((1, 1, *config.patch[1:], config.latent_channels), jnp.float32),
        "timestep_B": jax.ShapeDtypeStruct((1,), jnp.float32),
        "context_BSD": jax.ShapeDtypeStruct((1, 1, config.text_size), jnp.float32),
        **camera,
        "shot_lengths": (1,),
    }
