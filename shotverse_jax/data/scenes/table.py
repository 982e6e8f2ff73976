"""Scenes listed in a table, CSV or JSON lines, with the columns video, screenplay, trajectory and cuts."""

import json
import re
from pathlib import Path

from shotverse_jax import limits
from shotverse_jax.data.scenes.files import SceneFiles
from shotverse_jax.text_files import decode, read_table


def table_scenes(path: Path) -> list[SceneFiles]:
    """Lists the scenes of a table, one per row. Paths in it are relative to the table's folder.

    The columns `screenplay` and `trajectory` must be there; `video` and `cuts` may be missing or empty. A screenplay
    may also be the text of a HoloCine prompt.

    Raises:
        ValueError: the file cannot be read as a table, or a row lacks a column or has cuts that are not numbers.
    """
    try:
        limits.file_size(path, limits.FILE)
        text = decode(path.read_bytes()).text
        if path.suffix.lower() == ".csv":
            columns, lines = read_table(text)
            rows = [dict(zip(columns, cells, strict=False)) for _, cells in lines]
        elif path.suffix.lower() in (".jsonl", ".ndjson"):
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        else:
            raise ValueError("a table of scenes ends in .csv or .jsonl")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from error
    return [_scene(path, number, row) for number, row in enumerate(rows, 1)]


def _scene(path: Path, number: int, row) -> SceneFiles:
    if not isinstance(row, dict) or not {"screenplay", "trajectory"} <= row.keys():
        raise ValueError(f"{path}, row {number}: expected the columns video, screenplay, trajectory and maybe cuts")
    value = {key: (cell or "") for key, cell in row.items() if key in ("video", "screenplay", "trajectory")}
    screenplay = str(value["screenplay"])
    if "shot caption]" not in screenplay.lower():  # otherwise the cell holds the prompt itself
        screenplay = str(path.parent / screenplay)
    place = f"{path}, row {number}"
    name = f"row {number}, {value.get('video') or value['trajectory']}"
    video = path.parent / value["video"] if value.get("video") else None
    return SceneFiles(name, screenplay, str(path.parent / value["trajectory"]), video, _cuts(row.get("cuts"), place))


def _cuts(cell, place: str) -> tuple[int, ...] | None:
    """Frame numbers in a cell, which is a list or a text with numbers between any other characters; None for none."""
    if cell is None or cell == "":
        return None
    cuts = cell if isinstance(cell, list) else re.findall(r"-?[\d.]+", str(cell))
    try:
        return tuple(int(cut) for cut in cuts)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{place}: cuts are frame numbers, as in '97 180'; got {str(cell)[:60]!r}") from error
