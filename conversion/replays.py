"""How the records of each network are replayed by ours (`verify.py` reads them and compares)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.camera.tokens.shotverse import FIRST_BIN
from shotverse_jax.config import MODES
from shotverse_jax.inputs.prompt import window_mask
from shotverse_jax.inputs.qwen3_vl import arrange, pack
from shotverse_jax.models.clip import end_of_text

from . import clatr, clip, gendop, gendop_opt, pi3, qwen3_vl, transnetv2, umt5, wan_dit, wan_vae

Arrays = dict[str, np.ndarray]
Meta = Mapping[str, Any]


@dataclass(frozen=True)
class Replay:
    """How the records of one network are replayed.

    Attributes:
        network: Its name in `NETWORKS`, which reads the weights.
        config: (meta, PyTorch weights) → the config of the network.
        run: (module, variables, inputs, meta) → the outputs by name.
        inputs: The inputs that a record must have.
        meta: The keys of `meta` that a record must have.
        optional: Inputs that a record may have.
    """

    network: str
    config: Callable[[Meta, Arrays], Any]
    run: Callable[[Any, dict, Arrays, Meta], Arrays]
    inputs: tuple[str, ...]
    meta: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


def _gendop_opt(module: Any, variables: dict, inputs: Arrays, meta: Meta) -> Arrays:
    """Teacher-forced logits, and the greedy continuation of BOS, which GenDoP restricts to bins (ids 3 and up)."""
    cond_BPD, forward = inputs["cond_embeds"], jax.jit(module.apply)
    ids_BT = jnp.asarray(inputs["input_ids"], jnp.int32)
    batch, new, prefix = len(ids_BT), 10 * meta["pose_length"], cond_BPD.shape[1]
    tokens_BT = jnp.full((batch, new + 1), meta["pad"], jnp.int32).at[:, 0].set(meta["bos"])
    for t in range(new):  # the network is causal: what is after t does not matter yet
        bins_BV = forward(variables, cond_BPD, tokens_BT)[:, prefix + t, FIRST_BIN:]
        tokens_BT = tokens_BT.at[:, t + 1].set(FIRST_BIN + jnp.argmax(bins_BV, axis=-1))
    return {"logits": forward(variables, cond_BPD, ids_BT), "greedy_token_ids": tokens_BT[:, 1:]}


def _gendop(module: Any, variables: dict, inputs: Arrays, meta: Meta) -> Arrays:
    """The prefix that the conditions become, and the logits of the pose tokens `input_ids` after it.

    `text_mask` is True at real tokens. A network that sees the first frame also gets `image` [B, 3, H, W] and `depth`
    [B, H, W], as its towers take them.
    """
    text = (inputs["text_ids"], inputs["text_mask"].astype(bool)) if "text_ids" in inputs else (None, None)
    image = np.moveaxis(inputs["image"], 1, -1) if "image" in inputs else None
    conditions = [*text, image, inputs.get("depth")]
    return {
        "cond_embeds": jax.jit(partial(module.apply, method="prefix"))(variables, *conditions),
        "logits": jax.jit(module.apply)(variables, inputs["input_ids"], *conditions),
    }


def _gendop_config(meta: Meta, tensors: Arrays) -> Any:
    mode = gendop.mode_of(tensors)
    if mode is None:
        raise ValueError("the weights have towers for none of GenDoP's modes")
    names = {"text": ("text_ids", "text_mask"), "image": ("image",), "depth": ("depth",)}
    needed = {name for part in MODES[mode] for name in names[part]}
    if needed != set(meta["inputs"]) - {"input_ids"}:
        raise ValueError(f"the weights have towers for {mode}, so the record needs {', '.join(sorted(needed))}")
    return gendop.config_from_tensors(tensors, mode, meta["tower_heads"], meta["num_heads"])


def _clatr(module: Any, variables: dict, inputs: Arrays, meta: Meta) -> Arrays:
    """Latents of trajectories and texts, and what their means are decoded to; masks are True at real places."""
    read = jax.jit(module.apply)(variables, *(inputs[name] for name in _CLATR_INPUTS))
    return {
        "traj_mu": read.traj.mu_BD,
        "traj_logvar": read.traj.logvar_BD,
        "text_mu": read.text.mu_BD,
        "text_logvar": read.text.logvar_BD,
        "traj_recon": read.traj_recon_BTC,
        "text_recon": read.text_recon_BTC,
    }


def _real(inputs: Arrays) -> np.ndarray | None:
    """The input `attention_mask` as booleans, where a record has it."""
    real_BT = inputs["attention_mask"].astype(bool) if "attention_mask" in inputs else None
    if real_BT is not None and not real_BT[:, 0].all():
        raise ValueError("attention_mask pads on the left, where states mean nothing; record it padded on the right")
    return real_BT


def _umt5(module: Any, variables: dict, inputs: Arrays, meta: Meta) -> Arrays:
    """The states of `input_ids`, which are zero at padding, as Wan's text encoder returns them."""
    ids_BS, real_BS = inputs["input_ids"], _real(inputs)
    real_BS = np.ones(ids_BS.shape, bool) if real_BS is None else real_BS
    return {"last_hidden": jax.jit(module.apply)(variables, ids_BS, real_BS)}


def _umt5_config(meta: Meta, tensors: Arrays) -> Any:
    distance = {"max_distance": meta["max_distance"]} if "max_distance" in meta else {}
    return umt5.config_from_tensors(tensors, **distance)


def _clip_text(module: Any, variables: dict, inputs: Arrays, meta: Meta) -> Arrays:
    """The states of `input_ids`, and those at the end of the text."""
    ids_BT, real_BT = inputs["input_ids"], _real(inputs)
    real_BT = np.ones(ids_BT.shape, bool) if real_BT is None else real_BT
    states_BTD = jax.jit(module.apply)(variables, ids_BT, real_BT)
    return {"last_hidden": states_BTD, "pooled": end_of_text(states_BTD, ids_BT)}


def _clip_vision(module: Any, variables: dict, inputs: Arrays, meta: Meta) -> Arrays:
    """The states of `pixel_values` [B, 3, H, W], normalised as CLIP's, and the pooled one."""
    seen = jax.jit(module.apply)(variables, np.moveaxis(inputs["pixel_values"], 1, -1))
    return {"last_hidden": seen.last_BPD, "pooled": seen.pooled_BD}


def _clip(module: Any, variables: dict, inputs: Arrays, meta: Meta) -> Arrays:
    """The vectors of `pixel_values` and of `input_ids`, of length 1, as those of CLIPModel."""
    ids_BT, real_BT = inputs["input_ids"], _real(inputs)
    real_BT = np.ones(ids_BT.shape, bool) if real_BT is None else real_BT
    # A picture is a clip of one frame.
    read = jax.jit(module.apply)(variables, np.moveaxis(inputs["pixel_values"], 1, -1)[:, None], ids_BT, real_BT)
    return {"image_embeds": read.video_BJ, "text_embeds": read.text_NJ}


def _wan_vae(module: Any, variables: dict, inputs: Arrays, meta: Meta) -> Arrays:
    """The normalised mean latents of `video` [B, 3, T, H, W] in [-1, 1], and the video of normalised `latents`."""
    if not inputs:
        raise ValueError("a wan_vae record needs video or latents")
    outputs = {}
    for given, method, made in (("video", "encode", "encoded"), ("latents", "decode", "decoded")):
        if given in inputs:
            x_BTHWC = np.moveaxis(inputs[given], 1, -1)
            y_BTHWC = jax.jit(partial(module.apply, method=method))(variables, x_BTHWC)
            outputs[made] = np.moveaxis(np.asarray(y_BTHWC), -1, 1)
    return outputs


def _wan_vae_config(meta: Meta, tensors: Arrays) -> Any:
    latents = {name: tuple(meta[name]) for name in ("latent_mean", "latent_std") if name in meta}
    return wan_vae.config_from_tensors(tensors, **latents)


def _qwen3_vl_text(module: Any, variables: dict, inputs: Arrays, meta: Meta) -> Arrays:
    """States and logits of `inputs_embeds` or `input_ids`."""
    if "inputs_embeds" in inputs:
        x_BTD = inputs["inputs_embeds"]
    elif "input_ids" in inputs:
        x_BTD = module.apply(variables, inputs["input_ids"], method="embed")
    else:
        raise ValueError("a qwen3_vl_text record needs inputs_embeds or input_ids")
    hidden_BTD = jax.jit(module.apply)(variables, x_BTD, None, _real(inputs))
    return {"last_hidden": hidden_BTD, "logits": module.apply(variables, hidden_BTD, method="logits")}


def _qwen3_vl(module: Any, variables: dict, inputs: Arrays, meta: Meta) -> Arrays:
    """Positions, states and logits of a text with images, and the outputs of the vision tower.

    The rows of the vision tower come without padding, the images in the order of the text.
    """
    config, ids_BT, grids, real_BT = module.config, inputs["input_ids"], inputs["image_grid_thw"], _real(inputs)
    pixels_FSP, size_F2 = pack(inputs["pixel_values"], grids, config.vision)
    places = arrange(ids_BT, grids, config, pixels_FSP.shape[1], real_BT)
    hidden_BTD = jax.jit(module.apply)(
        variables, ids_BT, pixels_FSP, size_F2, places.feature_BT, places.positions_3BT, real_BT
    )
    seen = jax.jit(lambda variables, *images: module.apply(variables, *images, method=lambda m, *x: m.vision(*x)))(
        variables, pixels_FSP, size_F2
    )

    def rows(x_FSD, patches=1):
        return np.concatenate([x[: h * w // patches] for x, (h, w) in zip(np.asarray(x_FSD), size_F2, strict=True)])

    merged = config.vision.merged_patches
    return {
        "position_ids": places.positions_3BT,
        "rope_delta": places.delta_B[:, None],
        "vision_last_hidden": rows(seen.last_FSD),
        "vision_merged": rows(seen.merged_FMD, merged),
        **{f"vision_deepstack_{k}": rows(x_FMD, merged) for k, x_FMD in enumerate(seen.deepstack_KFMD)},
        "last_hidden": hidden_BTD,
        "logits": module.apply(variables, hidden_BTD, method="logits"),
    }


def _wan_dit(module: Any, variables: dict, inputs: Arrays, meta: Meta) -> Arrays:
    """One forward pass with the record's shots, text windows and cameras."""
    config, shot_BT, context_BSD = module.config, inputs["shot_indices"], inputs["context"]
    window_BKS = lengths = camera_BTP = None
    if meta["text_shot_positions"]:
        spans = meta["text_global_positions"], meta["text_shot_positions"]
        window_KS = window_mask(*spans, context_BSD.shape[1], "holocine")
        window_BKS = np.broadcast_to(window_KS, (len(context_BSD), *window_KS.shape))
    if config.self_attention == "sparse":
        if (shot_BT != shot_BT[0]).any():
            raise ValueError("sparse attention replays a batch of one shot layout; shot_indices has several")
        lengths = tuple(np.bincount(shot_BT[0]).tolist())
    if config.camera != ("camera_c2w" in inputs):
        raise ValueError(
            "the weights have camera encoders (blocks.0.cam_encoder), so the record needs the input camera_c2w"
            if config.camera
            else "the weights have no camera encoders (blocks.0.cam_encoder) to read the input camera_c2w"
        )
    if config.camera:
        camera_BTP = inputs["camera_c2w"].reshape(*shot_BT.shape, -1)
    velocity_BTHWC = jax.jit(partial(module.apply, shot_lengths=lengths))(
        variables,
        np.moveaxis(inputs["latents"], 1, -1),
        inputs["timestep"],
        context_BSD,
        shot_BT,
        window_BKS,
        camera_BTP,
    )
    return {"output": np.moveaxis(np.asarray(velocity_BTHWC), -1, 1)}


def _wan_dit_config(meta: Meta, tensors: Arrays) -> Any:
    return wan_dit.config_from_tensors(
        tensors,
        num_heads=meta["num_heads"],
        eps=meta["eps"],
        rope=meta.get("rope", "wan3d"),
        self_attention="sparse" if meta["sparse_inter_shot_attention"] else "full",
    )


def _transnetv2(module: Any, variables: dict, inputs: Arrays, meta: Meta) -> Arrays:
    """Log-odds of cuts and of transitions, by the original's names, of `frames` [B, T, 27, 48, 3] uint8."""
    cut_BT, change_BT = jax.jit(module.apply)(variables, inputs["frames"])
    return {"one_hot": cut_BT, "many_hot": change_BT}


def _pi3(module: Any, variables: dict, inputs: Arrays, meta: Meta) -> Arrays:
    """Points, confidence (as logits, before the sigmoid) and poses of `imgs` [B, N, 3, H, W] between 0 and 1."""
    seen = jax.jit(module.apply)(variables, np.moveaxis(inputs["imgs"], 2, -1))
    return {
        "points": seen.points_BTHWC,
        "local_points": seen.local_BTHWC,
        "conf": seen.logit_BTHW[..., None],
        "camera_poses": seen.pose_BT44,
    }


def _pi3_config(meta: Meta, tensors: Arrays) -> Any:
    config = pi3.config_from_tensors(tensors)
    widths = {config.hidden_size // meta[f"{part}_heads"] for part in ("encoder", "decoder")}
    if widths | {config.tower_size // meta["head_heads"]} != {config.head_dim}:
        raise ValueError(f"the heads of all parts of a Pi3 are as wide as the decoder's, {config.head_dim}")
    return config


_CLATR_INPUTS = ("trajectory_features", "trajectory_mask", "text_features", "text_mask")
_WAN_DIT_INPUTS = ("latents", "timestep", "context", "shot_indices")
_WAN_DIT_META = ("num_heads", "eps", "text_global_positions", "text_shot_positions", "sparse_inter_shot_attention")

# `meta["config"]` is the config.json of the checkpoint.
REPLAYS = {
    "holocine_dit": Replay("holocine", _wan_dit_config, _wan_dit, _WAN_DIT_INPUTS, _WAN_DIT_META),
    # The camera is optional because the expert of low noise has no camera encoders.
    "shotverse_controller": Replay(
        "wan-dit", _wan_dit_config, _wan_dit, _WAN_DIT_INPUTS, (*_WAN_DIT_META, "rope"), optional=("camera_c2w",)
    ),
    "umt5": Replay("umt5", _umt5_config, _umt5, inputs=("input_ids",), optional=("attention_mask",)),
    # Either input may be left out; its output is then not replayed.
    "wan_vae": Replay("wan-vae", _wan_vae_config, _wan_vae, inputs=(), optional=("video", "latents")),
    "clip_text": Replay(
        "clip-text",
        lambda meta, tensors: clip.text_config_from_hf(meta["config"]),
        _clip_text,
        inputs=("input_ids",),
        meta=("config",),
        optional=("attention_mask",),
    ),
    "clip_vision": Replay(
        "clip-vision",
        lambda meta, tensors: clip.vision_config_from_hf(meta["config"]),
        _clip_vision,
        inputs=("pixel_values",),
        meta=("config",),
    ),
    "clip": Replay(
        "clip",
        lambda meta, tensors: clip.whole_config_from_hf(meta["config"]),
        _clip,
        inputs=("pixel_values", "input_ids"),
        meta=("config",),
        optional=("attention_mask",),
    ),
    "gendop": Replay(
        "gendop-text-motion",
        _gendop_config,
        _gendop,
        inputs=("input_ids",),
        meta=("tower_heads", "num_heads"),
        optional=("text_ids", "text_mask", "image", "depth"),
    ),
    "gendop_opt": Replay(
        "gendop-opt",
        lambda meta, tensors: gendop_opt.config_from_tensors(tensors, meta["num_heads"]),
        _gendop_opt,
        inputs=("cond_embeds", "input_ids"),
        meta=("num_heads", "pose_length", "bos", "pad"),
    ),
    "clatr": Replay(
        "clatr",
        lambda meta, tensors: clatr.config_from_tensors(tensors, meta["num_heads"]),
        _clatr,
        inputs=_CLATR_INPUTS,
        meta=("num_heads",),
    ),
    "pi3": Replay("pi3", _pi3_config, _pi3, inputs=("imgs",), meta=("encoder_heads", "decoder_heads", "head_heads")),
    "transnetv2": Replay(
        "transnetv2",
        lambda meta, tensors: transnetv2.config_from_tensors(tensors),
        _transnetv2,
        inputs=("frames",),
    ),
    "qwen3_vl": Replay(
        "qwen3-vl",
        lambda meta, tensors: qwen3_vl.full_config_from_hf(meta["config"]),
        _qwen3_vl,
        inputs=("input_ids", "pixel_values", "image_grid_thw"),
        meta=("config",),
        optional=("attention_mask",),
    ),
    "qwen3_vl_text": Replay(
        "qwen3-vl-text",
        lambda meta, tensors: qwen3_vl.config_from_hf(meta["config"]),
        _qwen3_vl_text,
        inputs=(),
        meta=("config",),
        optional=("input_ids", "inputs_embeds", "attention_mask"),
    ),
}
