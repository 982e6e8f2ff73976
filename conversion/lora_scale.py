"""What an adapter says of its scale, alpha / rank, outside its tensors: beside the file, in its header, in its pickle.

Trainers keep alpha in different places: PEFT in adapter_config.json, diffusers in the header as JSON or flat, kohya and
musubi in the header as ss_network_alpha beside a tensor for each linear, others as a number beside the tensors.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shotverse_jax.files import read_json
from shotverse_jax.limits import shown

PEFT_FILE, PEFT_HEADER = "adapter_config.json", "lora_adapter_metadata"
_ALPHAS = ("lora_alpha", "network_alpha", "alpha")
MOST_ALPHA = 1e6
_REPEATS, _REPEATED_GROUP = re.compile(r"[*+?{]"), re.compile(r"\)\??[*+{]")
_KOHYA, _KOHYA_MODULE = "ss_network_alpha", "ss_network_module"
_SAME_MODULE = ("", "unet", "dit", "model", "diffusion_model", "base_model", "base_model.model")  # as "transformer"


@dataclass(frozen=True)
class FileScale:
    """What an adapter file says of its scale.

    Attributes:
        values: The values of PEFT's LoraConfig, of which `lora_alpha` is one; None when the file says nothing.
        where: Where they were found, for people.
        note: A sentence about what was found and is not used; "" for none.
    """

    values: dict[str, Any] | None
    where: str = "nowhere, so alpha is the rank"
    note: str = ""


def file_scale(path: Path, metadata: Mapping[str, Any], names: Iterable[str], module: str = "transformer") -> FileScale:
    """Returns what a file and its neighbours say of the scale.

    Args:
        path: The file of the adapter.
        metadata: What stands in its header or beside its tensors (`Source.metadata`).
        names: The names of its tensors.
        module: The network in diffusers' words, where a header speaks of several: "transformer" or "transformer_2".

    Raises:
        ValueError: A config that is not JSON, or an alpha that is not a number.
    """
    if (beside := path.parent / PEFT_FILE).is_file():
        return FileScale(_checked(read_json(beside), path), PEFT_FILE)
    header = metadata.get(PEFT_HEADER)
    if isinstance(header, str) and (values := _of_module(_json(path, header) or {}, module)):
        return FileScale(_checked(values, path), f"its header, {PEFT_HEADER}")
    for name, value in {"": metadata, **metadata}.items():
        values = _of_module(_mapping(value), module)
        if any(_is_said(values.get(alpha)) for alpha in _ALPHAS) and not name.startswith("ss_"):
            return FileScale(_checked(values, path), f"its header, {name}" if name else "its header")
    if not _is_said(alpha := metadata.get(_KOHYA)):
        return FileScale(None)
    # musubi's converter to ComfyUI's names multiplies alpha into A and B and leaves the trainer's header as it was.
    if _KOHYA_MODULE in metadata and any(".lora_A." in name for name in names):
        note = f"{path}: {_KOHYA} {alpha} is not applied, since converters to these names put it into A and B"
        return FileScale(None, "in A and B, as far as its names tell", note)
    return FileScale(_checked({"lora_alpha": alpha}, path), f"its header, {_KOHYA}")


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"the LoRA config of {path} is not JSON: {error}") from error


def _mapping(value: Any) -> Mapping[str, Any]:
    """A mapping, also one that is written as JSON; {} for everything else."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (json.JSONDecodeError, RecursionError):
            return {}
    return value if isinstance(value, Mapping) else {}


def _of_module(values: Mapping[str, Any], module: str) -> dict[str, Any]:
    """The values for a module: those below its name, else those that name none."""
    own, common = dict(_mapping(values.get(module))), {}
    for key, value in values.items():
        head, _, name = key.rpartition(".")
        if head == module:
            own[name] = value
        elif head in _SAME_MODULE:
            common[name] = value
    return common | own


def _is_said(value: Any) -> bool:
    return value is not None and value != "None"


def _checked(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The values as PEFT has them: alpha under one name and a number, what is written as text read."""
    if not isinstance(values, Mapping):
        raise ValueError(f"the LoRA config of {path} is not a table of values")
    read = {name: _read(value) for name, value in values.items()}
    alpha = next((read[name] for name in _ALPHAS if _is_said(read.get(name))), None)
    if alpha is not None:
        read["lora_alpha"] = _number(alpha, path)
    if patterns := read.get("alpha_pattern"):
        if not isinstance(patterns, Mapping):
            raise ValueError(f"the LoRA config of {path} has an alpha_pattern that is no table: {shown(patterns)}")
        for pattern, value in patterns.items():
            # Some regular expressions take longer than anyone waits; names of linears need none of these.
            if len(_REPEATS.findall(pattern)) > 3 or _REPEATED_GROUP.search(pattern):
                raise ValueError(f"the LoRA config of {path} has the pattern {shown(pattern)}, which is not read")
            read["alpha_pattern"] = read["alpha_pattern"] | {pattern: _number(value, path)}
    return read


def _number(alpha: Any, path: Path) -> float:
    try:
        number = math.nan if isinstance(alpha, bool) else float(alpha)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= MOST_ALPHA:
        raise ValueError(f"the LoRA config of {path} says alpha {shown(alpha)}, which is not a number")
    return number


def _read(value: Any) -> Any:
    """A value of a flat header, where everything is text."""
    if not isinstance(value, str):
        return value
    word = {"true": True, "false": False, "none": None}
    if value.lower() in word:
        return word[value.lower()]
    return _mapping(value) or value
