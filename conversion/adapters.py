"""Adapters that a film is made with: `FILE[@SCALE][:high|low]` becomes the changes of a controller's experts.

A file is in any format that `lora.py` reads. A folder may be one that PEFT or `shotverse export-lora` wrote, a training
run of ours, or Wan2.2-Lightning's, with high_noise_model.safetensors and low_noise_model.safetensors.
"""

import functools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shotverse_jax.config import ControllerConfig, WanDiTConfig
from shotverse_jax.lora import Changes, Lora
from shotverse_jax.weights import adapted_experts, find_adapter, load_adapter
from shotverse_jax.weights.safetensors import read_metadata

from .core import Tensors, read_safetensors
from .lora import adapter_file, from_tensors, peft_values, to_tensors

EXPERTS = ("high", "low")
SYNTAX = "FILE[@SCALE][:high|low]"
LISTED = 5  # keys named in a note
KEPT = 4  # adapters that stay in memory, for whoever makes film after film with the same ones

# Two networks in one file: diffusers calls the expert of low noise "transformer_2" (WanLoraLoaderMixin), Wan's own
# checkpoints are called high_noise_model and low_noise_model.
_SECOND = "transformer_2."
_NOISE = re.compile(r"(?:diffusion_model\.)?(high|low)_noise(?:_model)?\.", re.IGNORECASE)
_SAID = re.compile(r"(?<![a-z])(high|low)[ _-]?noise", re.IGNORECASE)
_NAMED = re.compile(r"(?<![a-z])(high|low)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class LoraSpec:
    """What `--lora` says.

    Attributes:
        file: The adapter's file or folder.
        scale: Factor of all its changes.
        expert: "high" or "low", the only expert that it changes; None leaves that to the file.
    """

    file: str
    scale: float = 1.0
    expert: str | None = None


def parse_lora(text: str) -> LoraSpec:
    """Reads FILE[@SCALE][:high|low], from the right: FILE may contain "@" and ":", as C:/style.safetensors does.

    Raises:
        ValueError: No file is named, the scale is not a number, or the expert is neither "high" nor "low".
    """
    file, expert, scale = text, None, 1.0
    if text and Path(text).exists():
        return LoraSpec(text)
    head, colon, tail = file.rpartition(":")
    if colon and tail in EXPERTS:
        file, expert = head, tail
    elif colon and len(head) > 1 and not re.search(r"[/\\.]", tail.partition("@")[0]):
        raise ValueError(f"an adapter is written {SYNTAX}, where the expert is high or low; got {tail!r} in {text!r}")
    head, at, tail = file.rpartition("@")
    if at and not Path(file).exists() and not re.search(r"[/\\]|safetensors", tail):
        try:
            file, scale = head, float(tail)
        except ValueError:
            scale = math.nan
        if not math.isfinite(scale):
            raise ValueError(f"an adapter is written {SYNTAX}, where the scale is a number; got {tail!r} in {text!r}")
    if not file:
        raise ValueError(f"an adapter is written {SYNTAX}; {text!r} names no file")
    return LoraSpec(file, scale, expert)


def read_loras(specs: Iterable[str | LoraSpec | Lora], config: ControllerConfig) -> list[Lora]:
    """Reads adapters for the experts of a controller. The last few stay in memory.

    Args:
        specs: Each as text or parsed; what is read already is taken as it is.
        config: The controller's.

    Raises:
        ValueError: No such file, or one that is no adapter, fits neither expert or changes nothing.
    """
    return [spec if isinstance(spec, Lora) else _lora(spec, config) for spec in specs]


def _lora(spec: str | LoraSpec, config: ControllerConfig) -> Lora:
    spec = parse_lora(spec) if isinstance(spec, str) else spec
    path = Path(spec.file)
    if not path.exists():
        raise ValueError(f"there is no adapter {path}; an adapter is written {SYNTAX}")
    # An adapter has no part in the camera encoders, and without them both experts have one architecture.
    changes, notes = _read(path, _stamp(path), config.expert("base"))
    if spec.expert is not None:
        if spec.expert not in changes:
            [(other, changed)] = changes.items()
            changes = {spec.expert: changed}
            notes = (*notes, f"{path} says that it is for the expert {other}, and is used for {spec.expert} as asked")
        changes = {spec.expert: changes[spec.expert]}
    elif len(set(map(id, changes.values()))) < len(changes):
        named = {name.lower() for name in _NAMED.findall(path.stem)}
        if len(named) == 1:
            only = f"{path}:{named.pop()}"
            notes = (*notes, f"{path} is used for both experts; by its name it is for one, which {only} says")
    for keys in dict.fromkeys(change.unused for change in changes.values() if change.unused):
        more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
        notes = (*notes, f"{path}: the controller has nothing for {', '.join(keys[:LISTED])}{more}; they are not used")
    if all(change.is_zero for change in changes.values()):
        raise ValueError(f"{path} changes nothing, its matrices are zero; give the adapter of a run that trained it")
    return Lora(str(path), spec.scale, changes, notes)


# ---------------------------------------------------------------------------------------------------- files

Read = tuple[Mapping[str, Changes], tuple[str, ...]]
"""The changes of every expert that a file or folder is for, and notes."""


def _stamp(path: Path) -> tuple:
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
    return tuple((str(file), (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files)


@functools.lru_cache(maxsize=KEPT)
def _read(path: Path, stamp: tuple, config: WanDiTConfig) -> Read:
    """stamp: names, times and sizes of the files, so that a file that was written anew is read anew."""
    if path.is_dir():
        if (folder := _run_of_ours(path)) is not None:
            return _read_ours(folder, config)
        if files := _files_of_experts(path):
            return {name: _read_file(file, {name}, config)[name] for name, file in files.items()}, ()
    return _read_file(adapter_file(path), set(), config), ()


def _run_of_ours(path: Path) -> Path | None:
    try:
        return find_adapter(path)
    except ValueError:  # it holds no adapter in our own form
        return None


def _files_of_experts(path: Path) -> dict[str, Path]:
    """{expert: file} of a folder with a file or a folder for each expert."""
    files = {}
    for name in EXPERTS:
        for place in (path / f"{name}_noise_model.safetensors", path / name):
            if place.exists():
                files[name] = adapter_file(place)
    return files


def _read_ours(folder: Path, config: WanDiTConfig) -> Read:
    changes, notes = {}, ()
    for name in adapted_experts(folder):
        if name is None:
            raise ValueError(f"{folder} is the adapter of a planner; films are made with those of a controller")
        trained, adapter, params = load_adapter(folder, name)
        # By the names of a file's tensors, so that what does not fit is found, and said, as for any file.
        changes[name] = _changes(folder, to_tensors(adapter, trained.expert(name), "comfyui"), config)
        if params:
            notes = (f"{folder}: its camera encoders are not part of an adapter; the controller keeps its own",)
    return changes, notes


def _read_file(path: Path, experts: set[str], config: WanDiTConfig) -> Mapping[str, Changes]:
    """The changes of each expert that a file is for. experts: what is known of that; empty lets the file say it."""
    tensors = read_safetensors(path)
    if not (experts := experts or _said_by(path)):
        parts = _by_expert(tensors)
        if None in parts and len(parts) > 1:
            raise ValueError(f"{path}: some of its keys name an expert, and {next(iter(parts[None]))} does not")
        if None not in parts:
            peft = {name: peft_values(path, "transformer_2" if name == "low" else "transformer") for name in EXPERTS}
            return {name: _changes(path, part, config, peft[name]) for name, part in parts.items()}
    changes = _changes(path, tensors, config, peft_values(path))
    return dict.fromkeys(sorted(experts) or EXPERTS, changes)


def _said_by(path: Path) -> set[str]:
    """The expert that the metadata of a file name, if it is one; empty when they name none or both."""
    metadata = read_metadata(path) if path.suffix == ".safetensors" else {}
    said = {name.lower() for text in metadata.items() for name in _SAID.findall(" ".join(text))}
    return said if len(said) == 1 else set()


def _by_expert(tensors: Tensors) -> dict[str | None, dict]:
    """{expert: tensors under names of one network}; {None: all} of a file that names no expert."""
    parts: dict[str | None, dict] = {}
    two = any(key.startswith(_SECOND) for key in tensors)
    for key, tensor in tensors.items():
        expert = None
        if two and key.startswith(("transformer.", _SECOND)):
            expert = "low" if key.startswith(_SECOND) else "high"
            key = "transformer." + key.partition(".")[2]
        elif match := _NOISE.match(key):
            expert, key = match[1].lower(), key[match.end() :]
        parts.setdefault(expert, {})[key] = tensor
    return parts


def _changes(path: Path, tensors: Tensors, config: WanDiTConfig, peft: Mapping | None = None) -> Changes:
    try:
        return from_tensors(tensors, config, peft, strict=False)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
