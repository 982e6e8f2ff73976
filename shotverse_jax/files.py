"""Files that are written whole or not at all, folders that one process owns, and the border to libraries that read."""

import contextlib
import errno
import functools
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from shotverse_jax.limits import FILE, file_size, shown


def cache_folder() -> Path:
    """Returns the user's folder for what can be made or fetched again: compiled programs and published models.

    It is the one that the environment variable SHOTVERSE_CACHE names, by default ~/.cache/shotverse_jax.
    """
    if own := os.environ.get("SHOTVERSE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shotverse_jax"


UNFINISHED = "UNFINISHED"
"""A folder with a file of this name holds a mixture: what replaced its files was killed meanwhile."""

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""The errors of a disk that is full or for reading alone."""

_SCRATCH = ".writing-"
_LEFT = 10.0
"""Seconds after which an unlocked scratch folder was left by a killed process."""


class Unwritable(ValueError):
    """A result cannot be written where it is wanted: the place is none, or the disk is full or for reading alone."""


def check_place(path: str | Path, folder: bool = False) -> None:
    """Refuses a place for a result where nothing could be written at the end; nothing is made.

    folder: whether the result is a folder; False (default) is a file.

    Raises:
        Unwritable: the name is empty; a file is where a folder must be, or a folder where a file must be; or the folder
            that it comes to cannot be written.
    """
    if not str(path):
        raise Unwritable(f"the name of a {'folder' if folder else 'file'} to write is empty")
    with writing(path):
        path = Path(path)
        if path.exists() and path.is_dir() != folder:
            is_, wanted = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
            raise Unwritable(f"{path} is {is_}; give the name of {wanted}")
        if path.is_symlink() and not path.exists():
            raise Unwritable(f"{path} is a link to {os.readlink(path)}, which does not exist")
        above = next(
            parent for parent in (path if folder else path.parent, *path.absolute().parents) if parent.exists()
        )
        if not above.is_dir():
            raise Unwritable(f"{path} cannot be written: {above} is a file")
        if not os.access(above, os.W_OK | os.X_OK):
            raise Unwritable(f"{path} cannot be written: there is no permission to write to {above}")


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """The border to whatever writes a result: an error of the disk becomes one sentence about `path`.

    Libraries that write files themselves have errors of their own for a full disk, with the system's words for it.

    Raises:
        Unwritable: the disk is full or for reading alone, or `path` is no name that the system takes. Other errors pass
            as they are.
    """
    try:
        yield
    except Exception as error:
        if (reason := _of_the_disk(error)) is None:
            raise
        raise _cannot(path, reason) from error


NAMES = (errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR, errno.ENOTDIR)
"""Errors of a name that nothing can be written to: too long, links without an end, a folder, below a file."""


def _of_the_disk(error: BaseException | None) -> str | None:
    """The system's words for what is wrong with the disk, where that is the reason of an error; else None."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NAMES:
            return error.strerror
        for number in DISK:
            if isinstance(error, OSError) and error.errno == number or os.strerror(number) in str(error):
                return os.strerror(number)
        if "embedded null" in str(error):
            return "there is a NUL in its name"
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def replacing(path: str | Path, owns: Sequence[str] = (), seal: str | None = None) -> Iterator[Path]:
    """Yields a temporary path for writing a file or folder, which becomes `path` if the block ends without an error.

    After an error it is deleted, with the folders above that were made for it. The temporary path has the name of
    `path` and does not exist yet; for a folder the block calls `mkdir(exist_ok=True)`. An existing file is replaced in
    one step. An existing folder keeps its other files: the written ones are replaced one by one, and during that the
    folder holds a file UNFINISHED. Scratch folders that killed processes left beside `path` are removed.

    Args:
        path: the file or folder. Missing folders above it are made.
        owns: patterns of the files that an earlier result may have left in an existing folder, such as "shot_*.mp4";
            those that were not written now are removed.
        seal: the file, in a folder that other results share, which says that this result is whole, such as
            "test/shot_1_result.json". An earlier one is removed first and the new one comes last, so there is no
            UNFINISHED, and others may write to the folder meanwhile.

    Raises:
        ValueError: `path` cannot be written, or is a folder where a file was made, or a file where a folder was made.
    """
    path = Path(path)
    missing = [parent for parent in path.parents if not parent.exists()]
    done = False
    try:
        with writing(path), _scratch(path) as scratch:
            place = scratch / (path.name if path.name not in ("", "..") else "folder")  # "." and ".." name no new place
            yield place
            try:
                _move(place, path, owns, seal)
            except OSError as error:
                raise _cannot(path, error.strerror or error) from error
        done = True
    finally:
        if not done:
            _remove_empty(missing)


@contextlib.contextmanager
def owned(folder: str | Path, shared: bool = False) -> Iterator[Path]:
    """Keeps other processes out of a result's folder for the block; yields the folder.

    It is made if it is not there, and removed if it is empty at the end.

    shared: whether processes that share it may own it together.

    Raises:
        Locked: another process owns it.
        Unwritable: it cannot be made.
    """
    folder = Path(folder)
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot(folder, error.strerror or error) from error
        with locked(folder, shared=shared):
            yield folder
    finally:
        _remove_empty(missing)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Removes folders in which there is nothing, the inner ones first."""
    for folder in folders:
        with contextlib.suppress(OSError):  # something else is in it
            folder.rmdir()


@contextlib.contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A folder beside `path`, hence on the same disk, where moving is one step; it is locked while it is used."""
    # A link may lead to another disk, and the root of a disk has nothing on that disk beside it.
    home = path if path.is_dir() and (path.is_symlink() or path.is_mount()) else path.parent
    try:
        home.mkdir(parents=True, exist_ok=True)
        _sweep(home.absolute())
        scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=home))
    except OSError as error:
        raise _cannot(path, error.strerror or error) from error
    try:
        with locked(scratch):
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@functools.cache
def _sweep(folder: Path) -> None:
    """Removes the scratch folders that nobody uses; once in a process, because a folder can have a million files."""
    for left in folder.glob(f"{_SCRATCH}*"):
        # A new one is not locked yet for a moment.
        with contextlib.suppress(OSError, Locked):
            if time.time() - left.stat().st_mtime > _LEFT:
                with locked(left, certain=True):
                    shutil.rmtree(left, ignore_errors=True)


class Locked(ValueError):
    """Another process has the lock of a folder."""


@contextlib.contextmanager
def locked(folder: Path, certain: bool = False, shared: bool = False) -> Iterator[None]:
    """Locks a folder for the block, or until the process ends.

    Where the system or the disk has no locks, the block runs without one.

    certain: whether that is an error, Locked, instead.
    shared: whether others may have the lock too, if they share it.

    Raises:
        Locked: another process has the lock.
    """
    handle = None
    try:
        try:
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            # Who had it may have removed or replaced the folder since it was opened.
            if not os.path.samestat(os.fstat(handle), os.stat(folder)):
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError) as error:
            raise Locked(f"another process is writing to {folder}; wait until it has ended") from error
        except (ImportError, OSError) as error:  # Windows; a disk without locks
            if certain:
                raise Locked(f"{folder} cannot be locked") from error
        yield
    finally:
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def reading(path: str | Path, what: str, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """The border to a library that reads a file: whatever it raises for a damaged one becomes one sentence.

    Args:
        path: the file.
        what: what the file should be, for example "an .npz file".
        passing: errors that the caller has a better sentence for; they pass.

    Raises:
        ValueError: the library raised any other error. One with the path in its words passes as it is.
    """
    try:
        yield
    except passing:
        raise
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist; give {what}") from error
    except RecursionError as error:
        raise ValueError(f"{path} cannot be read as {what}: it is nested too deeply") from error
    except MemoryError as error:
        raise ValueError(f"{path} cannot be read as {what}: there is too little memory for what it claims") from error
    # Libraries raise errors of all kinds for bytes that their authors never saw: KeyError, struct.error, BadZipFile, …
    except Exception as error:
        reason = " ".join(str(error).split())
        if str(path) in reason and isinstance(error, ValueError):
            raise
        raise ValueError(f"{path} cannot be read as {what}: {reason[:300] or type(error).__name__}") from error


def end_with_a_line(path: Path) -> None:
    """Removes a line that a killed process left unfinished at the end of a file of lines; there need be no file.

    The next line would be appended to it, and neither of the two could be read.
    """
    if path.exists() and (data := path.read_bytes()) and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def read_json(path: str | Path, kind: type = dict) -> Any:
    """Returns the value in a JSON file that describes something: a config, an index, a manifest, a journal.

    kind: the type that it must have; default a mapping.

    Raises:
        ValueError: there is no such file, it is not JSON, or its value is of another type.
    """
    path = Path(path)
    with reading(path, "a JSON file"):
        file_size(path, FILE)
        try:
            value = json.loads(path.read_text(encoding="utf-8-sig"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, kind):
        names = {dict: "a mapping of names to values", list: "a list"}
        raise ValueError(f"{path} should hold {names.get(kind, kind.__name__)}, and holds {shown(value)}")
    return value


def json_text(value: Any, indent: int | None = None) -> str:
    """Returns JSON for a file in UTF-8, which a person can read in any language.

    Halves of characters, as in names of files that are not UTF-8, are written as escapes.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def write_json(path: str | Path, value: Any, indent: int = 1) -> None:
    """Writes a file of JSON as `json_text` has it, whole or not at all (`replacing`)."""
    with replacing(path) as place:
        place.write_text(json_text(value, indent) + "\n", encoding="utf-8")


def _move(place: Path, path: Path, owns: Sequence[str], seal: str | None) -> None:
    """Gives a result its name; see `replacing`."""
    linked = path.is_symlink() or path.is_mount()
    shared = seal is not None or (path.is_dir() and (linked or any(path.iterdir())))
    if not (place.is_dir() and shared):
        os.replace(place, path)  # one step, in which an empty folder gives way too
        return
    files = [file.relative_to(place) for file in sorted(place.rglob("*")) if file.is_file()]
    of_before = (p for pattern in owns for p in path.glob(pattern) if place.parent not in p.parents)
    stale = {p.relative_to(path) for p in of_before} - set(files)
    old = [file for file in (*files, *stale) if (path / file).is_file()]
    before, mark = place.with_name("before"), place.with_name("mark")
    # The seal goes first and comes last.
    old.sort(key=lambda file: file != Path(seal or UNFINISHED))
    files.sort(key=lambda file: file == Path(seal or UNFINISHED))
    moves = [(path / file, before / file) for file in old] + [(place / file, path / file) for file in files]
    # Whatever needs room on the disk comes before the first file is moved.
    if seal is None:
        mark.write_text("The files of this folder were being replaced when the program was killed; run it again.\n")
        moves.insert(0, (mark, path / UNFINISHED))
    made = _folders(target.parent for _, target in moves)
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            os.replace(source, target)
            done.append((source, target))
    except BaseException:
        for source, target in reversed(done):
            os.replace(target, source)
        _remove_empty(made)
        raise
    _remove_empty([folder for folder in {(path / file).parent for file in stale} if folder != path])
    if seal is None:
        (path / UNFINISHED).unlink()


def _folders(folders: Iterable[Path]) -> list[Path]:
    """Makes folders, all or none; returns those that were made, the inner ones first."""
    made: list[Path] = []
    try:
        for folder in dict.fromkeys(folders):
            new = [place for place in (folder, *folder.parents) if not place.exists()]
            made[:0] = new
            folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        _remove_empty(made)
        raise
    return made


def _cannot(path: str | Path, reason: object) -> Unwritable:
    return Unwritable(f"{path} cannot be written: {reason}")
