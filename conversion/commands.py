"""What the commands convert and inspect do: checkpoints of other programs become our folders, and the reverse."""

import contextlib
import dataclasses
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from shotverse_jax.config import ControllerConfig
from shotverse_jax.files import (
    Locked,
    check_place,
    locked,
    owned,
    read_json,
    replacing,
    writing,
)
from shotverse_jax.weights import KINDS
from shotverse_jax.weights.folder import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    is_arrays,
    open_weights,
    read_config,
    read_values,
    values_of,
)
from shotverse_jax.weights.safetensors import nbytes, write_safetensors
from shotverse_jax.weights.sums import digests, write_sums
from shotverse_jax.weights.trees import check_same, flatten

from . import released
from .core import Table, check_ties, torch_shapes
from .lora import adapter_file
from .lora_inspect import describe, is_adapter
from .networks import NETWORKS, Network, network, recognise
from .prepare import Conversion, readable_size
from .sources import open_checkpoint
from .stream import Journal, remove, write_arrays
from .styles import describe_styles, is_styles

MANIFEST = "manifest.json"


def convert(
    conversion: Conversion,
    out: str | Path,
    expert: str | None = None,
    allow_nan: bool = False,
    tokenizer: str | Path | None = None,
    progress: bool = False,
) -> list[str]:
    """Writes the folder of a network, whole or not at all. A conversion that was killed is continued.

    Args:
        conversion: What to convert.
        out: The folder. An expert joins the other expert of its controller there.
        expert: "high", "low" or "base" for an expert of a controller, else None.
        allow_nan: Whether NaN and infinity are written too.
        tokenizer: A tokenizer.json to copy, or "none" for weights without one; by default the one of the checkpoint.
        progress: Whether a progress bar is shown.

    Returns:
        Notes for the user.

    Raises:
        ValueError: Another process that converts to this folder, weights that exist already, NaN without `allow_nan`, a
            file that is no tokenizer or no tokenizer where the network needs one, an expert of another architecture
            than the folder's, or too little space on the disk.
    """
    out, net, leaves = Path(out), conversion.network, conversion.leaves
    _ = conversion.plan  # raises, before anything is written, when the checkpoint does not fit
    weights = _weights(net, expert)
    check_place(out, folder=True)
    work = out.parent / f".{out.name}.{weights}.converting"
    for path in (out / weights, out / f"{weights}.safetensors"):
        if path.exists():
            _sweep(work)
            raise ValueError(f"{path} exists; remove it, or give another --out")
    config = _folder_config(conversion, out, expert)
    tokenizer = _tokenizer(conversion, out, tokenizer)
    check_ties(conversion.table, conversion.source)
    try:
        with owned(work), writing(out):
            journal = Journal(work, conversion.manifest | {"allow_nan": allow_nan})
            for path in [] if journal.done else work.iterdir():
                remove(path)
            _check_space(work, sum(nbytes(leaf) for target, leaf in leaves.items() if target not in journal.done))
            bar = conversion.manifest["network"] if progress else None
            write_arrays(conversion, work / weights, journal, allow_nan, bar)
            _publish(conversion, work, out, weights, config, tokenizer, journal)
    except Locked:
        raise
    # An error would come again, so what was written goes. A program that is killed leaves it, and the next run
    # continues.
    except (ValueError, OSError):
        shutil.rmtree(work, ignore_errors=True)
        raise
    notes = [f"wrote {out}/{weights} ({readable_size(sum(nbytes(leaf) for leaf in leaves.values()))})"]
    if journal.bad:
        notes.append(f"warning: NaN or infinity in {', '.join(sorted(journal.bad))}")
    if net.read_tokenizer and not (out / TOKENIZER).is_file():
        notes.append(f"without a {TOKENIZER}: put one into the folder before it is loaded")
    if net.is_expert:
        notes.append(f"text encoder {config.text!r} and VAE {config.vae!r}: name your folders of them in {CONFIG}")
    return notes


def _sweep(work: Path) -> None:
    """Removes what a conversion left that was killed when its weights had their name already."""
    with contextlib.suppress(OSError, Locked), locked(work, certain=True):
        shutil.rmtree(work, ignore_errors=True)


def _weights(net: Network, expert: str | None) -> str:
    if not net.is_expert:
        if expert is not None:
            raise ValueError(f"{net.title} is one network; --expert is for those of a controller")
        return WEIGHTS.removesuffix(".safetensors")
    if expert not in ("high", "low", "base"):
        raise ValueError(f"{net.title}: say which with --expert high or --expert low")
    return expert


def _folder_config(conversion: Conversion, out: Path, expert: str | None) -> Any:
    """The config of the folder. For an expert it is that of its controller, which may be there already."""
    config, windows = conversion.config, conversion.network.windows
    if windows is None:
        values = json.loads(json.dumps(values_of(conversion.network.folder_kind, config)))
        if (out / CONFIG).exists() and {"kind": values["kind"], **read_values(out)} != values:
            raise ValueError(f"{out / CONFIG} is another model's; give another --out")
        return config
    if config.camera and expert == "base":
        raise ValueError("the checkpoint has camera encoders, which a base expert has not; it is a high or low one")
    if not (out / CONFIG).exists():
        # ShotVerse's low-noise expert has camera encoders only in the ablation in which both experts have them.
        camera = {"high": "high", "low": "both"}[expert] if config.camera else "none"
        made = ControllerConfig(dit=config, camera=camera, windows=windows, lora=None)
        boundary = released.pipeline_values(conversion.source.files[0]).get("boundary_ratio")
        return dataclasses.replace(made, boundary=boundary) if isinstance(boundary, float) else made
    held = read_config(out, ControllerConfig)
    # Tensors do not show these fields, so the folder's values are taken before the rest is compared.
    sized = dataclasses.replace(config, **{name: getattr(held.dit, name) for name in ("rope", "self_attention", "eps")})
    if held.expert(expert) != dataclasses.replace(sized, rope=held.expert(expert).rope):
        raise ValueError(
            f"{out / CONFIG} describes another {expert}-noise expert (camera={held.camera!r}) than this checkpoint is "
            f"(camera encoders: {config.camera}); convert the expert with camera encoders first, into a new folder"
        )
    return held


def _tokenizer(conversion: Conversion, out: Path, given: str | Path | None) -> Path | None:
    """The tokenizer.json to copy: the one given, or that of the checkpoint."""
    network = conversion.network
    if network.read_tokenizer is None:
        if given is not None:
            raise ValueError(f"{network.title} reads no text; --tokenizer is for those that do")
        return None
    if str(given) == "none":
        return None
    path = released.tokenizer(conversion.source.files[0]) if given is None else Path(given)
    if path is None and (out / TOKENIZER).is_file():
        return None
    if path is None:
        raise ValueError(
            f"{network.title} reads text and its checkpoint comes without a {TOKENIZER}: give --tokenizer FILE, "
            f"{network.tokenizer_hint}, or --tokenizer none for its weights alone"
        )
    network.read_tokenizer(path)
    return path


def _check_space(work: Path, needed: int) -> None:
    place = next(folder for folder in work.absolute().parents if folder.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise ValueError(
            f"no space: {readable_size(needed)} are to be written in {place}, which has {readable_size(free)} left"
        )


def _publish(conversion, work: Path, out: Path, weights: str, config, tokenizer: Path | None, journal: Journal) -> None:
    """Writes the other files and then moves the finished weights to their place, where they are whole or absent."""
    manifests = {}
    with contextlib.suppress(ValueError):
        manifests = read_json(out / MANIFEST)
    manifests[weights] = conversion.manifest | {"not_finite": sorted(journal.bad)}
    arrays = {f"{weights}/{name}": digest for files in journal.done.values() for name, digest in files.items()}
    rest = sorted(path for path in (work / weights).iterdir() if path.is_file())
    arrays |= dict(zip((f"{weights}/{path.name}" for path in rest), digests(rest), strict=True))
    with replacing(out) as place:
        place.mkdir()
        for name, values in ((CONFIG, values_of(conversion.network.folder_kind, config)), (MANIFEST, manifests)):
            (place / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        if tokenizer is not None:
            shutil.copyfile(tokenizer, place / TOKENIZER)
        write_sums(place / weights, arrays)
    # Everything must be on the disk before the weights get their name: a crash then leaves whole weights or none.
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
    """Writes one of our folders as a safetensors file with the names of `style`, a tensor at a time.

    Args:
        folder: The folder.
        style: One of the spellings of the network.
        out: The file, or a folder for model.safetensors.
        name: The network's name in `NETWORKS`; a folder that was converted names it itself.
        expert: Which expert of a controller.
        progress: Whether a progress bar is shown.

    Returns:
        Notes for the user.

    Raises:
        ValueError: It is not one of our folders, its weights do not fit its config, or the file cannot be written.
    """
    folder, out = Path(folder), Path(out)
    name = name or _network_of(folder)
    net = network(name)
    weights = _weights(net, expert)
    config = read_config(folder, KINDS[net.folder_kind].config)
    config = config.expert(expert) if net.is_expert else config
    table, arrays = net.table(config, style), open_weights(folder / weights)
    check_same(arrays, flatten(net.abstract(config)), f"the weights in {folder} do not fit the {CONFIG} beside them")
    out = out if out.suffix == ".safetensors" else out / WEIGHTS
    if out.exists():
        raise ValueError(f"{out} exists; remove it, or give another --out")
    check_place(out)
    shapes = torch_shapes(table, arrays)
    total = sum(nbytes(shape) for shape in shapes.values())
    with tqdm(total=total, desc=style, unit="B", unit_scale=True, disable=not progress) as bar:
        write_safetensors(out, shapes, _tensors(table, arrays, bar), {"format": "pt"})
    return [f"wrote {out} ({len(shapes)} tensors, {readable_size(total)}, names of {style})"]


def _network_of(folder: Path) -> str:
    try:
        return next(iter(read_json(folder / MANIFEST).values()))["network"]
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise ValueError(f"{folder} has no {MANIFEST} that names its network; say it with --as") from error


def _tensors(table: Table, arrays: Mapping[str, Any], bar: tqdm) -> Iterator[tuple[str, np.ndarray]]:
    for entry in table.entries:
        array = arrays[entry.target]
        for i in range(array.shape[0] if entry.stacked else 1):
            tensor = entry.transform.to_torch(np.asarray(array[i] if entry.stacked else array))
            bar.update(tensor.nbytes)
            yield entry.name(i), tensor


# ---------------------------------------------------------------------------------------------------- inspect


def inspect(path: str | Path) -> Iterator[str]:
    """Describes a checkpoint, an adapter or one of our folders in lines: what it is, its spelling, and its tensors."""
    path = Path(path)
    ours = [p for p in ([path, *sorted(path.iterdir())] if path.is_dir() else []) if is_arrays(p)]
    for weights in ours:
        yield f"{weights}: ours, {_known_from(weights)}"
        yield from _listing(open_weights(weights))
    if ours:
        return
    if released.is_root(path):
        for part in released.parts(path):
            yield next(inspect(part))
        return
    path = adapter_file(path)
    if is_styles(path):
        yield from describe_styles(path)
        return
    source = open_checkpoint(path)
    if is_adapter(source.shapes):
        yield from describe(path)
        yield from _listing(source.shapes)
        return
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
    path = weights.parent / MANIFEST
    manifests = read_json(path) if path.is_file() else {}
    if weights.name not in manifests:
        return f"without an entry in a {MANIFEST}"
    try:
        manifest = manifests[weights.name]
        return f"{manifest['network']} from {', '.join(entry['file'] for entry in manifest['sources'])}"
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: it does not say what {weights.name} was converted from") from error


def _listing(shapes: Mapping[str, Any]) -> Iterator[str]:
    dtypes = sorted({str(shape.dtype) for shape in shapes.values()})
    parameters = sum(math.prod(shape.shape) for shape in shapes.values())
    total = sum(map(nbytes, shapes.values()))
    yield f"{len(shapes)} tensors, {parameters:,} parameters, {', '.join(dtypes)}, {readable_size(total)}"
    groups: dict[tuple, int] = {}
    for name, shape in shapes.items():
        key = re.sub(r"(?<=[./])\d+(?=[./])", "{i}", name), str(shape.dtype), tuple(shape.shape)
        groups[key] = groups.get(key, 0) + 1
    for (name, dtype, shape), count in groups.items():
        yield f"  {name:<56} {dtype}{list(shape)}" + (f" x{count}" if count > 1 else "")
