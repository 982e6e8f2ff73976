"""Mutations of inputs: of bytes, of texts, of JSON trees, of single files by what they hold, and of whole folders."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

HUGE = 10**400
NUMBERS = ("nan", "-inf", "inf", "1e308", "-1e308", "1e-320", "1e400", "-1", "0", "-0", "1", "0.5", "1e9", "1_0")
NUMBERS += (str(2**31), str(2**32), str(2**63), str(2**64), "9" * 400, "9" * 5000, "½", "٣", "0x10", "1,5", "")
JUNK = (
    b"",
    b" ",
    b"\n",
    b"\r\n",
    b"#",
    b'"',
    b"'",
    b"\xff",
    b"\0",
    b"\x1b[2J",
    b",",
    b";",
    b":",
    b"[",
    b"]",
    b"{",
    b"}",
)
JUNK += (
    b"[" * 5000,
    b"null",
    b"true",
    b"NaN",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\xed\xa0\x80",
    b"x" * 5000,
    b"&a *a",
)
LEAVES: tuple[Any, ...] = (None, True, False, -1, 0, 1, 2, 0.5, 1e308, -1e308, float("nan"), float("inf"), 2**31, 2**63)
LEAVES += (
    2**64,
    HUGE,
    "",
    "1",
    "x",
    "\x00\x1b[2J",
    "../..",
    "/",
    [],
    {},
    [1, 2],
    [[]],
    {"a": 1},
    [0] * 20_000,
    "é" * 300,
)
ENCODINGS = ("utf-16", "utf-16-le", "utf-8-sig", "utf-32", "latin-1", "cp1252", "utf-7")


def deep(levels: int = 600) -> list:
    """A list that is nested too deeply for most readers."""
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


# ------------------------------------------------------------------------------------------------- bytes and texts


def of_bytes(data: bytes, draw: Random, others: Sequence[bytes] = ()) -> bytes:
    """Bits flipped, bytes cut off, left out, repeated, replaced or inserted, or the rest of another file."""
    start = draw.randrange(len(data) + 1)
    end = min(len(data), start + draw.choice((1, 3, 20, 200, len(data))))
    kind = draw.randrange(8)
    if kind == 0 and data:
        changed = bytearray(data)
        for _ in range(draw.choice((1, 1, 2, 8))):
            changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        return bytes(changed)
    if kind == 1:
        return data[:start]
    if kind == 2:
        return data[:start] + data[end:]
    if kind == 3:
        return data[:end] + data[start:end] * draw.choice((1, 2, 50)) + data[end:]
    if kind == 4:
        return data[:start] + bytes(end - start) + data[end:]
    if kind == 5 and others:
        other = draw.choice(others)
        return data[:start] + other[draw.randrange(len(other) + 1) :]
    junk = draw.choice(JUNK)
    return data[:start] + junk + data[(end if kind == 6 else start) :]


def of_text(data: bytes, draw: Random, others: Sequence[bytes] = ()) -> bytes:
    """A number, a word or a line changed, control characters, another encoding; sometimes as `of_bytes`."""
    text = data.decode("utf-8", "replace")
    kind = draw.randrange(9)
    if kind <= 2 and (found := list(re.finditer(r"-?\d+(?:\.\d+)?(?:[eE]-?\d+)?", text))):
        place = draw.choice(found)
        return (text[: place.start()] + draw.choice(NUMBERS) + text[place.end() :]).encode()
    if kind == 3 and (found := list(re.finditer(r"\w+", text))):
        place, other = draw.choice(found), draw.choice(found)
        word = draw.choice((other[0], draw.choice(NUMBERS), draw.choice(JUNK).decode("utf-8", "replace")))
        return (text[: place.start()] + word + text[place.end() :]).encode()
    if kind == 4:
        lines = text.split("\n")
        one, two = draw.randrange(len(lines)), draw.randrange(len(lines))
        change = draw.randrange(4)
        if change == 0:
            del lines[one]
        elif change == 1:
            lines.insert(one, lines[two])
        elif change == 2:
            lines[one], lines[two] = lines[two], lines[one]
        else:
            lines[one] = lines[one] * draw.choice((2, 40))
        return "\n".join(lines).encode()
    if kind == 5:
        place = draw.randrange(len(text) + 1)
        control = draw.choice(
            ("\x00", "\x1b]0;x\x07", "\u202e", "\ud800", "\x85", "\x0c", "\t" * 50, "\u2028", " " * 5000)
        )
        return (text[:place] + control + text[place:]).encode("utf-8", "surrogatepass")
    if kind == 6:
        return text.encode(draw.choice(ENCODINGS), "replace")
    return of_bytes(data, draw, others)


# ------------------------------------------------------------------------------------------------- JSON


def places(value: Any, where: tuple = ()) -> Iterator[tuple]:
    """The paths of all values in a JSON tree."""
    yield where
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield from places(child, (*where, key))


def at(value: Any, where: tuple) -> Any:
    """The value at a path."""
    for key in where:
        value = value[key]
    return value


def of_json(value: Any, draw: Random) -> Any:
    """A copy of a JSON tree in which one value is replaced, left out, renamed, repeated or wrapped."""
    value = json.loads(json.dumps(value))
    where = draw.choice(list(places(value)))
    kind = draw.randrange(8)
    if not where or kind == 0:
        new = draw.choice((*LEAVES, deep()))
        if not where:
            return new if draw.random() < 0.3 or not isinstance(value, dict) else value | {draw.choice("abc"): new}
        at(value, where[:-1])[where[-1]] = new
        return value
    *above, key = where
    parent, old = at(value, tuple(above)), at(value, where)
    if kind == 1:
        del parent[key]
    elif kind == 2 and isinstance(parent, dict):
        parent[draw.choice((f"{key}_", key.upper(), "", "kind", "\x00", f" {key}"))] = parent.pop(key)
    elif kind == 3 and isinstance(parent, list):
        parent.insert(draw.randrange(len(parent) + 1), json.loads(json.dumps(draw.choice(parent))))
    elif kind == 4:
        parent[key] = draw.choice(([old], {"x": old}, str(old), [old] * 3))
    elif kind == 5 and isinstance(old, int | float):
        parent[key] = draw.choice((-old, old + 1, old * 2, old // 3, 0.5, 2**63, float("nan"), 10**9, 0))
    elif kind == 6:
        parent[key] = json.loads(json.dumps(at(value, draw.choice(list(places(value))))))
    else:
        parent[key] = draw.choice(LEAVES)
    return value


def of_json_text(data: bytes, draw: Random) -> bytes:
    """The text of a changed JSON tree; of a text that is none, as `of_text`."""
    try:
        value = json.loads(data)
    except ValueError:
        return of_text(data, draw)
    return json.dumps(of_json(value, draw)).encode()


# ------------------------------------------------------------------------------------------------- files and folders


def of_safetensors(data: bytes, draw: Random) -> bytes:
    """A file whose header is changed as JSON; its tensors stay."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(of_json(json.loads(data[8 : 8 + size]), draw)).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def of_gltf(data: bytes, draw: Random) -> bytes:
    """A .glb whose JSON is changed and whose lengths are right again."""
    size = int.from_bytes(data[12:16], "little")
    text = json.dumps(of_json(json.loads(data[20 : 20 + size]), draw)).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + size :]
    return (
        b"glTF"
        + b"".join(n.to_bytes(4, "little") for n in (2, 20 + len(text) + len(rest), len(text)))
        + b"JSON"
        + text
        + rest
    )


STRUCTURED: dict[str, Callable[[bytes, Random], bytes]] = {
    ".json": of_json_text,
    ".safetensors": of_safetensors,
    ".glb": of_gltf,
}
"""Suffix → a mutation that leaves the file one of its format."""


def of_file(path: Path, draw: Random, others: Sequence[bytes] = ()) -> None:
    """Changes what a file holds: by its structure, as a text, or as bytes."""
    data = path.read_bytes()
    kind = draw.random()
    if kind < 0.5 and path.suffix in STRUCTURED and (changed := _structured(path.suffix, data, draw)) is not None:
        path.write_bytes(changed)
    elif kind < 0.8 and b"\0" not in data:
        path.write_bytes(of_text(data, draw, others))
    else:
        path.write_bytes(of_bytes(data, draw, others))


def _structured(suffix: str, data: bytes, draw: Random) -> bytes | None:
    """The changed file; None for one that is damaged already."""
    try:
        return STRUCTURED[suffix](data, draw)
    except (ValueError, RecursionError, LookupError):
        return None


def files_of(folder: Path) -> list[Path]:
    """The files below a folder, always in one order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def of_folder(folder: Path, draw: Random, files: Sequence[Path] = (), contents: float = 0.6) -> None:
    """Changes one file of a folder, or takes it away, swaps, renames or copies it, or puts something else in its place.

    files: those that may be changed; by default all.
    contents: share of the cases in which what a file holds is changed.
    """
    files = list(files) or files_of(folder)
    path = draw.choice(files)
    other = draw.choice(files)
    if draw.random() < contents:
        of_file(path, draw, [other.read_bytes()])
        return
    kind = draw.randrange(9)
    if kind == 0:
        path.unlink()
    elif kind == 1:
        data, old = other.read_bytes(), path.read_bytes()
        other.write_bytes(old)
        path.write_bytes(data)
    elif kind == 2:
        path.unlink()
        path.mkdir()
    elif kind == 3:
        path.unlink()
        path.symlink_to(draw.choice(("nowhere", path.name, ".", "/dev/null")))
    elif kind == 4:
        path.write_bytes(b"")
    elif kind == 5:
        path.rename(path.with_name(draw.choice((f"{path.name}.bak", path.name.upper(), f"x{path.name}", "0"))))
    elif kind == 6:
        path.write_bytes(other.read_bytes())
    elif kind == 7 and path.parent != folder:
        shutil.rmtree(path.parent)
    else:
        beside = path.with_name(draw.choice((f"{path.stem}-2{path.suffix}", "notes", ".hidden", f"a{path.suffix}")))
        if not beside.exists():
            beside.write_bytes(draw.choice((b"", b"{}", path.read_bytes())))
