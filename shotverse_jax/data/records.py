"""Data sets on disk: records of named arrays and texts, in ArrayRecord shards that are there whole or not at all.

A folder holds shards named `00003-of-00125.arrayrecord` and dataset.json, the settings it was made with. A record is
the safetensors bytes of its arrays, its texts as their metadata; ArrayRecord compresses it (zstd).
"""

import functools
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import grain
import numpy as np
import safetensors.numpy
from array_record.python.array_record_module import ArrayRecordWriter
from tqdm import tqdm

from shotverse_jax.files import replacing

Record = dict[str, np.ndarray | str]
SHARD_RECORDS = 64
SETTINGS = "dataset.json"


class Records:
    """Random access to the records of a finished data set, in the order of their source; a source for grain.

    Can be pickled; files are opened where and when records are read.

    Attributes:
        settings: what dataset.json says.

    Raises:
        ValueError: a folder that is no data set, lacks shards, or has one that cannot be read.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        try:
            self.settings = json.loads((self.folder / SETTINGS).read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise ValueError(f"{folder} is no data set: {SETTINGS} cannot be read ({error})") from error
        shards = sorted(self.folder.glob("*-of-*.arrayrecord"))
        expected = int(shards[0].stem.split("-of-")[1]) if shards else 1
        if len(shards) != expected:
            raise ValueError(f"{folder} has {len(shards)} of {expected} shards; finish it with launch/encode.py")
        try:
            self._source = grain.sources.ArrayRecordDataSource([str(shard) for shard in shards])
        except RuntimeError as error:
            raise ValueError(f"a shard in {folder} cannot be read: {error}") from error

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return unpack(self._source[index])


def pack(record: Record) -> bytes:
    """A record as bytes, the reverse of `unpack`."""
    # safetensors writes the memory of an array as it lies, so its elements must lie in order.
    arrays = {name: np.asarray(value, order="C") for name, value in record.items() if not isinstance(value, str)}
    texts = {name: value for name, value in record.items() if isinstance(value, str)}
    return safetensors.numpy.save(arrays, metadata=texts)


def shuffled(index: int, count: int, seed: int) -> int:
    """Which of `count` records sample `index` of an endless run is: every epoch has its order, from (seed, epoch)."""
    epoch, place = divmod(index, count)
    return int(_order(seed, epoch, count)[place])


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


def unpack(data: bytes) -> Record:
    """The arrays and texts of a record."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return safetensors.numpy.load(data) | header.get("__metadata__", {})


def write_shard(path: str | Path, records: Iterable[Record]) -> None:
    """Writes records to one ArrayRecord file, whole or not at all. Raises ValueError when it cannot be written."""
    with replacing(path) as scratch:
        writer = ArrayRecordWriter(str(scratch), "group_size:1")  # one record per block: random access
        try:
            for record in records:
                writer.write(pack(record))
        finally:
            writer.close()


def write_dataset(
    folder: str | Path,
    source: Sequence[Record],
    settings: dict,
    transform: Callable[[list[Record]], list[Record]] | None = None,
    host: int = 0,
    num_hosts: int = 1,
    progress: bool = False,
) -> int:
    """Writes the records of a source, `SHARD_RECORDS` to a shard; shards that exist stay, so a run can be resumed.

    Items for which the source raises ValueError are left out and listed with the reason in skipped-<host>.jsonl.

    Args:
        source: `source[i]` is record i; a pure function of i, so that what is resumed is what was begun.
        settings: everything that decides about the records, as JSON values.
        transform: applied to the records of each shard.
        host, num_hosts: this process writes the shards whose number is `host` modulo `num_hosts`.

    Returns:
        how many items this call left out.

    Raises:
        ValueError: the folder has a data set with other settings, or cannot be written.
    """
    if not 0 <= host < num_hosts:
        raise ValueError(f"host {host} of {num_hosts}: hosts are numbered from 0")
    folder = Path(folder)
    _agree(folder / SETTINGS, json.loads(json.dumps(settings)))
    count, skipped = math.ceil(len(source) / SHARD_RECORDS), 0
    shards = range(host, count, num_hosts)
    total = sum(len(_items(source, shard)) for shard in shards)
    pace = 0.5 if sys.stderr.isatty() else 60  # seconds between two states of the bar; a log file needs few
    with tqdm(total=total, unit="record", mininterval=pace, disable=not progress) as bar:
        for shard in shards:
            path, items = folder / f"{shard:05d}-of-{count:05d}.arrayrecord", _items(source, shard)
            if path.exists():
                bar.total -= len(items)
                continue
            records, bad = [], []
            for index in items:
                try:
                    records.append(source[index])
                except ValueError as error:
                    bad.append({"index": index, "reason": str(error)})
                bar.update()
            write_shard(path, transform(records) if transform else records)
            if bad:
                with open(folder / f"skipped-{host}.jsonl", "a", encoding="utf-8") as file:
                    file.writelines(json.dumps(entry) + "\n" for entry in bad)
            skipped += len(bad)
    return skipped


def _items(source: Sequence, shard: int) -> range:
    return range(shard * SHARD_RECORDS, min((shard + 1) * SHARD_RECORDS, len(source)))


def _agree(path: Path, settings: dict) -> None:
    """Writes the settings, or compares them with those that are there."""
    if not path.exists():
        with replacing(path) as scratch:
            scratch.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    if there != settings:
        names = [name for name in {**there, **settings} if there.get(name) != settings.get(name)]
        before = {name: there.get(name) for name in names}
        raise ValueError(f"{path.parent} was made with other settings, {before}; take another folder or delete it")
