"""Data sets on disk: records of named arrays and texts, in ArrayRecord shards that are written whole or not at all.

A folder has shards named `00003-of-00125.arrayrecord` and dataset.json, the settings it was made with. A record is
one safetensors file in memory, with its arrays as tensors and its texts as metadata; ArrayRecord compresses it (zstd).
"""

import contextlib
import functools
import itertools
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import grain
import numpy as np
import safetensors
import safetensors.numpy
from array_record.python.array_record_module import ArrayRecordWriter
from tqdm import tqdm

from shotverse_jax.data.fields import check_record
from shotverse_jax.files import json_text, owned, read_json, reading, replacing, write_json
from shotverse_jax.weights.safetensors import safetensors_header

Record = dict[str, np.ndarray | str]
SHARD_RECORDS = 64
SETTINGS, SKIPPED, CHANGED = "dataset.json", "skipped.jsonl", "changed.jsonl"
NEGATIVE = "negative.safetensors"
"""File beside the shards with the text states of the negative prompt."""


class Records:
    """Random access to the records of a finished data set, in the order of their source; a source for grain.

    It can be pickled: every process opens the shards itself, when it first reads a record. Every record is checked when
    it is read (`fields.py`).

    Args:
        folder: the data set.
        needs: fields that every record must have; none by default.

    Attributes:
        folder: the data set.
        settings: content of its dataset.json.

    Raises:
        ValueError: the folder is no data set, lacks shards, or has a shard that cannot be read. On access: a record is
            not what it should be.
    """

    def __init__(self, folder: str | Path, needs: Sequence[str] = ()):
        self.folder, self._needs = Path(folder), tuple(needs)
        self.settings = read_settings(folder)
        shards = sorted(self.folder.glob("*-of-*.arrayrecord"))
        # Every shard's name says how many there are, so one name is enough to notice that some are missing.
        named = re.fullmatch(r"\d+-of-(\d{1,9})", shards[0].stem) if shards else None
        expected = int(named[1]) if named else 1
        if len(shards) != expected:
            raise ValueError(f"{folder} has {len(shards)} of {expected} shards; finish it with launch/encode.py")
        try:
            self._source = grain.sources.ArrayRecordDataSource([str(shard) for shard in shards])
        except RuntimeError as error:
            raise _broken(next((shard for shard in shards if not _opens(shard)), self.folder), error) from error
        if not len(self._source):
            raise ValueError(f"{folder} holds no records; {SKIPPED} there says why items were left out")

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        try:
            record = unpack(self._source[index])
        except (RuntimeError, ValueError, safetensors.SafetensorError) as error:
            # The error does not name the shard, and the user must delete it: find it by counting records.
            shards = self._source.paths
            ends = itertools.accumulate(len(grain.sources.ArrayRecordDataSource(shard)) for shard in shards)
            shard = next(shard for shard, end in zip(shards, ends, strict=True) if index < end)
            raise _broken(shard, error) from error
        with naming(self.folder):
            check_record(record, self._needs)
        return record


@contextlib.contextmanager
def naming(folder: str | Path) -> Iterator[None]:
    """Puts the folder of a data set before the words of a ValueError about what was read from it."""
    try:
        yield
    except ValueError as error:
        if str(folder) in str(error):
            raise
        raise ValueError(f"{folder} has a film that cannot be used: {error}") from error


def _opens(shard: Path) -> bool:
    try:
        return len(grain.sources.ArrayRecordDataSource(str(shard))) >= 0
    except RuntimeError:
        return False


def _broken(shard: str | Path, error: Exception) -> ValueError:
    return ValueError(f"{shard} cannot be read: it is damaged; delete it and run launch/encode.py again ({error})")


def read_settings(folder: str | Path) -> dict:
    """Reads the settings that a data set was made with.

    Raises:
        ValueError: the folder is no data set.
    """
    try:
        return read_json(Path(folder) / SETTINGS)
    except ValueError as error:
        raise ValueError(f"{folder} is no data set: {SETTINGS} cannot be read ({error})") from error


def pack(record: Record) -> bytes:
    """Returns a record as bytes, the same for equal records; `unpack` reads them."""
    arrays = {name: np.asarray(value) for name, value in sorted(record.items()) if not isinstance(value, str)}
    texts = {name: value for name, value in sorted(record.items()) if isinstance(value, str)}
    return safetensors_header(arrays, texts) + b"".join(array.tobytes() for array in arrays.values())


def shuffled(index: int, count: int, seed: int) -> int:
    """Returns which of `count` records is sample `index` of an endless run.

    Every epoch of `count` samples has each record once, in an order of its own that depends on (seed, epoch) alone.
    """
    epoch, place = divmod(index, count)
    return int(_order(seed, epoch, count)[place])


# Every sample asks for the whole order of its epoch, and a batch may reach into the next epoch.
@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


def unpack(data: bytes) -> Record:
    """Returns the arrays and texts of a record that `pack` wrote."""
    # safetensors' own reader drops the metadata, so the header (its length comes first, 8 bytes) is read here.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return safetensors.numpy.load(data) | header.get("__metadata__", {})


def write_shard(path: str | Path, records: Iterable[Record]) -> None:
    """Writes records to one ArrayRecord file, whole or not at all.

    Raises:
        ValueError: the file cannot be written.
    """
    with _writing(Path(path)) as write:
        for record in records:
            write(record)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[Callable[[Record], None]]:
    with replacing(path) as scratch:
        writer = ArrayRecordWriter(str(scratch), "group_size:1")  # one record per block: random access
        try:
            yield lambda record: writer.write(pack(record))
        finally:
            writer.close()


@contextlib.contextmanager
def alone(folder: str | Path, host: int = 0, num_hosts: int = 1) -> Iterator[None]:
    """Keeps other processes from making the shards of this one; `host` and `num_hosts` are those of `write_dataset`.

    Raises:
        Locked: another process makes them.
        Unwritable: the folder cannot be made.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(owned(folder, shared=num_hosts > 1))
        if num_hosts > 1:
            stack.enter_context(owned(Path(folder) / f".process-{host}-of-{num_hosts}"))
        yield


class Written(NamedTuple):
    """What the shards of one process hold.

    Attributes:
        records: number of records.
        skipped: a note {index, reason} for every item that was left out.
        changed: a note {index, name, changes} for every item that was changed.
        empty: True when the whole data set is finished and has no record.
    """

    records: int
    skipped: list[dict]
    changed: list[dict]
    empty: bool


def write_dataset(
    folder: str | Path,
    source: Sequence[Record],
    settings: dict,
    transform: Callable[[Iterable[Record]], Iterable[Record]] | None = None,
    host: int = 0,
    num_hosts: int = 1,
    progress: bool = False,
) -> Written:
    """Writes the records of a source, `SHARD_RECORDS` to a shard. Existing shards are kept, so a run can be resumed.

    Items for which the source raises ValueError are left out. Every shard gets a report of these items, and of the
    items whose record has a text `changes` that is not empty. Once all shards are there, skipped.jsonl and
    changed.jsonl list all of them by index.

    Args:
        folder: the data set; it is made if it does not exist.
        source: `source[i]` is record i. It must be a pure function of i, since a resumed run calls it again.
        settings: all values that decide about the records, as JSON values; they are compared on resuming.
        transform: applied to the stream of records of each shard; None (default) for none.
        host, num_hosts: this process writes the shards whose number is `host` modulo `num_hosts`; default 0 of 1.
        progress: show a bar; default False.

    Returns:
        what this process's shards hold, those from an earlier run included.

    Raises:
        ValueError: the folder has a data set with other settings, or cannot be written.
    """
    if not 0 <= host < num_hosts:
        raise ValueError(f"host {host} of {num_hosts}: hosts are numbered from 0")
    folder = Path(folder)
    # Tuples come back from a JSON file as lists; without the round trip they would seem to be other settings.
    _agree(folder / SETTINGS, json.loads(json.dumps(settings)))
    count = math.ceil(len(source) / SHARD_RECORDS)
    shards = [folder / f"{shard:05d}-of-{count:05d}.arrayrecord" for shard in range(count)]
    total = sum(len(_items(source, shard)) for shard in range(host, count, num_hosts))
    pace = 0.5 if sys.stderr.isatty() else 60  # seconds between two states of the bar; a log file needs few
    notes = []
    with tqdm(total=total, unit="record", mininterval=pace, disable=not progress) as bar:
        for shard in range(host, count, num_hosts):
            items, report = _items(source, shard), shards[shard].with_suffix(".jsonl")
            if shards[shard].exists():
                bar.total -= len(items)
            else:
                said = []
                stream = _readable(source, items, said, bar)
                with _writing(shards[shard]) as write:
                    for record in transform(stream) if transform else stream:
                        write(record)
                    _write_lines(report, said)  # before the shard is there, so that a shard always has its report
            notes += _read_lines(report)
    empty = False
    if all(shard.exists() for shard in shards):
        said = [note for shard in shards for note in _read_lines(shard.with_suffix(".jsonl"))]
        for name, key in ((SKIPPED, "reason"), (CHANGED, "changes")):
            _write_lines(folder / name, [note for note in said if key in note])
        empty = sum("reason" in note for note in said) == len(source)
    skipped, changed = ([note for note in notes if key in note] for key in ("reason", "changes"))
    return Written(total - len(skipped), skipped, changed, empty)


def _readable(source: Sequence[Record], items: range, said: list[dict], bar: tqdm) -> Iterator[Record]:
    """Iterates over the records of the items that can be read; notes about items are appended to `said`."""
    for index in items:
        try:
            record = source[index]
        except ValueError as error:
            said.append({"index": index, "reason": str(error)})
        else:
            if changes := record.get("changes"):
                said.append({"index": index, "name": record.get("name", ""), "changes": changes})
            yield record
        bar.update()


def _write_lines(path: Path, notes: list[dict]) -> None:
    """Writes notes as JSON lines; without notes there is no file."""
    if not notes:
        path.unlink(missing_ok=True)
    else:
        with replacing(path) as scratch:
            scratch.write_text("".join(json_text(note) + "\n" for note in notes), encoding="utf-8")


def _read_lines(path: Path) -> list[dict]:
    if not path.exists():
        return []
    with reading(path, "lines of JSON"):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _items(source: Sequence, shard: int) -> range:
    return range(shard * SHARD_RECORDS, min((shard + 1) * SHARD_RECORDS, len(source)))


def _agree(path: Path, settings: dict) -> None:
    """Writes the settings, or raises ValueError when other settings are there already."""
    if not path.exists():
        write_json(path, settings, indent=2)
        return
    there = read_json(path)
    if there != settings:
        names = [name for name in {**there, **settings} if there.get(name) != settings.get(name)]
        before = {name: there.get(name) for name in names}
        raise ValueError(f"{path.parent} was made with other settings, {before}; take another folder or delete it")
