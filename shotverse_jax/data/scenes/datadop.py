"""Shots of DataDoP, the data set of GenDoP, as it is published: camera paths and captions, without videos."""

import json
from pathlib import Path

from shotverse_jax.data.scenes.files import SceneFiles
from shotverse_jax.screenplay import Screenplay, Shot
from shotverse_jax.views.video import SUFFIXES

CAPTIONS = {"movement": "Movement", "detailed": "Detailed Interaction", "concise": "Concise Interaction"}
"""Short names of a shot's three captions, and their keys in a caption file of DataDoP."""
_POSES, _CAPTION = "_transforms_cleaning.json", "_caption.json"


def datadop_scenes(folder: Path, split: str, caption: str) -> list[SceneFiles]:
    """Lists the shots of a folder laid out as DataDoP's; an empty list for any other folder.

    The shots are <split>/<video>/<shot>_transforms_cleaning.json, or the same without <split>. Where <split>_valid.txt
    exists, it names the shots to use. A video with the shot's name is used if someone has put it beside the poses.

    Args:
        folder: the data set.
        split: name of the part to read.
        caption: key of the caption file, a value of `CAPTIONS`.
    """
    listed = folder / f"{split}_valid.txt"
    root = folder / split if (folder / split).is_dir() else folder
    if listed.is_file():
        # The lines of DataDoP's lists are <video>/<shot>, without the split in front.
        stems = [root / line for line in listed.read_text(encoding="utf-8").split()]
    else:
        stems = [Path(str(path).removesuffix(_POSES)) for path in sorted(root.rglob(f"*{_POSES}"))]
    videos = [next((v for end in SUFFIXES if (v := Path(f"{stem}{end}")).is_file()), None) for stem in stems]
    return [
        SceneFiles(str(stem.relative_to(root)), f"{stem}{_CAPTION}", f"{stem}{_POSES}", video, caption=caption)
        for stem, video in zip(stems, videos, strict=True)
    ]


def datadop_screenplay(path: str | Path, caption: str) -> Screenplay:
    """Reads one caption of a DataDoP shot as a screenplay of one shot.

    Raises:
        ValueError: the file cannot be read or has no such caption.
    """
    try:
        captions = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no captions can be read ({error})") from error
    text = captions.get(caption) if isinstance(captions, dict) else None
    if not text:
        raise ValueError(f"{path}: no caption called {caption!r}")
    return Screenplay("", (Shot(text),))
