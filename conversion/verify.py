"""Replays a record of an original PyTorch program through our network and compares the outputs.

A record is an .npz file: `param/<PyTorch name>` for every weight; inputs and outputs under the names that `meta` lists;
and `meta`, JSON with `model` (a name in `REPLAYS`), `inputs`, `outputs` and the sizes that the weights do not show.
"""

import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from shotverse_jax.files import reading
from shotverse_jax.weights import KINDS

from .networks import NETWORKS
from .replays import REPLAYS, Arrays

EXPANSION, SMALL = 20, 64 << 20
"""Weights hardly shrink: a record that unpacks to more than 20 times its size, and to more than 64 MiB, is none."""


@dataclass(frozen=True)
class OutputError:
    """How far one output is from the record.

    Attributes:
        name: Name of the output.
        max_abs: Largest absolute difference.
        max_rel_rms: The largest difference over the root mean square of the record; for integers the largest difference
            itself, which must be 0.
        ok: Whether it is within the tolerance.
    """

    name: str
    max_abs: float
    max_rel_rms: float
    ok: bool


@dataclass(frozen=True)
class Report:
    """The outputs of a replayed record. `model` is the name in `REPLAYS`."""

    model: str
    tolerance: float
    outputs: tuple[OutputError, ...]

    @property
    def ok(self) -> bool:
        """True when all outputs are within the tolerance."""
        return all(output.ok for output in self.outputs)


def verify_record(path: str | Path, tol: float = 1e-4) -> Report:
    """Replays a record in float32; an output passes when its error over the record's RMS is at most `tol`.

    Raises:
        ValueError: The file is not a record, its model is unknown, or its weights do not fit the network.
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
    if not meta["outputs"]:
        raise ValueError(f"{path} names no outputs, so there is nothing to compare")
    tensors = {name.removeprefix("param/"): array for name, array in arrays.items() if name.startswith("param/")}
    # A GPU or TPU multiplies float32 in fewer bits by default, which alone would exceed the tolerance.
    with reading(path, f"a record of {model}"), jax.default_matmul_precision("highest"):
        network, config = NETWORKS[replay.network], replay.config(meta, tensors)
        module, _ = KINDS[network.kind].build(config)
        ours = replay.run(module, {"params": network.from_torch(tensors, config)}, inputs, meta)
        if missing := [name for name in meta["outputs"] if name not in ours]:
            raise ValueError(f"{path} records {', '.join(missing)}, which the replay of {model} does not produce")
        outputs = tuple(_compare(name, np.asarray(ours[name]), arrays[name], tol) for name in meta["outputs"])
    return Report(model, tol, outputs)


def _read(path: Path) -> tuple[dict[str, Any], Arrays]:
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give the .npz record of a model")
    with reading(path, "the .npz record of a model"):
        with zipfile.ZipFile(path) as archive:
            # A few bytes can claim to unpack to any number of them.
            size = sum(entry.file_size for entry in archive.infolist())
            if size > max(EXPANSION * path.stat().st_size, SMALL):
                raise ValueError(f"{path} would unpack to {size:,} bytes, which is no record of weights")
            for entry in archive.infolist():
                _check_header(archive, entry)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    if "meta" not in arrays:
        raise ValueError(f"{path} has no `meta` entry, so it is not the record of a model")
    try:
        meta = json.loads(str(arrays.pop("meta")))
        named = [*meta["inputs"], *meta["outputs"]]
        if not all(isinstance(name, str) for name in (*named, meta["model"])):
            raise TypeError("a name is no text")
    except (RecursionError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: `meta` must be JSON with model, inputs and outputs ({error!r})") from error
    if missing := [name for name in named if name not in arrays]:
        raise ValueError(f"{path}: `meta` names {', '.join(missing)}, which the file does not hold")
    return meta, arrays


def _check_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Refuses an array whose header claims more bytes than there are: NumPy makes room for them first."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if (claimed := math.prod(shape) * dtype.itemsize) > entry.file_size:
        raise ValueError(f"{entry.filename} claims {claimed:,} bytes, and has {entry.file_size:,}")


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
