"""The files of one scene, and which part of a scene a file is."""

import dataclasses
import json
from pathlib import Path

from shotverse_jax.camera.formats import FORMATS
from shotverse_jax.views.video import SUFFIXES


@dataclasses.dataclass(frozen=True)
class SceneFiles:
    """The places of a scene's parts. Nothing is checked here: a missing part is reported when the scene is read.

    Attributes:
        name: the scene's name in messages.
        screenplay: path of the screenplay file, or the text of a HoloCine prompt.
        trajectory: path of the camera path, in any format that `camera.formats` reads.
        video: path of the video; None for a scene that only a planner can learn from.
        cuts: first frame of each of the shots 1..K-1, counted in the video's frames (without a video in poses of the
            path). None (default) when the path or the durations of the screenplay give them.
        caption: key of the caption to use. It is set where `screenplay` is a caption file of DataDoP, else None.
    """

    name: str
    screenplay: str
    trajectory: str
    video: Path | None = None
    cuts: tuple[int, ...] | None = None
    caption: str | None = None


def part_of_scene(path: Path) -> str | None:
    """Returns "video", "screenplay" or "trajectory" by a file's suffix or content, None for any other file."""
    suffix, name = path.suffix.lower(), path.name.lower()
    if suffix in SUFFIXES:
        return "video"
    if suffix in (".yaml", ".yml", ".holocine", ".fountain", ".fdx", ".md") or name.endswith(".holocine.txt"):
        return "screenplay"
    # A .json or .txt file can be a screenplay or a camera path; only its content decides.
    if suffix == ".json":
        try:
            doc = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return "trajectory"  # its reader says what is wrong
        # A trajectory.json of this project has "shots" too, but beside a list of frames.
        is_play = isinstance(doc, dict) and {"shots", "shot_captions", "shot_list", "scenes"} & doc.keys()
        is_play = is_play and not isinstance(doc.get("frames"), list)
        return "screenplay" if is_play else "trajectory"
    if suffix == ".txt":
        return "trajectory" if _ends_in_numbers(path) else "screenplay"
    known = tuple(end for form in FORMATS.values() if form.read for end in form.suffixes if end)
    return "trajectory" if name.endswith(known) else None


def _ends_in_numbers(path: Path) -> bool:
    """Returns True when every word of the file's last line is a number."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.split() for line in reversed(lines) if line.strip()), ["nothing"])
    try:
        return bool([float(word) for word in last])
    except ValueError:
        return False
