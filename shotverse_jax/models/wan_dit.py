"""Wan2.2-T2V-A14B's video transformer with HoloCine's shot windows and sparse attention and ShotVerse's camera.

Wan: github.com/Wan-Video/Wan2.2 `wan/modules/model.py`. HoloCine: arXiv 2510.20822 §3.2. ShotVerse §3.2.
Parameters: `patch_embed`, `text_in`, `text_out`, `time_in`, `time_out`, `time_proj`, `blocks` (every leaf stacked on
axis 0), `head_modulation`, `head`. In a block: `modulation`, `self_attn`, `cross_norm`, `cross_attn`, `ffn_in`,
`ffn_out` and, if the config has it, `camera`.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax.traverse_util import flatten_dict, unflatten_dict

from shotverse_jax.config import Execution, WanDiTConfig
from shotverse_jax.nn.attention import DEFAULT, attend
from shotverse_jax.nn.linear import Linear
from shotverse_jax.nn.norm import LayerNorm, RMSNorm
from shotverse_jax.nn.rope import rotate_pairs, shotverse4d_table, wan3d_table
from shotverse_jax.nn.stack import run_stack

CAMERA_SIZE = 12  # a camera-to-world matrix 3x4, row by row


class Attention(nn.Module):
    """Multi-head attention with RMSNorm of q and k over all heads together."""

    config: WanDiTConfig
    execution: Execution

    @nn.compact
    def __call__(self, x_BND, memory_BSD, rope, mix: Callable[..., jax.Array], deterministic: bool):
        """mix: what happens between the projections, (q, k, v) [B, *, heads, H] -> the shape of q."""
        config = self.config

        def project(name, x):
            return Linear(config.hidden_size, use_bias=True, name=name)(x, deterministic)

        def heads(y):
            return y.reshape(*y.shape[:2], config.num_heads, config.head_dim)

        q_BNAH = heads(RMSNorm(config.eps, name="q_norm")(project("q_proj", x_BND)))
        k_BSAH = heads(RMSNorm(config.eps, name="k_norm")(project("k_proj", memory_BSD)))
        v_BSAH = heads(project("v_proj", memory_BSD))
        if rope is not None:
            q_BNAH, k_BSAH = rotate_pairs(q_BNAH, rope), rotate_pairs(k_BSAH, rope)
        return project("o_proj", mix(q_BNAH, k_BSAH, v_BSAH).reshape(x_BND.shape))


class Block(nn.Module):
    """Self-attention and MLP with modulation and gates, and between them cross-attention to the text without."""

    config: WanDiTConfig
    execution: Execution

    @nn.compact
    def __call__(self, x_BND, time_B6D, context_BSD, rope, text_mask, camera_BNP, *, shot_tokens, deterministic):
        """time_B6D has the dtype that modulation and gates run in; text_mask and shot_tokens: see `_cross_mixer`."""
        config, island = self.config, time_B6D.dtype
        init = nn.initializers.normal(config.hidden_size**-0.5)
        table_6D = self.param("modulation", init, (6, config.hidden_size)).astype(island)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = jnp.split(table_6D + time_B6D, 6, axis=1)

        def gated(x_BND, y_BND, gate_B1D):
            return (x_BND.astype(island) + y_BND.astype(island) * gate_B1D).astype(x_BND.dtype)

        y_BND = _modulate(x_BND, shift, scale, config.eps)
        if config.camera:
            init = nn.initializers.zeros
            y_BND += Linear(config.hidden_size, use_bias=True, kernel_init=init, name="camera")(camera_BNP)
        y_BND = y_BND.astype(x_BND.dtype)
        mix = self._self_mixer(shot_tokens)
        y_BND = Attention(config, self.execution, name="self_attn")(y_BND, y_BND, rope, mix, deterministic)
        x_BND = gated(x_BND, y_BND, gate)

        y_BND = LayerNorm(config.eps, name="cross_norm")(x_BND)
        mix = self._cross_mixer(text_mask, shot_tokens)
        x_BND += Attention(config, self.execution, name="cross_attn")(y_BND, context_BSD, None, mix, deterministic)

        y_BND = _modulate(x_BND, mlp_shift, mlp_scale, config.eps).astype(x_BND.dtype)
        y_BNF = Linear(config.mlp_size, use_bias=True, name="ffn_in")(y_BND, deterministic)
        y_BNF = jax.checkpoint(nn.gelu)(y_BNF)  # keeps y alone for the gradient
        y_BND = Linear(config.hidden_size, use_bias=True, name="ffn_out")(y_BNF, deterministic)
        return gated(x_BND, y_BND, mlp_gate)

    def _self_mixer(self, shot_tokens):
        kernel, mix = self.execution.attention, _mixing(self.execution)
        if self.config.self_attention == "full":
            return lambda *qkv: mix(partial(attend, kernel=kernel), qkv)
        return lambda *qkv: mix(lambda q, k, v: sparse_attend(q, k, v, *shot_tokens, kernel=kernel), qkv)

    def _cross_mixer(self, text_mask, shot_tokens):
        """text_mask: [B, K, S] when the shots' lengths are known (queries then go shot by shot), else [B, N, S]."""
        kernel, mix = self.execution.attention, _mixing(self.execution)
        masks = () if text_mask is None else (text_mask,)

        def by_token(q, k, v, mask=None):
            return attend(q, k, v, kernel=kernel, mask_BTS=mask)

        def by_shot(q_BNAH, k_BSAH, v_BSAH, mask_BKS):
            def window(shots, q):
                keys, values = (jnp.repeat(x, len(shots), axis=0) for x in (k_BSAH, v_BSAH))
                seen = mask_BKS[:, np.array(shots)].reshape(len(q), 1, -1)
                return attend(q, keys, values, kernel=kernel, mask_BTS=seen)

            return _by_shot(window, shot_tokens[0], q_BNAH)

        if text_mask is None or shot_tokens is None:
            return lambda q, k, v: mix(by_token, (q,), (k, v), masks, exchange=False)
        return lambda q, k, v: mix(by_shot, (q,), (k, v), masks)


def _mixing(execution: Execution) -> Callable[..., jax.Array]:
    """`mix` of `execution.spread` (`parallel/sequence.py`); without one, all tokens are together."""
    if execution.spread is not None:
        return execution.spread.mix
    return lambda mixer, split, whole=(), masks=(), *, exchange=True: mixer(*split, *whole, *masks)


def sparse_attend(
    q_BNAH: jax.Array,
    k_BNAH: jax.Array,
    v_BNAH: jax.Array,
    lengths: Sequence[int],
    summary: int,
    *,
    kernel: str = DEFAULT,
) -> jax.Array:
    """HoloCine's inter-shot attention: the queries of a shot see its own keys and the first ones of every shot.

    lengths: tokens of each shot; summary: how many of its first tokens (one latent frame) stand for a shot. The own
    first tokens are there twice, so their weight is double (HoloCine arXiv 2510.20822 §3.2; its `firstk` mode).
    Work is the sum over shots of n (n + K summary), not N squared. Raises ValueError when lengths do not fit.
    """
    if sum(lengths) != q_BNAH.shape[1] or min(lengths) < summary:
        raise ValueError(
            f"sparse attention: shots of {tuple(lengths)} tokens must fill {q_BNAH.shape[1]} and each hold {summary}"
        )
    starts = np.cumsum((0, *lengths))[:-1]

    def summaries(x):
        return jnp.concatenate([x[:, start : start + summary] for start in starts], axis=1)

    first = summaries(k_BNAH), summaries(v_BNAH)

    def mix(shots, q, k, v):
        keys, values = (
            jnp.concatenate([own, jnp.repeat(every, len(shots), axis=0)], axis=1)
            for own, every in zip((k, v), first, strict=True)
        )
        return attend(q, keys, values, kernel=kernel)

    return _by_shot(mix, lengths, q_BNAH, k_BNAH, v_BNAH)


def _by_shot(mix: Callable[..., jax.Array], lengths: Sequence[int], *xs_BN: jax.Array) -> jax.Array:
    """mix(shots, *parts) for the shots of each length, their tokens as [B * len(shots), length, ...], in order again.

    The batch stays the outer part of the first axis, so that its sharding survives.
    """
    starts, pieces = np.cumsum((0, *lengths)), {}
    for length in sorted(set(lengths)):
        shots = [shot for shot, n in enumerate(lengths) if n == length]
        stacked = (jnp.stack([x[:, starts[s] : starts[s] + length] for s in shots], axis=1) for x in xs_BN)
        mixed = mix(shots, *(x.reshape(-1, *x.shape[2:]) for x in stacked))
        mixed = mixed.reshape(-1, len(shots), *mixed.shape[1:])
        pieces |= {shot: mixed[:, i] for i, shot in enumerate(shots)}
    return jnp.concatenate([pieces[shot] for shot in range(len(lengths))], axis=1)


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
        text_mask_BKS: jax.Array | None = None,
        camera_BTP: jax.Array | None = None,
        *,
        shot_lengths: tuple[int, ...] | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """velocity_BTHWC in float32.

        timestep_B: 0 to 1000. context_BSD: text states, zero at padding. shot_BT: the shot of each latent frame, from
        0; all in one unless given. text_mask_BKS: True where the frames of shot k look at text token s; without it
        every token sees the whole context, padding too, as in Wan. camera_BTP: the 3x4 camera-to-world matrix of each
        latent frame (ShotVerse §3.2). shot_lengths: latent frames per shot, the same for the batch; a static value,
        needed for sparse attention, and with it text windows need no mask over all tokens. `deterministic=False` runs
        the adapters' dropout and needs an rng named "dropout".

        Raises ValueError for shapes that do not fit, a camera that the config lacks or misses, and shots that the mask
        or shot_lengths do not have; where shot_BT is traced, a sample with such shots becomes NaN.
        """
        config, execution = self.config, self.execution
        self._check_shapes(latents_BTHWC, timestep_B, context_BSD, text_mask_BKS, camera_BTP)
        shot_BT, wrong_BT = self._shots(latents_BTHWC, shot_BT, text_mask_BKS, shot_lengths)
        batch, frames, height, width, _ = latents_BTHWC.shape
        rows, columns = height // config.patch[1], width // config.patch[2]
        summary = rows * columns
        island = jnp.dtype(jnp.float32 if config.rounding == "float32" else execution.dtype)

        time_BD, time_B6D = self._time(timestep_B, island)
        context_BSD = context_BSD.astype(execution.dtype)
        context_BSD = nn.gelu(self._linear("text_in")(context_BSD))
        context_BSD = self._linear("text_out")(context_BSD)
        pt, ph, pw = config.patch
        pixels_BNP = rearrange(latents_BTHWC, "b (t p) (h q) (w r) c -> b (t h w) (c p q r)", p=pt, q=ph, r=pw)
        tokens = execution.spread.tokens if execution.spread is not None else lambda x_BNP: x_BNP
        x_BND = self._linear("patch_embed")(tokens(pixels_BNP.astype(execution.dtype)))
        x_BND = tokens(jnp.where(wrong_BT.any(axis=1)[:, None, None], jnp.nan, x_BND))

        shot_tokens = None if shot_lengths is None else (tuple(n * summary for n in shot_lengths), summary)
        text_mask = text_mask_BKS
        if text_mask is not None and shot_tokens is None:
            text_mask = jnp.repeat(jnp.take_along_axis(text_mask_BKS, shot_BT[..., None], axis=1), summary, axis=1)
        x_BND = run_stack(
            Block(config, execution, name="blocks"),
            config.num_layers,
            execution,
            x_BND,
            time_B6D,
            context_BSD,
            self._rope(shot_BT, rows, columns),
            text_mask,
            # Repeated here, not after its encoder: the sum over a frame's tokens would gather those of all devices.
            None if camera_BTP is None else jnp.repeat(camera_BTP.astype(island), summary, axis=1),
            shot_tokens=shot_tokens,
            deterministic=deterministic,
        )

        init = nn.initializers.normal(config.hidden_size**-0.5)
        table_2D = self.param("head_modulation", init, (2, config.hidden_size)).astype(island)
        shift, scale = jnp.split(table_2D + time_BD[:, None], 2, axis=1)
        with _exact(island):
            y_BNP = self._linear("head", pt * ph * pw * config.latent_channels)(
                _modulate(x_BND, shift, scale, config.eps)
            )
        y_BTHWC = rearrange(
            tokens(y_BNP), "b (t h w) (p q r c) -> b (t p) (h q) (w r) c", h=rows, w=columns, p=pt, q=ph, r=pw
        )
        return y_BTHWC.astype(jnp.float32)

    def _linear(self, name: str, features: int = 0) -> Linear:
        return Linear(features or self.config.hidden_size, use_bias=True, name=name)

    def _time(self, timestep_B, island):
        """The time embedding [B, D] and the six modulations it adds to every block's, in the dtype `island`."""
        if self.config.rounding == "holocine":
            timestep_B = jnp.asarray(timestep_B).astype(jnp.bfloat16)
        features_BF = time_features(timestep_B, self.config.frequency_size).astype(island)
        with _exact(island):
            time_BD = self._linear("time_out")(nn.silu(self._linear("time_in")(features_BF)))
            time_BM = self._linear("time_proj", 6 * self.config.hidden_size)(nn.silu(time_BD))
        return time_BD, time_BM.reshape(len(time_BM), 6, -1)

    def _rope(self, shot_BT, rows, columns):
        """Tables of all tokens; batch 1 where nothing depends on the sample."""
        config, shape = self.config, (1, shot_BT.shape[1], rows, columns)
        positions = [np.broadcast_to(p, shape).reshape(1, -1) for p in np.indices(shape)[1:]]
        if config.rope == "wan3d":
            return wan3d_table(*positions, config.head_dim, config.rope_theta)
        shot_BN = jnp.repeat(shot_BT, rows * columns, axis=1)
        return shotverse4d_table(shot_BN, *positions, config.head_dim, config.rope_theta)

    def _check_shapes(self, latents_BTHWC, timestep_B, context_BSD, text_mask_BKS, camera_BTP):
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
        if text_mask_BKS is not None:
            wanted["text_mask"] = text_mask_BKS, (batch, text_mask_BKS.shape[1], context[1])
        for name, (array, shape) in wanted.items():
            if array is not None and array.shape != shape:
                raise ValueError(
                    f"{name} has shape {array.shape}, expected {shape} beside latents {latents_BTHWC.shape}"
                )

    def _shots(self, latents_BTHWC, shot_BT, text_mask_BKS, shot_lengths):
        """The shot of each latent frame, and where it is one that the mask or the lengths do not have."""
        batch, frames = latents_BTHWC.shape[:2]
        if shot_lengths is None and self.config.self_attention == "sparse":
            raise ValueError("sparse attention needs shot_lengths, the latent frames of each shot")
        if shot_lengths is not None and (sum(shot_lengths) != frames or min(shot_lengths) < 1):
            raise ValueError(f"shot_lengths {shot_lengths} must be positive and sum to {frames} latent frames")
        told_T = np.repeat(np.arange(len(shot_lengths or (0,))), shot_lengths or frames)
        if shot_BT is None:
            if shot_lengths is None and text_mask_BKS is not None and text_mask_BKS.shape[1] > 1:
                raise ValueError(
                    f"text windows of {text_mask_BKS.shape[1]} shots need shot_BT or shot_lengths to say whose they are"
                )
            shot_BT = np.broadcast_to(told_T, (batch, frames))
        if shot_BT.shape != (batch, frames):
            raise ValueError(f"shot_BT has shape {shot_BT.shape}, expected {(batch, frames)}")
        wrong_BT = shot_BT < 0
        if text_mask_BKS is not None:
            wrong_BT = wrong_BT | (shot_BT >= text_mask_BKS.shape[1])
        if shot_lengths is not None:
            wrong_BT = wrong_BT | (shot_BT != told_T)
        if not isinstance(wrong_BT, jax.core.Tracer) and wrong_BT.any():
            raise ValueError(
                f"the shots of the latent frames, {np.asarray(shot_BT).tolist()}, do not fit "
                + (f"shot_lengths {shot_lengths}" if shot_lengths is not None else "")
                + (" and " if shot_lengths is not None and text_mask_BKS is not None else "")
                + (f"text windows of {text_mask_BKS.shape[1]} shots" if text_mask_BKS is not None else "")
            )
        return shot_BT, wrong_BT


def time_features(timestep_B: jax.Array, size: int) -> jax.Array:
    """[B, size] in float32: the cosines, then the sines of t * 10000^(-k / (size / 2))."""
    frequencies = (10000.0 ** (-np.arange(size // 2) / (size // 2))).astype(np.float32)
    angle_BF = jnp.asarray(timestep_B, jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.cos(angle_BF), jnp.sin(angle_BF)], axis=-1)


def add_camera(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of an expert without camera encoders, with ones that change nothing yet (zeros, float32)."""
    layers, width = params["blocks"]["modulation"].shape[::2]
    camera = {"kernel": jnp.zeros((layers, CAMERA_SIZE, width)), "bias": jnp.zeros((layers, width))}
    return {**params, "blocks": {**params["blocks"], "camera": camera}}


def split_camera(params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters without camera encoders, and the encoders alone ({} where there are none)."""
    leaves = flatten_dict(params)
    camera = {path: leaf for path, leaf in leaves.items() if "camera" in path}
    rest = {path: leaf for path, leaf in leaves.items() if path not in camera}
    return unflatten_dict(rest), unflatten_dict(camera)


def _modulate(x, shift, scale, eps):
    """LayerNorm without parameters in float32, then times 1 + scale plus shift in their dtype."""
    x_fp32 = x.astype(jnp.float32)
    centred = x_fp32 - jnp.mean(x_fp32, axis=-1, keepdims=True)
    normed = centred * jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + eps)
    return normed.astype(scale.dtype) * (1 + scale) + shift


def _exact(dtype):
    """Accelerators shorten float32 products unless told otherwise; the float32 islands are to be float32."""
    return jax.default_matmul_precision("highest") if dtype == jnp.float32 else contextlib.nullcontext()
