"""The digests of weights: model.sha256 beside model.safetensors or beside a folder `model` of arrays.

The file has lines as of the program sha256sum, with which it can be checked too (`sha256sum -c model.sha256`). A file
of weights is checked before the first of its values is used, so that one that is damaged, missing or another's is an
error, not other numbers. Where there is no such file, as in folders of earlier versions, weights are read unchecked.
"""

import functools
import hashlib
import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shotverse_jax.files import replacing

SUFFIX = ".sha256"
WORKERS = min(8, os.cpu_count() or 1)


class Sums:
    """The digests of files below a folder; every file is checked once.

    path: the file of digests, in the folder.
    expected: path below the folder → digest; None checks nothing.
    """

    def __init__(self, path: Path, expected: Mapping[str, str] | None):
        self._path, self._folder, self._expected = path, path.parent, expected
        self._checked: set[str] = set()
        self._lock = threading.Lock()

    def names(self, below: str) -> set[str] | None:
        """The names of the files that a folder `below` must hold; None where that is not known."""
        if self._expected is None:
            return None
        return {name.removeprefix(f"{below}/") for name in self._expected if name.startswith(f"{below}/")}

    def check(self, names: Iterable[str]) -> None:
        """Checks files, given by their paths below the folder.

        Raises:
            ValueError: one is not there, or is not the one that was written.
        """
        if self._expected is None:
            return
        with self._lock:
            new = [name for name in names if name not in self._checked]
            for name, found in zip(new, digests(self._folder / name for name in new), strict=True):
                if found != self._expected.get(name):
                    gone = "cannot be read" if os.path.lexists(self._folder / name) else "is not there"
                    what = gone if found is None else "is not as it was written"
                    raise ValueError(
                        f"{self._folder / name} {what}; make or fetch {self._folder} anew, or remove {self._path} if "
                        "the change is yours"
                    )
                self._checked.add(name)


def read_sums(weights: Path) -> Sums:
    """The digests of weights, a file .safetensors or a folder of arrays.

    Raises:
        ValueError: the file of digests is none.
    """
    path = sums_file(weights)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Sums(path, None)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    expected = {}
    for line in text.splitlines():
        digest, mark, name = line.partition("  ")
        if not mark or len(digest) != 64 or not name:
            raise ValueError(f"{path} is damaged: {line[:80]!r} is no digest with a name")
        expected[name] = digest
    if not expected:
        raise ValueError(f"{path} is damaged: it is empty")
    return Sums(path, expected)


def write_sums(weights: Path, expected: Mapping[str, str] | None = None) -> None:
    """Writes the digests of weights, a file .safetensors or a folder of arrays.

    expected: path below the weights' folder → digest; None takes the digests of the files that are there.
    """
    path = sums_file(weights)
    if expected is None:
        files = sorted(p for p in weights.rglob("*") if p.is_file()) if weights.is_dir() else [weights]
        names = (file.relative_to(path.parent).as_posix() for file in files)
        expected = dict(zip(names, digests(files), strict=True))
    with replacing(path) as place:
        place.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(expected.items())), encoding="utf-8")


def sums_file(weights: Path) -> Path:
    """The file of digests of weights, a file .safetensors or a folder of arrays."""
    name = weights.name.removesuffix(".safetensors")
    return weights.with_name(name + SUFFIX)


def digests(files: Iterable[Path]) -> list[str | None]:
    """The SHA-256 digests of files, several at a time; None for one that is not there or cannot be read."""
    files = list(files)
    if len(files) < 2:
        return [_digest(file) for file in files]
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(_digest, files))


def _digest(file: Path) -> str | None:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, functools.partial(hashlib.sha256, usedforsecurity=False)).hexdigest()
    except OSError:  # a folder or a link to nowhere in its place, too
        return None
