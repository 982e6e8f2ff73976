"""Shots of DataDoP, the data set of GenDoP, as scenes: camera paths and captions, without videos."""

from pathlib import Path

from shotverse_jax.data.datadop.shots import CAPTIONS, list_shots, read_captions
from shotverse_jax.data.scenes.files import SceneFiles
from shotverse_jax.screenplay import Screenplay, Shot
from shotverse_jax.views.video import SUFFIXES

__all__ = ["CAPTIONS", "datadop_scenes", "datadop_screenplay"]


def datadop_scenes(folder: Path, split: str, caption: str) -> list[SceneFiles]:
    """Lists the shots of a folder laid out as DataDoP's; an empty list for any other folder.

    A video with the shot's name is used if someone has put it beside the poses.

    Args:
        folder: the data set.
        split: name of the part to read, as `data.datadop.shots.list_shots` takes it.
        caption: key of the caption file, a value of `CAPTIONS`.
    """
    scenes = []
    for shot in list_shots(folder, split):
        video = next((v for end in SUFFIXES if (v := Path(f"{shot.stem}{end}")).is_file()), None)
        files = str(shot.path("caption")), str(shot.path("transforms"))
        scenes.append(SceneFiles(shot.name, *files, video, caption=caption))
    return scenes


def datadop_screenplay(path: str | Path, caption: str) -> Screenplay:
    """Reads one caption of a DataDoP shot as a screenplay of one shot.

    Raises:
        ValueError: the file cannot be read or has no such caption.
    """
    try:
        text = read_captions(path).get(caption)
    except ValueError as error:
        raise ValueError(f"{path}: no captions can be read ({error})") from error
    if not text:
        raise ValueError(f"{path}: no caption called {caption!r}")
    return Screenplay("", (Shot(text),))
