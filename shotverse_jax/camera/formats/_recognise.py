"""What tells the formats apart that share a suffix: the one place for it."""

import re
from pathlib import Path
from typing import Any

from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import _tables as tables
from shotverse_jax.camera.formats import csv_table, euroc, monst3r, multishotmaster

COLUMNS = {8: "tum", 12: "kitti", 13: "kitti", 16: "kitti", 17: "kitti", 18: "realestate10k", 19: "realestate10k"}
"""Numbers in a line of a text file → format."""


@common.reader
def json_format(path: Path) -> str:
    """Returns the name of the format of a .json file."""
    doc = common.load_json(path)
    for name, fits in JSON.items():
        if fits(doc):
            return name
    raise ValueError(
        "not a known camera file; expected 'frames', 'camera_path', frame0 … frameN, cameras with 'position' and "
        "'rotation', or a list of 12 numbers per frame"
    )


def _objects(values: Any) -> list[dict]:
    """The values if all of them are objects, else nothing."""
    values = list(values)
    return values if all(isinstance(value, dict) for value in values) else []


# Asked in this order. A list that holds no objects can only be meant for MotionCtrl, whose reader says what is wrong.
JSON = {
    "3dgs": lambda doc: isinstance(doc, list) and any("rotation" in camera for camera in _objects(doc)[:1]),
    "motionctrl": lambda doc: isinstance(doc, list),
    "shotverse": lambda doc: isinstance(doc, dict) and "frames" in doc,
    "camera_path": lambda doc: isinstance(doc, dict) and "camera_path" in doc,
    "omnicam": lambda doc: isinstance(doc, dict) and "cameras" in doc and "timeline" in doc,
    "recammaster": lambda doc: isinstance(doc, dict) and any(re.fullmatch(r"frame\d+", key) for key in doc),
    "shotdirector": lambda doc: isinstance(doc, dict) and any("extrinsic" in e for e in _objects(doc.values())),
}


@common.reader
def text_format(path: Path) -> str:
    """Returns the name of the format of a .txt file, by the numbers in its lines."""
    table = tables.read_table(common.read_text(path))
    if monst3r.fits(path, table):
        return "monst3r"
    # A URL comes before the lines of RealEstate10K alone; its reader says how many numbers they should have.
    if any("://" in line for line in table.heading):
        return "realestate10k"
    if table.columns in COLUMNS and len(table.heading) <= 1:
        return COLUMNS[table.columns]
    index = "; a running number before the eight of tum should go" if table.columns == 9 else ""
    raise ValueError(
        "not a known camera file; expected lines of 8 numbers (tum), of 12 or 16 with or without a frame number before "
        f"them (kitti), or of 19 or 18 (realestate10k), got {table.columns} columns{index}"
    )


@common.reader
def csv_format(path: Path) -> str:
    """Returns the name of the format of a .csv file, by its first line and its columns."""
    text = common.read_text(path)
    if multishotmaster.fits(text):
        return "multishotmaster"
    table = tables.read_table(text)
    if euroc.fits(table):
        return "euroc"
    own = table.names[:1] == csv_table.COLUMNS.split(",")[:1]
    return "csv" if own else COLUMNS.get(table.columns, "csv")


def folder_format(path: Path) -> str:
    """Returns the name of the format of a folder."""
    return "multishotmaster" if multishotmaster.list_in(path) else "colmap"
