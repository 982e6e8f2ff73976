"""Lists of screenplays become folders of results: grouped by program, in any order, on any number of workers.

The results of an item follow from the item and the settings alone, so that a list may be cut, reordered, stopped and
gone on with. A folder appears when all of it is written. result.json in it says of what it was made;
results.jsonl beside the folders has the records of all items, and the reasons of those that failed.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import shutil
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from shotverse_jax.conversion.adapters import parse_lora
from shotverse_jax.files import Unwritable, end_with_a_line, json_text, owned, read_json, replacing, writing
from shotverse_jax.inputs.items import Entry, Refused

RESULTS = "results.jsonl"
EVERYTHING = ("*", "*/*")
"""What an item's folder may hold, its samples' folders too; a result of other settings is replaced whole."""

_ENDS = 1 << 20
WRITERS = 2
"""Threads that decode and write results while the next ones are made."""

GROUPS_IN_HAND = 2
"""Groups that a worker has at a time: one is made while the results of the other are written."""

FAULTS = (ValueError, OSError, RuntimeError)
"""What an item may fail for without stopping the others; JAX's errors, such as too little memory, are RuntimeErrors."""


class Made(NamedTuple):
    """The result of an item, on its way to the disk.

    Attributes:
        index: the place of the item in its group.
        write: (folder) -> the result's part of the record; writes everything else of the folder.
    """

    index: int
    write: Callable[[Path], dict[str, Any]]


class Work(Protocol):
    """Makes the results of items; `infer/work.py` has plans and films.

    Attributes:
        settings: everything beside the item that decides its result, JSON values.
        group: the number of items that are made together at most.
        notes: what the user should know of the models; said once, when a batch begins.
    """

    settings: dict[str, Any]
    group: int
    notes: tuple[str, ...]

    def buckets(self, items: Sequence[Entry]) -> list[Hashable | Exception]:
        """Of each item what decides its programs, or why it cannot be made."""

    def make(self, items: Sequence[Entry]) -> Iterator[Made]:
        """Yields the results of items of one bucket as they are made. Raises one of FAULTS where an item fails.

        What needs no device may be done at the call: then it is done while another group is made.
        """


class Progress(Protocol):
    """Called with ("item", items done, items in all) after every item, and with (message, 0, 0)."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


@dataclasses.dataclass
class Summary:
    """How a batch went.

    Attributes:
        made, skipped, failed: items made now, made before, and not made for a reason.
        left: items that were not begun because the batch was stopped.
        seconds: of the whole batch.
        busy: the share of that time in which results were being made.
    """

    made: int = 0
    skipped: int = 0
    failed: int = 0
    left: int = 0
    seconds: float = 0.0
    busy: float = 0.0


class Worker:
    """Makes groups of items and writes their folders. Several threads may call `run`; one group is made at a time.

    stop: set, it ends `run` after the item in hand.
    """

    def __init__(self, work: Work, out: Path, stop: threading.Event | None = None):
        self._work, self._out, self._stop = work, out, stop or threading.Event()
        self._making, self._writers = threading.Lock(), ThreadPoolExecutor(WRITERS)
        self.busy = 0.0

    def close(self) -> None:
        """Ends the writing of results; those that were not begun are left out."""
        self._writers.shutdown(cancel_futures=True)

    def run(self, items: Sequence[Entry]) -> list[dict[str, Any]]:
        """The records of items of one bucket, those that failed too; fewer where it was stopped."""
        written: list[tuple[int, Future]] = []
        error = None
        try:
            results = self._work.make(items)
            with self._making:
                begun = time.monotonic()
                try:
                    self._make(items, results, written)
                finally:
                    self.busy += time.monotonic() - begun
        except FAULTS as fault:
            error = fault
        reached = {index for index, _ in written}
        records = [job.result() for _, job in written]
        rest = [item for index, item in enumerate(items) if index not in reached]
        if error is None:
            return records
        if len(items) == 1:
            return [failure(items[0], error)]
        # Which of them it was is not known: each is tried by itself.
        return records + [record for item in rest for record in self.run([item])]

    def _make(self, items: Sequence[Entry], results: Iterator[Made], written: list[tuple[int, Future]]) -> None:
        """Makes results, has them written, and adds the (index, writing) of each to `written`."""
        last = time.monotonic()
        for made in () if self._stop.is_set() else results:
            seconds = time.monotonic() - last
            written.append((made.index, self._writers.submit(self._write, items[made.index], made, seconds)))
            if self._stop.is_set():
                break
            last = time.monotonic()

    def _write(self, item: Entry, made: Made, seconds: float) -> dict[str, Any]:
        begun, place = time.monotonic(), item.place(self._out)
        try:
            with replacing(place.folder, place.owns or EVERYTHING, place.record) as scratch:
                scratch.mkdir()
                values = made.write(scratch)
                spent = {"make": round(seconds, 3), "write": round(time.monotonic() - begun, 3)}
                digest = made_of(item, self._work.settings)
                record = {**item.head, **values, "error": None, "made_of": digest, "seconds": spent}
                record["files"] = _sizes(scratch)
                record["digest"] = _digest(record)
                _write_json(scratch / place.record, record)
        except Unwritable:  # no other item could be written either
            raise
        except FAULTS as error:
            return failure(item, error)
        return record


def failure(item: Entry | Refused, error: Exception | str) -> dict[str, Any]:
    """The record of an item that was not made; the reason is one sentence."""
    return {**item.head, "error": " ".join(str(error).split()) or type(error).__name__}


def made_of(item: Entry, settings: dict[str, Any]) -> str:
    """A digest of everything that decides the result of an item, the files it names too."""
    values = item.values() | {"settings": settings}
    files = [*item.files, *(parse_lora(text).file for text in getattr(item, "lora", ()))]
    values["files"] = [file_digest(file) for file in files]
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def file_digest(path: str | Path) -> str:
    """A digest of a file's size, beginning and end; of a folder the digests of its files; "" for what is not there."""
    path, digest = Path(path), hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        try:
            size = file.stat().st_size
            with file.open("rb") as stream:
                digest.update(f"{file.name} {size}".encode() + stream.read(_ENDS))
                stream.seek(max(0, size - _ENDS))
                digest.update(stream.read(_ENDS))
        except OSError:
            return ""
    return digest.hexdigest()[:16]


def run_batch(
    items: Sequence[Entry | Refused],
    work: Work,
    out: str | Path,
    *,
    run: Callable[[Iterable[list[Entry]]], Iterator[list[dict[str, Any]]]] | None = None,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Makes all items of a list that are not there yet, and writes results.jsonl.

    Args:
        items: the list, as `inputs.items.read_items` reads it.
        work: makes the results, for example `infer.work.PlanWork`.
        out: the folder of results, one folder an item.
        run: makes groups somewhere else and yields their records as they finish (`infer/ray_workers.py`); None
            (default) makes them in this process.
        stop: set by another thread or a signal, it ends the batch after the items in hand.
        progress: called with ("item", items done, items in all), and before that with every note of the work and two
            zeros.

    Raises:
        ValueError: the folder cannot be written, or another batch is writing to it.
    """
    begun, out, stop = time.monotonic(), Path(out), stop or threading.Event()
    worker = None
    if run is None:
        worker = Worker(work, out, stop)
        run = lambda groups: in_threads(worker.run, groups)  # noqa: E731
    with _folder(out) as results, contextlib.closing(worker) if worker else contextlib.nullcontext():
        for note in work.notes if progress is not None else ():
            progress(note, 0, 0)
        records = _finished(items, work.settings, out)
        summary, todo = Summary(skipped=len(records)), [i for i in items if i.id not in records]
        groups, refused = _groups([i for i in todo if isinstance(i, Entry)], work)
        refused += [failure(item, item.error) for item in todo if isinstance(item, Refused)]
        for done in itertools.chain([refused], run(groups)):
            for record in done:
                records[record["id"]] = record
                results.write(json_text(record) + "\n")
                results.flush()
            if progress is not None and done:
                progress("item", len(records), len(items))
        summary.failed = sum(record["error"] is not None for record in records.values())
        summary.made = len(records) - summary.skipped - summary.failed
        summary.left = len(items) - len(records)
        _write_all(items, records, out)
    summary.seconds = time.monotonic() - begun
    summary.busy = worker.busy / summary.seconds if worker else 0.0
    return summary


def in_threads(
    run: Callable[[list[Entry]], list[dict[str, Any]]], groups: Iterable[list[Entry]]
) -> Iterator[list[dict[str, Any]]]:
    """Yields run(group) of every group as they finish, a few at a time."""
    with ThreadPoolExecutor(GROUPS_IN_HAND) as pool:
        waiting: set[Future] = set()
        for group in groups:
            if len(waiting) == GROUPS_IN_HAND:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (job.result() for job in done)
            waiting.add(pool.submit(run, group))
        for job in list(waiting):
            yield job.result()


def _groups(items: Sequence[Entry], work: Work) -> tuple[list[list[Entry]], list[dict[str, Any]]]:
    """(groups of items of one bucket, in the order of the list; the records of items that cannot be made)."""
    buckets: dict[Hashable, list[Entry]] = {}
    refused = []
    for item, bucket in zip(items, work.buckets(items), strict=True):
        if isinstance(bucket, Exception):
            refused.append(failure(item, bucket))
        else:
            buckets.setdefault(bucket, []).append(item)
    starts = ((bucket, i) for bucket in buckets.values() for i in range(0, len(bucket), work.group))
    return [bucket[i : i + work.group] for bucket, i in starts], refused


def each(bucket: Callable[[Entry], Hashable], items: Sequence[Entry]) -> list[Hashable | Exception]:
    """bucket(item) of every item, or the error that it raised."""

    def one(item):
        try:
            return bucket(item)
        except FAULTS as error:
            return error

    return [one(item) for item in items]


def _finished(items: Sequence[Entry | Refused], settings: dict[str, Any], out: Path) -> dict[str, dict[str, Any]]:
    """The records of items whose folders are there and were made of the same."""
    found = {}
    for item in items:
        # A folder is moved to its place when all of it is written, its record too.
        with contextlib.suppress(ValueError):
            if not isinstance(item, Entry):
                continue
            place = item.place(out)
            record = read_json(place.folder / place.record)
            same = record.get("made_of") == made_of(item, settings) and record.get("digest") == _digest(record)
            # What somebody changed since then is made anew.
            if same and all(_size(place.folder / name) == size for name, size in record["files"].items()):
                found[item.id] = record
    return found


@contextlib.contextmanager
def _folder(out: Path) -> Iterator[Any]:
    """Opens results.jsonl for appending, for one batch at a time; sweeps what a killed one left half-written."""
    with writing(out), owned(out):
        end_with_a_line(out / RESULTS)
        for left in out.glob(".writing-*"):
            shutil.rmtree(left, ignore_errors=True)
        try:
            with (out / RESULTS).open("a", encoding="utf-8") as results:
                yield results
        finally:
            if not (out / RESULTS).stat().st_size:  # nothing was made, as on a full disk
                (out / RESULTS).unlink()


def _write_all(items: Sequence[Entry | Refused], records: dict[str, dict[str, Any]], out: Path) -> None:
    """Writes results.jsonl anew, in the order of the list."""
    lines = [json_text(records[item.id]) + "\n" for item in items if item.id in records]
    with replacing(out / RESULTS) as place:
        place.write_text("".join(lines), encoding="utf-8")


def _digest(record: dict[str, Any]) -> str:
    """A digest of a record but its seconds and its own, which tells that nobody changed it."""
    values = {name: value for name, value in record.items() if name not in ("digest", "seconds")}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _sizes(folder: Path) -> dict[str, int | None]:
    """The files of a result, by their paths below the folder, and their bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _size(path) for path in files}


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json_text(value, indent=1) + "\n", encoding="utf-8")
