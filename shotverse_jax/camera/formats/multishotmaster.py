"""Lists of films for MultiShotMaster: a folder with a .csv of frame ranges and a .json of captions for each film.

The .csv has the columns `shot_groups` (`[[0, 37], [37, 62]]`: first frame of each shot and the one after its last) and
`gemini_caption` (a .json file with `global_caption`, `shot0`, `shot1`, …). MultiShotMaster takes one to five shots and
77 to 308 frames. The format holds NO cameras: those of a film that is read stand still at the origin, so that its cuts
and captions can become an edit list. Time is not stored; MultiShotMaster's films have 16 frames per second.
"""

import ast
import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.limits import POSES

RANGES, CAPTIONS = "shot_groups", "gemini_caption"
LIST = "multishot.csv"


def fits(text: str) -> bool:
    """Returns whether the text of a .csv file is such a list."""
    return RANGES in text.split("\n", 1)[0]


def list_in(folder: Path) -> Path | None:
    """Returns the list in a folder, None where there is none."""
    return folder / LIST if (folder / LIST).exists() else None


@common.reader
def read(path: Path, *, film: int = 0) -> common.Reading:
    """Reads line `film` (from 0) of the list, a folder or the .csv itself."""
    path = path / LIST if path.is_dir() else path
    try:
        lines = list(csv.DictReader(io.StringIO(common.read_text(path))))
    except csv.Error as error:
        raise ValueError(f"not a table: {error}") from error
    if not lines or not lines[0].get(RANGES):
        raise ValueError(f"expected a column '{RANGES}' with frame ranges like [[0, 37], [37, 62]] and a line below it")
    if film >= len(lines):
        raise ValueError(f"no film {film}; the list has films 0 to {len(lines) - 1}")
    line, what = lines[film], f"film {film}"
    edges = _ranges(line.get(RANGES) or "", what)
    notes = ["the list holds no cameras: every shot stands still at the origin"]
    if len(lines) > 1:
        notes.append(f"film {film} of {len(lines)} was read; the option film=NUMBER reads another")
    scene, captions, note = _captions(path.parent, line.get(CAPTIONS), len(edges))
    shot_T = np.repeat(np.arange(len(edges)), (edges[:, 1] - edges[:, 0]).astype(int))
    return common.Reading(
        pose_T34=np.tile(np.eye(3, 4), (len(shot_T), 1, 1)),
        shot_T=shot_T,
        captions=captions,
        global_caption=scene,
        notes=[*notes, *note],
    )


def _ranges(text: str, what: str) -> np.ndarray:
    """'[[0, 37], [37, 62]]' → [K, 2]."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"{what}: expected frame ranges like [[0, 37], [37, 62]], got '{text[:60]}'") from error
    if not isinstance(value, list) or not value:
        raise ValueError(f"{what}: expected frame ranges like [[0, 37], [37, 62]], got '{text[:60]}'")
    edges = common.numbers(value, (len(value), 2), f"{what}: '{RANGES}'")
    start, end = edges.T
    if start[0] != 0 or (start[1:] != end[:-1]).any() or (end <= start).any() or (edges != np.round(edges)).any():
        raise ValueError(f"{what}: the ranges should follow each other from frame 0 without gaps, got {text[:60]}")
    if end[-1] > POSES:
        raise ValueError(f"{what}: {end[-1]:g} frames are too many")
    return edges


def _captions(folder: Path, name: Any, shots: int) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """(the scene's caption, one a shot, a note) of the file that a list names; without the file they are empty."""
    if not isinstance(name, str) or not name.strip():
        return "", (), ()
    # The list is run from another folder than its own, so the file is also looked for beside it.
    places = [place for place in (folder / name, folder / Path(name).name) if place.is_file()]
    if not places:
        return "", (), (f"the captions of {name[:80]} were left out: there is no such file",)
    doc = common.load_json(places[0])
    keys = ("global_caption", *(f"shot{k}" for k in range(shots)))
    texts = [doc.get(key, "") for key in keys] if isinstance(doc, dict) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{places[0].name}: expected 'global_caption', 'shot0', 'shot1', … with texts")
    return texts[0], tuple(texts[1:]), ()


def write(trajectory: Trajectory, path: Path, *, root: str = ".") -> None:
    """Writes the folder, a list of one film; `root` is its path as the list should give it to MultiShotMaster."""
    name = "captions_0.json"
    captions = {"global_caption": trajectory.global_caption}
    captions |= {f"shot{k}": caption for k, caption in enumerate(trajectory.captions)}
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerows([(RANGES, CAPTIONS), (json.dumps([list(span) for span in trajectory.spans]), f"{root}/{name}")])
    path.mkdir()
    (path / LIST).write_text(out.getvalue(), encoding="utf-8")
    text = json.dumps(captions, indent=4, ensure_ascii=False)
    (path / name).write_text(text + "\n", encoding="utf-8")


FORMAT = common.Format(
    name="multishotmaster",
    suffixes=(),
    description="list for MultiShotMaster: a folder with frame ranges (.csv) and captions (.json)",
    convention="cuts and captions alone; no cameras, lens or time",
    keeps=frozenset({"cuts", "captions"}),
    read=read,
    write=write,
    folder=True,
)
