"""What the commands convert and inspect do: checkpoints of others to our folders, and back."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from tqdm import tqdm

from shotverse_jax.config import ControllerConfig
from shotverse_jax.files import nbytes, replacing, write_safetensors
from shotverse_jax.inputs.tokenizer import load_text_tokenizer
from shotverse_jax.weights.folder import CONFIG, TOKENIZER, WEIGHTS, is_arrays, open_weights, read_config, read_values

from .core import Table, check_ties, match, torch_shapes
from .networks import NETWORKS, Network, network, recognise
from .problems import Problems
from .sources import Source, fingerprint, open_checkpoint
from .stream import Journal, Mesh, write_arrays

MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A checkpoint and the network it is to be: names and shapes, no value read yet."""

    network: Network
    source: Source
    config: Any
    table: Table
    abstract: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def leaves(self) -> dict[str, jax.ShapeDtypeStruct]:
        return flatten_dict(self.abstract, sep="/")

    def plan(self) -> dict[str, list[str]]:
        """`core.match`: ValueError with everything that does not fit."""
        return match(self.table, self.source.shapes, self.abstract, cast=True)


def prepare(source: Source, name: str, dtype: str | None = None, mesh: Mesh | None = None) -> Conversion:
    """The conversion of a checkpoint to the network `name`; ValueError when it looks like another's."""
    kind = network(name)
    config = _config(kind, name, source)
    table = kind.table(config)
    dtype = dtype or _stored_dtype(source)
    pairs = [(entry.source, entry.target) for entry in table.entries]
    manifest = {
        "network": name,
        "table": hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16],
        "version": importlib.metadata.version("shotverse_jax"),
        "dtype": dtype,
        "mesh": dict(mesh or {}),
        "tensors": len(source.shapes),
        "sources": [fingerprint(path) for path in source.files],
    }
    return Conversion(kind, source, config, table, kind.abstract(config, dtype), manifest)


def _config(kind: Network, name: str, source: Source) -> Any:
    try:
        return kind.config(source)
    except ValueError as error:
        found = recognise(source.shapes)
        if found and found[0][2] > 0.5 and NETWORKS[found[0][0]].default != kind.default:
            raise ValueError(f"this is no {name}: {error}; it looks like {found[0][0]}") from error
        raise


def _stored_dtype(source: Source) -> str:
    """bfloat16 when all is stored so, else float32, which holds the rest without loss."""
    return "bfloat16" if {str(shape.dtype) for shape in source.shapes.values()} == {"bfloat16"} else "float32"


def describe(conversion: Conversion) -> Iterator[str]:
    """The table of a conversion: stored name, path, shape, dtype and size; raises ValueError with what is missing."""
    leaves = conversion.leaves
    for entry in conversion.table.entries:
        leaf = leaves[entry.target]
        size = _size(nbytes(leaf))
        yield f"{entry.source:<48} {entry.target:<36} {leaf.dtype}{list(leaf.shape)} {size}"
    conversion.plan()
    total = sum(nbytes(leaf) for leaf in leaves.values())
    yield f"{len(conversion.source)} tensors, {len(leaves)} arrays, {_size(total)}; nothing is missing"


def convert(
    conversion: Conversion,
    out: str | Path,
    expert: str | None = None,
    allow_nan: bool = False,
    tokenizer: str | Path | None = None,
    progress: bool = False,
) -> list[str]:
    """Writes the folder of a model, whole or not at all, and continues what a killed run began; → notes for the user.

    An expert joins the other one of its controller in `out`.

    Raises:
        ValueError: what cannot be written: weights that exist, NaN without `allow_nan`, a tokenizer that is none, an
            expert of another architecture than the folder's, too little space on the disk.
    """
    out, kind, leaves, plan = Path(out), conversion.network, conversion.leaves, conversion.plan()
    weights = _weights(kind, expert)
    for path in (out / weights, out / f"{weights}.safetensors"):
        if path.exists():
            raise ValueError(f"{path} exists; remove it, or give another --out")
    config = _folder_config(conversion, out, expert)
    tokenizer = _tokenizer(conversion, tokenizer)
    check_ties(conversion.table, conversion.source)
    work = out.parent / f".{out.name}.{weights}.converting"
    journal = Journal(work, conversion.manifest)
    if not journal.done:
        shutil.rmtree(work, ignore_errors=True)
    _check_space(work, sum(nbytes(leaf) for target, leaf in leaves.items() if target not in journal.done))
    try:
        work.mkdir(parents=True, exist_ok=True)
        write_arrays(
            conversion.source,
            conversion.table.entries,
            plan,
            leaves,
            work / weights,
            journal,
            conversion.manifest["mesh"],
            allow_nan,
            progress=conversion.manifest["network"] if progress else None,
        )
        _publish(conversion, work, out, weights, config, tokenizer, journal)
    except (ValueError, OSError):
        shutil.rmtree(work, ignore_errors=True)
        raise
    notes = [f"wrote {out}/{weights} ({_size(sum(nbytes(leaf) for leaf in leaves.values()))})"]
    if journal.bad:
        notes.append(f"warning: NaN or infinity in {', '.join(sorted(journal.bad))}")
    if kind.reads_text and tokenizer is None:
        notes.append(f"without a {TOKENIZER}: give --tokenizer, or put one into the folder")
    if kind.is_expert:
        notes.append(f"text encoder {config.text!r} and VAE {config.vae!r}: name your folders of them in {CONFIG}")
    return notes


def _weights(kind: Network, expert: str | None) -> str:
    if not kind.is_expert:
        if expert is not None:
            raise ValueError(f"{kind.title} is one network; --expert is for those of a controller")
        return WEIGHTS.removesuffix(".safetensors")
    if expert not in ("high", "low", "base"):
        raise ValueError(f"{kind.title}: say which with --expert high or --expert low")
    return expert


def _folder_config(conversion: Conversion, out: Path, expert: str | None) -> Any:
    """The config of the folder: an expert's is its controller's, which may be there already."""
    config, windows = conversion.config, conversion.network.windows
    if windows is None:
        if (out / CONFIG).exists() and read_values(out) != json.loads(json.dumps(dataclasses.asdict(config))):
            raise ValueError(f"{out / CONFIG} is another model's; give another --out")
        return config
    if config.camera and expert == "base":
        raise ValueError("the checkpoint has camera encoders, which a base expert has not; it is a high or low one")
    if not (out / CONFIG).exists():
        camera = {"high": "high", "low": "both"}[expert] if config.camera else "none"
        return ControllerConfig(dit=config, camera=camera, windows=windows, lora=None)
    held = read_config(out, ControllerConfig)
    sized = dataclasses.replace(config, **{name: getattr(held.dit, name) for name in ("rope", "self_attention", "eps")})
    if held.expert(expert) != dataclasses.replace(sized, rope=held.expert(expert).rope):
        raise ValueError(
            f"{out / CONFIG} describes another {expert}-noise expert (camera={held.camera!r}) than this checkpoint is "
            f"(camera encoders: {config.camera}); convert the expert with camera encoders first, into a new folder"
        )
    return held


def _tokenizer(conversion: Conversion, given: str | Path | None) -> Path | None:
    """The tokenizer.json to keep: the one given, or that beside the checkpoint."""
    beside = conversion.source.files[0].parent / TOKENIZER
    if not conversion.network.reads_text:
        if given is not None:
            raise ValueError(f"{conversion.network.title} reads no text; --tokenizer is for those that do")
        return None
    path = Path(given) if given is not None else beside if beside.is_file() else None
    if path is not None:
        load_text_tokenizer(path)
    return path


def _check_space(work: Path, needed: int) -> None:
    place = next(folder for folder in work.absolute().parents if folder.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise ValueError(f"no space: {_size(needed)} are to be written in {place}, which has {_size(free)} left")


def _publish(conversion, work: Path, out: Path, weights: str, config, tokenizer: Path | None, journal: Journal) -> None:
    """Moves the finished weights to their place, last of all, so that they are whole or absent there."""
    out.mkdir(parents=True, exist_ok=True)
    manifests = {}
    with contextlib.suppress(OSError, ValueError):
        manifests = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    manifests[weights] = conversion.manifest | {"not_finite": sorted(journal.bad)}
    for name, values in ((CONFIG, dataclasses.asdict(config)), (MANIFEST, manifests)):
        with replacing(out / name) as place:
            place.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    if tokenizer is not None:
        with replacing(out / TOKENIZER) as place:
            shutil.copyfile(tokenizer, place)
    os.sync()
    os.replace(work / weights, out / weights)
    shutil.rmtree(work, ignore_errors=True)


# ---------------------------------------------------------------------------------------------------- the way back


def convert_back(
    folder: str | Path,
    style: str,
    out: str | Path,
    name: str | None = None,
    expert: str | None = None,
    progress: bool = False,
) -> list[str]:
    """One of our folders to a safetensors file with the names of `style`, a tensor at a time; → notes for the user.

    name: the network; a folder that was converted knows it.

    Raises:
        ValueError: not our folder, or weights that do not fit its config; or a file that cannot be written.
    """
    folder, out = Path(folder), Path(out)
    name = name or _network_of(folder)
    kind = network(name)
    weights = _weights(kind, expert)
    config = read_config(folder, kind.folder_class)
    config = config.expert(expert) if kind.is_expert else config
    table, arrays = kind.table(config, style), open_weights(folder / weights)
    _check_arrays(arrays, flatten_dict(kind.abstract(config, "float32"), sep="/"), folder)
    out = out if out.suffix == ".safetensors" else out / WEIGHTS
    if out.exists():
        raise ValueError(f"{out} exists; remove it, or give another --out")
    shapes = torch_shapes(table, arrays)
    total = sum(nbytes(shape) for shape in shapes.values())
    with tqdm(total=total, desc=style, unit="B", unit_scale=True, disable=not progress) as bar:
        write_safetensors(out, shapes, _tensors(table, arrays, bar), {"format": "pt"})
    return [f"wrote {out} ({len(shapes)} tensors, {_size(total)}, names of {style})"]


def _network_of(folder: Path) -> str:
    try:
        manifests = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return next(iter(manifests.values()))["network"]
    except (OSError, ValueError, KeyError, StopIteration) as error:
        raise ValueError(f"{folder} has no {MANIFEST} that names its network; say it with --as") from error


def _check_arrays(arrays: Mapping[str, Any], leaves: Mapping[str, Any], folder: Path) -> None:
    problems = Problems()
    for target in leaves.keys() ^ arrays.keys():
        problems.add("missing" if target in leaves else "unexpected", target)
    for target in leaves.keys() & arrays.keys():
        if tuple(leaves[target].shape) != tuple(arrays[target].shape):
            problems.add("wrong shape", f"{target} {tuple(arrays[target].shape)}, not {tuple(leaves[target].shape)}")
    problems.raise_any(str(folder))


def _tensors(table: Table, arrays: Mapping[str, Any], bar: tqdm) -> Iterator[tuple[str, np.ndarray]]:
    for entry in table.entries:
        array = arrays[entry.target]
        for i in range(array.shape[0] if entry.stacked else 1):
            tensor = entry.transform.to_torch(np.asarray(array[i] if entry.stacked else array))
            bar.update(tensor.nbytes)
            yield entry.name(i), tensor


# ---------------------------------------------------------------------------------------------------- inspect


def inspect(path: str | Path) -> Iterator[str]:
    """What a checkpoint is, foreign or a folder of ours: network, spelling, sizes, and its tensors layer by layer."""
    path = Path(path)
    ours = [p for p in ([path, *sorted(path.iterdir())] if path.is_dir() else []) if is_arrays(p)]
    for weights in ours:
        yield f"{weights}: ours, {_known_from(weights)}"
        yield from _listing(open_weights(weights))
    if ours:
        return
    source = open_checkpoint(path)
    if any("/" in name for name in source.shapes):
        yield f"{path}: ours, exported by a training run"
        yield from _listing(source.shapes)
        return
    found = recognise(source.shapes) if source.shapes else []
    if found and found[0][2] > 0.5:
        name, style, share = found[0]
        rest = "" if share == 1 else f" ({share:.0%} of its tensors)"
        yield f"{path}: {name}, names of {style}{rest}: {NETWORKS[name].title}"
    else:
        yield f"{path}: no network that is known here ({', '.join(NETWORKS)})"
    yield from _listing(source.shapes)


def _known_from(weights: Path) -> str:
    try:
        manifest = json.loads((weights.parent / MANIFEST).read_text(encoding="utf-8"))[weights.name]
        return f"{manifest['network']} from {', '.join(entry['file'] for entry in manifest['sources'])}"
    except (OSError, ValueError, KeyError):
        return f"without a {MANIFEST}"


def _listing(shapes: Mapping[str, Any]) -> Iterator[str]:
    dtypes = sorted({str(shape.dtype) for shape in shapes.values()})
    parameters = sum(math.prod(shape.shape) for shape in shapes.values())
    total = sum(map(nbytes, shapes.values()))
    yield f"{len(shapes)} tensors, {parameters:,} parameters, {', '.join(dtypes)}, {_size(total)}"
    groups: dict[tuple, int] = {}
    for name, shape in shapes.items():
        key = re.sub(r"(?<=[./])\d+(?=[./])", "{i}", name), str(shape.dtype), tuple(shape.shape)
        groups[key] = groups.get(key, 0) + 1
    for (name, dtype, shape), count in groups.items():
        yield f"  {name:<56} {dtype}{list(shape)}" + (f" x{count}" if count > 1 else "")


def _size(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
