"""Lists of screenplays: what a batch is made of, from JSON lines, a table or a folder.

A row names a screenplay and whatever shall be different for it. An entry that cannot be used becomes a `Refused`, so
that one bad row of ten thousand stops nothing.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from shotverse_jax import limits
from shotverse_jax.limits import shown
from shotverse_jax.screenplay import Screenplay, parse_text, read_screenplay, to_text
from shotverse_jax.text_files import decode, read_table, read_yaml

SUFFIXES = (".txt", ".md", ".yaml", ".yml", ".json", ".holocine", ".fountain", ".fdx")
"""Files of a folder that are read as screenplays."""

OPTIONS = ("seed", "samples", "frames", "size", "trajectory", "read", "negative", "lora", "scene")
_RANGES = {
    "seed": (0, limits.SEEDS - 1),
    "samples": (1, limits.SAMPLES),
    "frames": (1, limits.FRAMES),
    "scene": (1, limits.COUNT),
}
_INLINE = ("caption", "global_caption", "shots", "fps", "width", "height")
RECORD = "result.json"
_NAME = re.compile(r"[\w][\w .()+=,@-]{0,199}")


class Place(NamedTuple):
    """Where the result of an item is.

    Attributes:
        folder: the folder of its files.
        record: the name of its record there.
        owns: names of all files that it may have, where results of several items share the folder; none where the
            folder is the item's own.
    """

    folder: Path
    record: str = RECORD
    owns: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry of a list, of which a batch makes one result.

    Attributes:
        id: its name, unique in the list; the name of its folder of results.
    """

    id: str

    @property
    def files(self) -> tuple[str, ...]:
        """The files that decide its result."""
        return ()

    @property
    def head(self) -> dict[str, Any]:
        """The beginning of its record."""
        return {"id": self.id}

    def values(self) -> dict[str, Any]:
        """Returns everything beside its files that decides its result."""
        return dataclasses.asdict(self)

    def place(self, out: Path) -> Place:
        """Where its result is in the folder of results."""
        return Place(out / self.id)


@dataclasses.dataclass(frozen=True)
class Item(Entry):
    """One screenplay of a list and what is asked for it.

    Attributes:
        screenplay: what happens.
        seed: decides plan and film; default 0.
        samples: how many plans or films; default 1.
        frames: of the film, 4t+1; None takes the screenplay's.
        size: (height, width) in pixels of the film; None takes the model's.
        trajectory: a file with the cameras of a film; None has them planned.
        read: (name, value) options with which that file is read, as `--read` takes them; "from" names its format.
        negative: the prompt that a film is steered away from; None takes the model's.
        lora: adapters of a film, each as `--lora` takes it; none by default.
    """

    screenplay: Screenplay
    seed: int = 0
    samples: int = 1
    frames: int | None = None
    size: tuple[int, int] | None = None
    trajectory: str | None = None
    read: tuple[tuple[str, Any], ...] = ()
    negative: str | None = None
    lora: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The files beside the screenplay and the adapters that decide its result."""
        return (self.trajectory,) if self.trajectory else ()

    @property
    def head(self) -> dict[str, Any]:
        """The beginning of its record."""
        return {"id": self.id, "seed": self.seed, "samples": self.samples}

    def values(self) -> dict[str, Any]:
        """Returns everything beside its files that decides its result; the notes of the screenplay do not."""
        return dataclasses.asdict(self) | {"screenplay": to_text(self.screenplay, "json")}


@dataclasses.dataclass(frozen=True)
class Refused:
    """An entry of a list that cannot be used.

    Attributes:
        id: its name, or where it is in the list if it has none.
        error: one sentence that says why.
    """

    id: str
    error: str

    @property
    def head(self) -> dict[str, Any]:
        """The beginning of its record."""
        return {"id": self.id}


def read_items(path: str | Path, scene: int | None = None) -> list[Item | Refused]:
    """Reads a list of screenplays, in its order.

    Args:
        path: one of
            - a .jsonl file: an object a line. `screenplay` is the path of a file (beside the list) or an object,
              `text` is a screenplay as text, or the keys of a screenplay (caption, shots) stand in the row itself.
              Beside it: id and the options of `Item`; size is "480x832", lora a text or a list of texts,
              read an object like {"up": "z"} or a text like "up=z; fps=24".
            - a .csv file with a header, as `text_files.read_table` reads it: the columns screenplay or text, and id and
              options; several lora are separated by ";". An empty cell is no value.
            - a folder: every screenplay file in it, by name.
            An entry without an id has that of its file, or item_<number>.
        scene: of every entry that names none, as `read_screenplay` takes it; None (default) takes the first.

    Raises:
        ValueError: the list itself cannot be read, has a column of another name, or is empty.
    """
    path = Path(path)
    try:
        rows = _folder(path) if path.is_dir() else table_rows(path, ("id", "screenplay", "text", *OPTIONS))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    if not rows:
        raise ValueError(f"{path} holds no screenplays")
    items, seen = [], set()
    for number, (where, row) in enumerate(rows, 1):
        item = _item(row, where, number, path if path.is_dir() else path.parent, scene)
        if item.id in seen:
            item = Refused(where, f"the id {item.id!r} is taken by an earlier entry; give every entry its own")
        seen.add(item.id)
        items.append(item)
    return items


Row = tuple[str, Mapping[str, Any] | ValueError]


def _folder(folder: Path) -> list[Row]:
    files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES and file.is_file()]
    return [(file.name, {"screenplay": file.name}) for file in files]


def table_rows(path: Path, known: Sequence[str]) -> list[Row]:
    """Reads the rows of a list, .jsonl or .csv, each with where it is; a row that cannot be read is an error.

    known: the columns that a .csv may have; an empty cell is no value.

    Raises:
        ValueError: it is no such file, or has another column.
    """
    suffix = path.suffix.lower()
    if suffix not in (".jsonl", ".csv"):
        raise ValueError(f"{path} is no list: give a .jsonl or .csv file, or a folder")
    limits.file_size(path, limits.FILE)
    data = path.read_bytes()
    try:
        text = decode(data).text
        return list(_lines(text) if suffix == ".jsonl" else _cells(text, known))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _lines(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            row = ValueError(f"it is not JSON: {error}")
        if not isinstance(row, dict | ValueError):
            row = ValueError('a line is an object, like {"id": "one", …}')
        yield f"line {number}", row


def _cells(text: str, known: Sequence[str]) -> Iterator[Row]:
    columns, rows = read_table(text)
    if unknown := [name for name in columns if name not in known]:
        raise ValueError(f"there is no column {shown(unknown[0])}; columns are {', '.join(known)}")
    for number, cells in rows:
        if any(cells[len(columns) :]):
            yield f"line {number}", ValueError("it has more cells than the header")
        else:
            yield f"line {number}", {name: cell for name, cell in zip(columns, cells, strict=False) if cell}


def _item(
    row: Mapping[str, Any] | ValueError, where: str, number: int, beside: Path, scene: int | None
) -> Item | Refused:
    name = where
    try:
        if isinstance(row, ValueError):
            raise row
        name = _id(row, number)
        if unknown := [key for key in row if key not in ("id", "screenplay", "text", *OPTIONS, *_INLINE)]:
            raise ValueError(
                f"it has no key {shown(unknown[0])}; the keys are id, screenplay, text, {', '.join(OPTIONS)}"
            )
        options = _options(row, beside)
        return Item(name, _screenplay(row, beside, options.pop("scene", scene)), **options)
    except ValueError as error:
        return Refused(name, " ".join(str(error).split()))


def _id(row: Mapping[str, Any], number: int) -> str:
    screenplay = row.get("screenplay")
    name = row.get("id", Path(screenplay).stem if isinstance(screenplay, str) else f"item_{number:06d}")
    name = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
    # The name becomes a folder: it must be one on every system, and no way out of the results.
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith((".", " ")):
        raise ValueError(f"an id is a name of letters, digits and _-. that begins with a letter, got {shown(name)}")
    return name


def _screenplay(row: Mapping[str, Any], beside: Path, scene: int | None) -> Screenplay:
    inline = {key: row[key] for key in _INLINE if key in row}
    given = [name for name in ("screenplay", "text") if name in row] + ["caption and shots"] * bool(inline)
    if len(given) != 1:
        raise ValueError(
            f"it needs one of screenplay, text, or caption and shots; it has {' and '.join(given) or 'none'}"
        )
    value = row.get(given[0], inline)
    if isinstance(value, dict):
        return parse_text(json.dumps(value), "json", scene)
    if not isinstance(value, str):
        raise ValueError(f"{given[0]} must be text{' or an object' * (given[0] == 'screenplay')}")
    return parse_text(value, scene=scene) if given[0] == "text" else read_screenplay(beside / value, scene)


def _options(row: Mapping[str, Any], beside: Path) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, (least, most) in _RANGES.items():
        if row.get(name) is not None:
            options[name] = _whole(row[name], name, least, most)
    for name in ("negative", "trajectory"):
        if row.get(name) is not None:
            if not isinstance(row[name], str):
                raise ValueError(f"{name} must be text")
            options[name] = row[name] if name == "negative" else str(beside / row[name])
    if row.get("read") is not None:
        if "trajectory" not in options:
            raise ValueError("read says how a trajectory is read; give one")
        options["read"] = _read(row["read"])
    if row.get("size") is not None:
        match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(row["size"]).strip().lower())
        if not match:
            raise ValueError(f"size is HEIGHTxWIDTH like 480x832, got {shown(row['size'])}")
        options["size"] = tuple(limits.whole(int(side), "height and width", 1, limits.SIDE) for side in match.groups())
    if row.get("lora") is not None:
        parts = row["lora"].split(";") if isinstance(row["lora"], str) else row["lora"]
        if not isinstance(parts, list) or not all(isinstance(part, str) and part.strip() for part in parts):
            raise ValueError("lora is [NAME=]FILE[@SCALE][:high|low], or a list of such texts")
        options["lora"] = tuple(part.strip() for part in parts)
    return options


def _read(value: Any) -> tuple[tuple[str, Any], ...]:
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(";") if part.strip()]
        if not all(equals for _, equals, _ in pairs):
            raise ValueError(f"read is NAME=VALUE, several separated by ';', got {shown(value)}")
        value = {
            name.strip().replace("-", "_"): read_yaml(text, f"the value of {name.strip()}") for name, _, text in pairs
        }
    if not isinstance(value, dict):
        raise ValueError(f'read is an object like {{"up": "z"}}, or a text like "up=z; fps=24", got {shown(value)}')
    return tuple(value.items())


def _whole(value: Any, name: str, least: int, most: int) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value.strip()):
        value = int(value)  # cells of a table are text
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return limits.whole(value, name, least, most)
