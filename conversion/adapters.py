"""Adapters that a film is made with: `[NAME=]FILE[@SCALE][:high|low]` becomes the changes of a controller's experts.

With a name an adapter counts only in the shots that ask for it; a file of many (`styles.py`) brings a name for each. A
file is in any format that `lora.py` reads. A folder may be one that PEFT or `shotverse export-lora` wrote, a training
run of ours, or Wan2.2-Lightning's, with high_noise_model.safetensors and low_noise_model.safetensors.
"""

import functools
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shotverse_jax import limits
from shotverse_jax.config import ControllerConfig, WanDiTConfig
from shotverse_jax.lora import Changes, Lora, name_key
from shotverse_jax.weights import adapted_experts, find_adapter, load_adapter

from .core import Tensors
from .lora import adapter_file, read_part, read_tensors
from .lora_keys import is_image_branch
from .lora_scale import PEFT_FILE, file_scale
from .lora_write import to_tensors
from .sources import TORCH_SUFFIXES
from .styles import is_styles, read_styles, style_names

EXPERTS = ("high", "low")
SYNTAX = "[NAME=]FILE[@SCALE][:high|low]"
LISTED = 5  # keys named in a note
KEPT = 4  # adapters that stay in memory, for whoever makes film after film with the same ones

# Two networks in one file: diffusers calls the expert of low noise "transformer_2" (WanLoraLoaderMixin), DiffSynth
# "dit2"; Wan's own checkpoints are called high_noise_model and low_noise_model.
_SECOND = re.compile(r"((?:base_model\.|model\.|pipe\.)*(?:transformer|dit|unet|model|diffusion_model))_?2\.")
_NOISE = re.compile(
    r"((?:base_model\.|model\.|diffusion_model\.|transformer\.|pipe\.)*|lora_[a-z]+_)"
    r"(?:[a-z]+_)?(high|low)(?:_?noise)?(?:_(?:model|transformer|dit|unet))?[._]",
    re.IGNORECASE,
)
# As `screenplay.adapters` reads the name, where a number at the end would be a strength.
_NAME = re.compile(r"\s*([^\s/\\:@=,;<>\[\]][^/\\:@=,;<>\[\]]{0,99}?)(?<![\s][\d.])\s*=(.+)", re.DOTALL)
_SAID = re.compile(r"(?<![a-z])(high|low)[ _-]?noise", re.IGNORECASE)
_NAMED = re.compile(r"(?<![a-z])(high|low)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class LoraSpec:
    """What `--lora` says.

    Attributes:
        file: The adapter's file or folder.
        scale: Factor of all its changes.
        expert: "high" or "low", the only expert that it changes; None leaves that to the file.
        name: What shots ask for it by; None for one that counts in all of them.
    """

    file: str
    scale: float = 1.0
    expert: str | None = None
    name: str | None = None


def parse_lora(text: str) -> LoraSpec:
    """Reads [NAME=]FILE[@SCALE][:high|low]; FILE may contain "=", "@" and ":", as C:/style.safetensors does.

    Raises:
        ValueError: No file is named, the scale is not a number, or the expert is neither "high" nor "low".
    """
    file, expert, scale = text, None, 1.0
    if text and Path(text).exists():
        return LoraSpec(text)
    if named := _NAME.fullmatch(text):
        return replace(parse_lora(named[2]), name=named[1].strip())
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
        if not abs(scale) <= limits.STRENGTH:
            number = f"a number from {-limits.STRENGTH:g} to {limits.STRENGTH:g}"
            raise ValueError(f"an adapter is written {SYNTAX}, where the scale is {number}; got {tail!r} in {text!r}")
    if not file:
        raise ValueError(f"an adapter is written {SYNTAX}; {text!r} names no file")
    return LoraSpec(file, scale, expert)


def is_named(spec: str | LoraSpec | Lora) -> bool:
    """Whether an adapter counts only where it is asked for: it has a name, or the file has many."""
    if isinstance(spec, Lora):
        return not spec.always
    spec = parse_lora(spec) if isinstance(spec, str) else spec
    return spec.name is not None or is_styles(Path(spec.file))


def read_loras(
    specs: Iterable[str | LoraSpec | Lora], config: ControllerConfig, asked: Collection[str] | None = None
) -> list[Lora]:
    """Reads adapters for the experts of a controller. The last few stay in memory.

    Args:
        specs: Each as text or parsed; what is read already is taken as it is.
        config: The controller's.
        asked: Names of the adapters that shots ask for; those with other names are not read. None (default) reads all.

    Raises:
        ValueError: No such file, or one that is no adapter, fits neither expert or changes nothing; or a name twice.
    """
    keys = None if asked is None else set(map(name_key, asked))
    found: list[Lora] = []
    for spec in specs:
        for lora in _read_spec(spec, config, keys):
            same = [i for i, other in enumerate(found) if not (lora.always or other.always) and _same(lora, other)]
            if same:
                found[same[0]] = _joined(found[same[0]], lora)
            else:
                found.append(lora)
    return found


def _same(one: Lora, other: Lora) -> bool:
    return name_key(one.name) == name_key(other.name)


def _read_spec(spec: str | LoraSpec | Lora, config: ControllerConfig, keys: set[str] | None) -> list[Lora]:
    if isinstance(spec, Lora):
        return [spec]
    spec = parse_lora(spec) if isinstance(spec, str) else spec
    path = Path(spec.file)
    if is_styles(path):
        names = style_names(path)
        if spec.name is not None:
            raise ValueError(
                f"{path} holds {len(names)} adapters with names of their own; give it without {spec.name}="
            )
        wanted = names if keys is None else [name for name in names if name_key(name) in keys]
        loras = [replace(lora, weight=spec.scale) for lora in read_styles(path, wanted)]
        if spec.expert is not None:
            loras = [replace(lora, experts=_only(lora, spec.expert)) for lora in loras]
        return loras
    if keys is not None and spec.name is not None and name_key(spec.name) not in keys:
        return []
    return [_lora(spec, config)]


def _only(lora: Lora, expert: str) -> Mapping[str, Changes]:
    if expert not in lora.experts:
        raise ValueError(f"the adapter {lora.name} does not change the expert {expert}")
    return {expert: lora.experts[expert]}


def _joined(one: Lora, other: Lora) -> Lora:
    """Two adapters of one name, each of an expert, as `--lora a=x:high --lora a=y:low` gives them."""
    if set(one.experts) & set(other.experts) or one.weight != other.weight:
        raise ValueError(
            f"the name {one.name} is given to two adapters; that is for one of each expert with one scale, "
            f"{one.name}=FILE:high and {one.name}=FILE:low"
        )
    return replace(one, experts={**one.experts, **other.experts}, notes=(*one.notes, *other.notes))


def _lora(spec: LoraSpec, config: ControllerConfig) -> Lora:
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
        notes = (*notes, *_unused(path, keys))
    zero = [name for name, change in changes.items() if change.is_zero]
    if len(zero) == len(changes):
        raise ValueError(
            f"{path} changes nothing, its matrices or its alpha are zero; give the adapter of a run that trained it"
        )
    if zero:
        notes = (*notes, f"{path} changes nothing of the expert {zero[0]}: its matrices for it are zero")
    return Lora(spec.name or str(path), spec.scale, changes, notes, always=spec.name is None)


def _unused(path: Path, keys: tuple[str, ...]) -> Iterator[str]:
    """Sentences about keys that the controller has no parameters for."""
    image = tuple(filter(is_image_branch, keys))
    rest = tuple(key for key in keys if key not in image)
    for named, why in ((image, "no branch for an image, so it has nothing for"), (rest, "nothing for")):
        if named:
            more = f" and {len(named) - LISTED} more" if len(named) > LISTED else ""
            yield f"{path}: the controller has {why} {', '.join(named[:LISTED])}{more}; they are not used"


# ---------------------------------------------------------------------------------------------------- files

Read = tuple[Mapping[str, Changes], tuple[str, ...]]
"""The changes of every expert that a file or folder is for, and notes."""


def _stamp(path: Path) -> tuple:
    # What PEFT keeps beside a file counts too.
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    files += [beside] if not path.is_dir() and (beside := path.parent / PEFT_FILE).is_file() else []
    return tuple((str(file), (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files)


@functools.lru_cache(maxsize=KEPT)
def _read(path: Path, stamp: tuple, config: WanDiTConfig) -> Read:
    """stamp: names, times and sizes of the files, so that a file that was written anew is read anew."""
    if path.is_dir():
        if (folder := _run_of_ours(path)) is not None:
            return _read_ours(folder, config)
        if files := _files_of_experts(path):
            read = {name: _read_file(file, {name}, config) for name, file in files.items()}
            return {name: changes[name] for name, (changes, _) in read.items()}, tuple(
                note for _, notes in read.values() for note in notes
            )
    return _read_file(adapter_file(path), set(), config)


def _run_of_ours(path: Path) -> Path | None:
    try:
        return find_adapter(path)
    except ValueError:  # it holds no adapter in our own form
        return None


def _files_of_experts(path: Path) -> dict[str, Path]:
    """{expert: file} of a folder with a file or a folder for each expert."""
    files = {}
    for name in EXPERTS:
        places = [path / f"{name}_noise_model{end}" for end in (".safetensors", *TORCH_SUFFIXES, "")]
        for place in (path / name, *places):
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
        changes[name] = read_part(folder, to_tensors(adapter, trained.expert(name), "comfyui"), config, strict=False)
        if params:
            notes = (f"{folder}: its camera encoders are not part of an adapter; the controller keeps its own",)
    return changes, notes


def _read_file(path: Path, experts: set[str], config: WanDiTConfig) -> Read:
    """The changes of each expert that a file is for. experts: what is known of that; empty lets the file say it."""
    tensors, metadata = read_tensors(path)
    if not (experts := experts or said_by(metadata)):
        parts = by_expert(tensors)
        if None in parts and len(parts) > 1:
            raise ValueError(f"{path}: some of its keys name an expert, and {next(iter(parts[None]))} does not")
        if None not in parts:
            modules = {"high": "transformer", "low": "transformer_2"}
            said = {name: file_scale(path, metadata, part, modules[name]) for name, part in parts.items()}
            changes = {
                name: read_part(path, part, config, said[name].values, strict=False) for name, part in parts.items()
            }
            return changes, tuple(dict.fromkeys(one.note for one in said.values() if one.note))
    said = file_scale(path, metadata, tensors)
    changes = read_part(path, tensors, config, said.values, strict=False)
    return dict.fromkeys(sorted(experts) or EXPERTS, changes), (said.note,) if said.note else ()


def said_by(metadata: Mapping[str, Any]) -> set[str]:
    """Returns the expert that the metadata of a file name, if it is one; empty when they name none or both."""
    said = {name.lower() for text in metadata.items() for name in _SAID.findall(" ".join(map(str, text)))}
    return said if len(said) == 1 else set()


def by_expert(tensors: Tensors) -> dict[str | None, dict]:
    """Returns {expert: tensors under names of one network}; {None: all} of a file that names no expert."""
    parts: dict[str | None, dict] = {}
    second = {match[1] for key in tensors if (match := _SECOND.match(key))}
    for key, tensor in tensors.items():
        expert = None
        if match := _SECOND.match(key):
            expert, key = "low", f"{match[1]}.{key[match.end() :]}"
        elif any(key.startswith(f"{name}.") for name in second):
            expert = "high"
        elif match := _NOISE.match(key):
            expert, key = match[2].lower(), match[1] + key[match.end() :]
        parts.setdefault(expert, {})[key] = tensor
    return parts
