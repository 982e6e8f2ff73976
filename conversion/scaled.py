"""Weights that were divided by a scale to fit 8 bits: ComfyUI's checkpoints in fp8, and others of that kind.

A weight `X.weight` in float8 has a scale beside it, `X.scale_weight` or `X.weight_scale`: one number, or one for each
output. The weight is their product. A marker (`scaled_fp8`, `X.comfy_quant`) and the scale of the layer's inputs, which
kernels of 8 bits need, say nothing of the weight.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np

from shotverse_jax.weights.safetensors import Stored

from .problems import Problems

FLOAT8 = (np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.float8_e5m2))
_SCALE = re.compile(r"(?P<layer>(?:.*\.)?)(?:scale_weight|weight_scale)")
_BESIDE = re.compile(r"(?:.*\.)?(?:scaled_fp8|scale_input|input_scale|comfy_quant|output_scale)")
# Scales of other layouts, whose weights are more than one product: blocks of 16 or 32, integers, 4 bits.
_OTHER = re.compile(
    r"(?:.*\.)?(?:weight_scale_inv|weight_scale_2|weight_scalar|weight_zero_point|qweight|qzeros|absmax)"
)


def unscaled(tensors: Mapping[str, Stored], metadata: Mapping[str, Any]) -> dict[str, Stored]:
    """Returns the tensors with scaled weights as float32 products, and without scales and markers.

    metadata: what else the file holds; a marker of the format may stand there.

    Raises:
        ValueError: A scale without its weight or of another shape, or weights of another quantization.
    """
    scales = {match["layer"] + "weight": name for name in tensors if (match := _SCALE.fullmatch(name))}
    marked = any(_BESIDE.fullmatch(name) for name in tensors) or "_quantization_metadata" in metadata
    problems = Problems()
    for name, stored in tensors.items():
        if _OTHER.fullmatch(name):
            problems.add("quantized in a layout that is not read; give bfloat16, float16 or scaled fp8", name)
        elif name.endswith("comfy_quant"):
            _check_format(name, stored, problems)
    if not scales and not marked:
        problems.raise_any("the checkpoint")
        return dict(tensors)
    kept = {name: stored for name, stored in tensors.items() if not _SCALE.fullmatch(name) and not _BESIDE.match(name)}
    for weight, scale in scales.items():
        if weight not in kept:
            problems.add("a scale without its weight", scale)
        elif kept[weight].dtype not in FLOAT8:
            # Layers that were left as they were have a scale of 1 in some files.
            if np.any(np.asarray(tensors[scale], np.float32) != 1):
                problems.add(f"a scale of a weight in {kept[weight].dtype}, not in 8 bits", scale)
        elif (factor := _factor(kept[weight].shape, tensors[scale])) is None:
            problems.add("wrong shape", f"{scale} {tensors[scale].shape} for {weight} {kept[weight].shape}")
        else:
            read = partial(_product, kept[weight], factor)
            kept[weight] = dataclasses.replace(kept[weight], dtype=np.dtype(np.float32), read=read)
    problems.raise_any("the checkpoint")
    return kept


def _factor(shape: tuple[int, ...], scale: Stored) -> np.ndarray | None:
    """The scale as an array that is multiplied with a weight; None when it has another shape."""
    if scale.shape in ((), (1,), (1, 1)):
        return np.asarray(scale, np.float32).reshape(())
    if len(shape) and scale.shape in ((shape[0],), (shape[0], 1)):
        return np.asarray(scale, np.float32).reshape(-1, *(1,) * (len(shape) - 1))
    return None


def _product(weight: Stored, factor: np.ndarray, index: Any) -> np.ndarray:
    return (weight[...].astype(np.float32) * factor)[index]


def _check_format(name: str, stored: Stored, problems: Problems) -> None:
    """The marker of one layer holds JSON, as bytes."""
    try:
        layout = json.loads(bytes(np.asarray(stored).astype(np.uint8).tobytes())).get("format", "")
    except (ValueError, AttributeError):
        return
    if not str(layout).startswith("float8"):
        problems.add(
            "quantized in a layout that is not read; give bfloat16, float16 or scaled fp8", f"{name} ({layout})"
        )
