"""What results hold, in forms that can be compared, and what may be there after a kill: sentences about what may not.

The program's own readers decide what reads as finished.
"""

import json
import warnings
from pathlib import Path
from typing import Any

from shotverse_jax.files import UNFINISHED
from tests.survival.processes import asked

Files = dict[str, Any]
"""Names and contents of the files of a result; {} where there is none."""

TIMES = ("seconds", "per_second", "mfu")
"""Ends of the names of metrics that the clock decides."""


def files(path: Path) -> Files:
    """Every file of a result by its name below it, links as what they name; a result that is a file has the name ""."""
    if not path.is_dir():
        return {"": path.read_bytes()} if path.exists() else {}
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def models(path: Path) -> Files:
    """Models that name each other by their folders: without where these are."""
    here = str(path.absolute()).encode()
    return {name: data.replace(here, b"OUT") if name.endswith(".json") else data for name, data in files(path).items()}


def batch(path: Path) -> Files:
    """The results of a batch without their seconds."""
    return {name: _timeless(name, data) for name, data in files(path).items()}


def _timeless(name: str, data: bytes) -> Any:
    if not name.endswith((".jsonl", "result.json")):
        return data
    lines = data.splitlines() if name.endswith(".jsonl") else [data]
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def trained(path: Path) -> Files:
    """A run: its newest checkpoint's values, its metrics without times, its export and everything else as bytes."""
    found = {name: data for name, data in files(path).items() if not name.startswith(("checkpoints/", "tensorboard/"))}
    if steps := _steps(path):
        found["newest"] = steps[-1], asked(_checksums, path, steps[-1])
    found["metrics.jsonl"], _ = _metrics(found.get("metrics.jsonl", b""))
    return found


def rounds(path: Path) -> Files:
    """Rounds of preference optimisation without their runs' checkpoints and metrics, seconds and their own folder."""
    runs, here = ("/checkpoints/", "/tensorboard/", "/metrics.jsonl"), str(path.absolute()).encode()
    found = {name: data for name, data in batch(path).items() if not any(part in name for part in runs)}
    return {name: data.replace(here, b"OUT") if isinstance(data, bytes) else data for name, data in found.items()}


def _steps(path: Path) -> list[int]:
    return sorted(int(file.name) for file in (path / "checkpoints").glob("*") if file.name.isdecimal())


def _checksums(path: Path, step: int) -> dict[str, int]:
    """The checksums of a checkpoint's arrays, read as a run reads them that goes on."""
    import jax

    from shotverse_jax.train.checkpoint import Checkpoints, checksums

    warnings.filterwarnings("ignore", message="Sharding info not provided")  # this process ends after it
    checkpoints = Checkpoints(path / "checkpoints", writes=False)
    shapes = checkpoints._checkpointer.metadata(step).metadata
    like = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in shapes.items()}
    return checksums(checkpoints.restore(like, step))


def _metrics(data: bytes) -> tuple[dict, list[str]]:
    """({(step, kind): values without times}, sentences about lines of one step that differ). An unfinished last line
    is none."""
    found, problems = {}, []
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        record = {name: value for name, value in json.loads(line).items() if not name.endswith(TIMES)}
        key = record["step"], record["kind"]
        if record["kind"] != "resume" and found.setdefault(key, record) != record:
            problems.append(f"two records of step {key[0]} differ")
    return {key: record for key, record in found.items() if key[1] != "resume"}, problems


# ------------------------------------------------------------------------------------------------- after a kill


def whole_or_old(out: Path, new: Files, old: Files) -> list[str]:
    """A result that is replaced: it is the old or the new one, or says that it is unfinished."""
    found = files(out)
    if found in (new, old, {}) and (found or not old):
        return []
    if UNFINISHED in found:
        mixed = [
            name for name, data in found.items() if name != UNFINISHED and data not in (new.get(name), old.get(name))
        ]
        return [f"{name} is half-written" for name in mixed]
    return [f"neither the old nor the new result, and not unfinished: {sorted(found)}"]


def items(out: Path, new: Files, old: Files) -> list[str]:
    """A batch: what has a result.json, or GenDoP's …_result.json, is the whole item of one of the two lists."""
    found, problems = batch(out), []
    for record in [name for name in found if name.endswith(("/result.json", "_result.json"))]:
        folder = record.removesuffix("result.json")
        here, *wholes = ({n: d for n, d in of.items() if n.startswith(folder)} for of in (found, new, old))
        if here not in wholes:
            problems.append(f"{folder} is neither the old nor the new item: {sorted(here)}")
    return problems


def stages(out: Path, new: Files, old: Files) -> list[str]:
    """Rounds of preference optimisation: the items, the scores and the exports that are there are whole."""
    found, names = rounds(out), ("scores.json", "/export/")
    problems = [f"{name} is half-written" for name in found if _shown(name, names) and found[name] != new.get(name)]
    return items(out, new, old) + problems


def _shown(name: str, ends: tuple[str, ...]) -> bool:
    return "/." not in f"/{name}" and any(end in name for end in ends)


def parts(out: Path, new: Files, old: Files) -> list[str]:
    """A folder of many files, each of which is there or not: those that are there are whole."""
    found = {name: data for name, data in files(out).items() if "/." not in f"/{name}"}
    return [f"{name} is half-written" for name, data in found.items() if data != new.get(name)]


def calibration(out: Path, new: Files, old: Files) -> list[str]:
    """A calibrated film: the stages that are there are whole, and with its summary it is the old or the new result."""
    found, problems = {name: data for name, data in files(out).items() if "/." not in f"/{name}"}, []
    results = [{n: d for n, d in of.items() if not n.startswith("stages/")} for of in (found, new, old)]
    if "calibration.json" in found and results[0] not in results[1:]:
        problems.append(f"its summary is there, and it is neither the old nor the new result: {sorted(results[0])}")
    wholes = [{name: of.get(name) for name in found if name.startswith("stages/")} for of in (new, old)]
    problems += [f"{name} is half-written" for name in wholes[0] if found[name] not in [of[name] for of in wholes]]
    return problems


def bench(out: Path, new: Files, old: Files) -> list[str]:
    """A bench: films and scenes that are there are whole, and with its seal all of it is."""
    found, problems = {n: d for n, d in batch(out).items() if "/." not in f"/{n}"}, items(out, new, old)
    if "bench.json" in found:
        wrong = [n for n in {**new, **found} if not n.startswith("stages/") and found.get(n) != new.get(n)]
        problems += [f"it is sealed, and {name} is not what it should be" for name in wrong]
    return problems


def loadable(out: Path, new: Files, old: Files) -> list[str]:
    """Converted models: what loads is whole, and what is not whole does not load."""
    found, problems = models(out), []
    folders = {name.rpartition("config.json")[0] for name in new if name.endswith("config.json")}
    for folder in folders:
        whole = {name: data for name, data in new.items() if name.startswith(folder)}
        here = {name: data for name, data in found.items() if name.startswith(folder)}
        try:
            asked(_load, out / folder)
        except ValueError:
            if here == whole:
                problems.append(f"{folder or out.name} is whole and does not load")
        else:
            if here != whole:
                problems.append(f"{folder or out.name} loads and is not whole")
    return problems


def _load(folder: Path) -> None:
    from shotverse_jax import weights
    from shotverse_jax.weights.folder import kind_of

    kind = kind_of(folder) if folder.is_dir() else None
    if kind is None:
        raise ValueError("no model")
    if kind == "controller":
        for expert in ("high", "low"):
            weights.load(kind, folder, expert=expert)
    else:
        weights.load(kind, folder)


def dataset(out: Path, new: Files, old: Files) -> list[str]:
    """A data set: every shard that is there is whole, and without all of them it does not open."""
    found = files(out)
    wrong = [name for name, data in found.items() if not name.startswith(".") and data != new.get(name)]
    problems = [f"{name} is half-written" for name in wrong]
    whole = sum(name.endswith(".arrayrecord") for name in new)
    try:
        count = asked(_count, out)
    except ValueError:
        count = None
    there = sum(name.endswith(".arrayrecord") and not name.startswith(".") for name in found)
    if (count is not None) != (there == whole):
        problems.append(f"it opens with {count} records, and {there} of {whole} shards are there")
    return problems


def _count(out: Path) -> int:
    from shotverse_jax.data.records import Records

    return len(Records(out))


def run(out: Path, new: Files, old: Files) -> list[str]:
    """A training run: every checkpoint that is visible restores, no metric is wrong, and the export is whole."""
    found, problems = files(out), []
    for step in _steps(out):
        try:
            asked(_checksums, out, step)
        except (ValueError, RuntimeError) as error:
            problems.append(f"checkpoint {step} does not restore: {error}")
    records, differing = _metrics(found.get("metrics.jsonl", b""))
    problems += differing
    problems += [f"metrics of step {key[0]} differ" for key, r in records.items() if r != new["metrics.jsonl"].get(key)]
    for name in (name for name in found if name.startswith("export/") and "/." not in name):
        if found[name] != new[name]:
            problems.append(f"{name} is half-written")
    return problems
