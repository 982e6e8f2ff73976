"""Replays a record of an original PyTorch program through our network and compares the outputs.

A record is an .npz: `param/<PyTorch name>` for every weight, inputs and outputs under the names listed in `meta`, which
is JSON with `model` (a name in `REPLAYS`), `inputs`, `outputs` and the sizes that the weights do not tell.
"""

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.camera.tokens.shotverse import FIRST_BIN
from shotverse_jax.config import Execution
from shotverse_jax.inputs.prompt import window_mask
from shotverse_jax.inputs.qwen3_vl import arrange, pack
from shotverse_jax.models.clatr import CLaTr
from shotverse_jax.models.opt import OPTDecoder
from shotverse_jax.models.qwen3_vl import Qwen3VL, Qwen3VLText
from shotverse_jax.models.wan_dit import WanDiT

from . import clatr, gendop_opt, qwen3_vl, wan_dit

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Replay:
    """run: (meta, PyTorch weights, inputs) -> outputs by name; the inputs and the keys of `meta` that it reads."""

    run: Callable[[Mapping[str, Any], Arrays, Arrays], Arrays]
    inputs: tuple[str, ...]
    meta: tuple[str, ...]
    optional: tuple[str, ...] = ()


@dataclass(frozen=True)
class OutputError:
    """max_abs: largest absolute difference; max_rel_rms: that over the record's RMS (integers: over 1, must be 0)."""

    name: str
    max_abs: float
    max_rel_rms: float
    ok: bool


@dataclass(frozen=True)
class Report:
    model: str
    tolerance: float
    outputs: tuple[OutputError, ...]

    @property
    def ok(self) -> bool:
        return all(output.ok for output in self.outputs)


def verify_record(path: str | Path, tol: float = 1e-4) -> Report:
    """Replay the record at `path`; an output passes when its error over the record's RMS is at most `tol`.

    Raises ValueError when the file is not a record, its model is unknown or its weights do not fit the network.
    """
    meta, arrays = _read(Path(path))
    model = meta["model"]
    if model not in REPLAYS:
        raise ValueError(f"{path} records model {model!r}, which has no replay; known: {', '.join(sorted(REPLAYS))}")
    replay, inputs = REPLAYS[model], {name: arrays[name] for name in meta["inputs"]}
    if missing := [name for name in replay.inputs if name not in inputs] + [n for n in replay.meta if n not in meta]:
        raise ValueError(f"{path} lacks {', '.join(missing)}, which the replay of {model} needs")
    if unknown := inputs.keys() - {*replay.inputs, *replay.optional}:
        raise ValueError(f"{path} has inputs that the replay of {model} cannot use: {', '.join(sorted(unknown))}")
    params = {name.removeprefix("param/"): array for name, array in arrays.items() if name.startswith("param/")}
    with jax.default_matmul_precision("highest"):
        ours = replay.run(meta, params, inputs)
    if missing := [name for name in meta["outputs"] if name not in ours]:
        raise ValueError(f"{path} records {', '.join(missing)}, which the replay of {model} does not produce")
    outputs = tuple(_compare(name, np.asarray(ours[name]), arrays[name], tol) for name in meta["outputs"])
    return Report(model, tol, outputs)


def _read(path: Path) -> tuple[dict[str, Any], Arrays]:
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give the .npz record of a model")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an .npz file; give the .npz record of a model")
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if "meta" not in arrays:
        raise ValueError(f"{path} has no `meta` entry, so it is not the record of a model")
    try:
        meta = json.loads(str(arrays.pop("meta")))
        named = [*meta["inputs"], *meta["outputs"], meta["model"]][:-1]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: `meta` must be JSON with model, inputs and outputs ({error!r})") from error
    if missing := [name for name in named if name not in arrays]:
        raise ValueError(f"{path}: `meta` names {', '.join(missing)}, which the file does not hold")
    return meta, arrays


def _compare(name: str, ours: np.ndarray, theirs: np.ndarray, tol: float) -> OutputError:
    if ours.shape != theirs.shape:
        return OutputError(name, float("inf"), float("inf"), ok=False)
    if np.issubdtype(theirs.dtype, np.integer) or theirs.dtype == bool:
        wrong = float(np.max(np.abs(ours.astype(np.int64) - theirs.astype(np.int64)), initial=0))
        return OutputError(name, wrong, wrong, ok=wrong == 0)
    theirs = theirs.astype(np.float64)
    max_abs = float(np.max(np.abs(ours.astype(np.float64) - theirs), initial=0))
    rms = float(np.sqrt(np.mean(theirs**2))) if theirs.size else 0.0
    relative = max_abs / rms if rms else (0.0 if max_abs == 0 else float("inf"))
    return OutputError(name, max_abs, relative, ok=relative <= tol)


def _gendop_opt(meta: Mapping[str, Any], tensors: Arrays, inputs: Arrays) -> Arrays:
    """Teacher-forced logits and the greedy continuation of BOS, which GenDoP restricts to bins (ids 3 and up)."""
    config = gendop_opt.config_from_tensors(tensors, meta["num_heads"])
    variables, cond_BPD = {"params": gendop_opt.from_torch(tensors, config)}, inputs["cond_embeds"]
    forward = jax.jit(OPTDecoder(config, Execution()).apply)
    ids_BT = jnp.asarray(inputs["input_ids"], jnp.int32)
    batch, new, prefix = len(ids_BT), 10 * meta["pose_length"], cond_BPD.shape[1]
    tokens_BT = jnp.full((batch, new + 1), meta["pad"], jnp.int32).at[:, 0].set(meta["bos"])
    for t in range(new):  # causal: what stands after t does not matter yet
        bins_BV = forward(variables, cond_BPD, tokens_BT)[:, prefix + t, FIRST_BIN:]
        tokens_BT = tokens_BT.at[:, t + 1].set(FIRST_BIN + jnp.argmax(bins_BV, axis=-1))
    return {"logits": forward(variables, cond_BPD, ids_BT), "greedy_token_ids": tokens_BT[:, 1:]}


def _clatr(meta: Mapping[str, Any], tensors: Arrays, inputs: Arrays) -> Arrays:
    """Latents of trajectories and texts, and what their means are decoded to; masks are True at what is real."""
    config = clatr.config_from_tensors(tensors, meta["num_heads"])
    read = jax.jit(CLaTr(config).apply)(
        {"params": clatr.from_torch(tensors, config)}, *(inputs[name] for name in _CLATR_INPUTS)
    )
    return {
        "traj_mu": read.traj.mu_BD,
        "traj_logvar": read.traj.logvar_BD,
        "text_mu": read.text.mu_BD,
        "text_logvar": read.text.logvar_BD,
        "traj_recon": read.traj_recon_BTC,
        "text_recon": read.text_recon_BTC,
    }


def _mask(inputs: Arrays) -> np.ndarray | None:
    real_BT = inputs["attention_mask"].astype(bool) if "attention_mask" in inputs else None
    if real_BT is not None and not real_BT[:, 0].all():
        raise ValueError("attention_mask pads on the left, where states mean nothing; record it padded on the right")
    return real_BT


def _qwen3_vl_text(meta: Mapping[str, Any], tensors: Arrays, inputs: Arrays) -> Arrays:
    """States and logits of `inputs_embeds` or `input_ids`; `meta["config"]` is the checkpoint's config.json."""
    config = qwen3_vl.config_from_hf(meta["config"])
    model, variables = Qwen3VLText(config, Execution()), {"params": qwen3_vl.from_hf(tensors, config)}
    real_BT = _mask(inputs)
    if "inputs_embeds" in inputs:
        x_BTD = inputs["inputs_embeds"]
    elif "input_ids" in inputs:
        x_BTD = model.apply(variables, inputs["input_ids"], method="embed")
    else:
        raise ValueError("a qwen3_vl_text record needs inputs_embeds or input_ids")
    hidden_BTD = jax.jit(model.apply)(variables, x_BTD, None, real_BT)
    return {"last_hidden": hidden_BTD, "logits": model.apply(variables, hidden_BTD, method="logits")}


def _qwen3_vl(meta: Mapping[str, Any], tensors: Arrays, inputs: Arrays) -> Arrays:
    """Positions, states and logits of a text with images, and what the vision tower makes of them: rows without the
    padding, images in the order of the text. `meta["config"]` is the checkpoint's config.json."""
    config = qwen3_vl.full_config_from_hf(meta["config"])
    model, variables = Qwen3VL(config, Execution()), {"params": qwen3_vl.full_from_hf(tensors, config)}
    ids_BT, grids = inputs["input_ids"], inputs["image_grid_thw"]
    real_BT = _mask(inputs)
    pixels_FSP, size_F2 = pack(inputs["pixel_values"], grids, config.vision)
    places = arrange(ids_BT, grids, config, pixels_FSP.shape[1], real_BT)
    hidden_BTD = jax.jit(model.apply)(
        variables, ids_BT, pixels_FSP, size_F2, places.feature_BT, places.positions_3BT, real_BT
    )
    seen = jax.jit(lambda variables, *images: model.apply(variables, *images, method=lambda m, *x: m.vision(*x)))(
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
        "logits": model.apply(variables, hidden_BTD, method="logits"),
    }


def _wan_dit(meta: Mapping[str, Any], tensors: Arrays, inputs: Arrays) -> Arrays:
    """One forward pass in float32 with the record's shots, text windows and cameras."""
    sparse = meta["sparse_inter_shot_attention"]
    config = wan_dit.config_from_tensors(
        tensors,
        num_heads=meta["num_heads"],
        eps=meta["eps"],
        rope=meta.get("rope", "wan3d"),
        self_attention="sparse" if sparse else "full",
    )
    shot_BT, context_BSD = inputs["shot_indices"], inputs["context"]
    window_BKS = lengths = camera_BTP = None
    if meta["text_shot_positions"]:
        spans = meta["text_global_positions"], meta["text_shot_positions"]
        window_KS = window_mask(*spans, context_BSD.shape[1], "holocine")
        window_BKS = np.broadcast_to(window_KS, (len(context_BSD), *window_KS.shape))
    if sparse:
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
    run = jax.jit(partial(WanDiT(config, Execution()).apply, shot_lengths=lengths))
    velocity_BTHWC = run(
        {"params": wan_dit.from_torch(tensors, config)},
        np.moveaxis(inputs["latents"], 1, -1),
        inputs["timestep"],
        context_BSD,
        shot_BT,
        window_BKS,
        camera_BTP,
    )
    return {"output": np.moveaxis(np.asarray(velocity_BTHWC), -1, 1)}


_CLATR_INPUTS = ("trajectory_features", "trajectory_mask", "text_features", "text_mask")
_WAN_DIT_INPUTS = ("latents", "timestep", "context", "shot_indices")
_WAN_DIT_META = ("num_heads", "eps", "text_global_positions", "text_shot_positions", "sparse_inter_shot_attention")

REPLAYS = {
    "holocine_dit": Replay(_wan_dit, inputs=_WAN_DIT_INPUTS, meta=_WAN_DIT_META),
    # The camera is optional because the expert of low noise has no camera encoders.
    "shotverse_controller": Replay(
        _wan_dit, inputs=_WAN_DIT_INPUTS, meta=(*_WAN_DIT_META, "rope"), optional=("camera_c2w",)
    ),
    "gendop_opt": Replay(
        _gendop_opt, inputs=("cond_embeds", "input_ids"), meta=("num_heads", "pose_length", "bos", "pad")
    ),
    "clatr": Replay(_clatr, inputs=_CLATR_INPUTS, meta=("num_heads",)),
    "qwen3_vl": Replay(
        _qwen3_vl,
        inputs=("input_ids", "pixel_values", "image_grid_thw"),
        meta=("config",),
        optional=("attention_mask",),
    ),
    "qwen3_vl_text": Replay(
        _qwen3_vl_text, inputs=(), meta=("config",), optional=("input_ids", "inputs_embeds", "attention_mask")
    ),
}
