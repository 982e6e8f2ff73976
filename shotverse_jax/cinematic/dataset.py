"""Folders of clips of the stage, a clip of every class from each source, in the form of `data.cinematic2k`."""

from collections.abc import Callable, Sequence
from pathlib import Path

from shotverse_jax import limits
from shotverse_jax.cinematic.clips import stage_clip
from shotverse_jax.cinematic.phrases import CLASSES, named
from shotverse_jax.data.cinematic2k import SPLITS, ClipFile, counts, write_captions
from shotverse_jax.files import json_text, owned, read_json, write_json
from shotverse_jax.views.video import write_video

SETTINGS = "stage_clips.json"
"""File of a folder with the size and the rate of its clips."""

Progress = Callable[[str, int, int], None]


def write_stage_clips(
    folder: str | Path,
    clips: int,
    classes: Sequence[str] = tuple(CLASSES),
    height: int = 96,
    width: int = 144,
    fps: float = 8.0,
    progress: Progress | None = None,
) -> list[ClipFile]:
    """Writes a data set of stage clips; a call that was stopped goes on, and a larger number adds clips.

    Args:
        folder: the data set. It may have clips of an earlier call with the same size and rate.
        clips: clips of each class, of as many sources; 80, 10 and 10 % of them are in the three splits.
        classes: names of the classes; default all.
        height, width: size in pixels, even.
        fps: frames per second.
        progress: called after every clip with ("clips", done, total); None (default) for nobody.

    Returns:
        The clips.

    Raises:
        ValueError: a class is unknown, a number is out of range, there are fewer than three clips of a class, the
            folder has clips of another size or rate, or another program writes to it.
    """
    limits.whole(clips, "the clips of a class", len(SPLITS), limits.COUNT)
    limits.film(None, height, width, fps)
    if height % 2 or width % 2:
        raise ValueError(f"the height and the width of a clip must be even, got {height} and {width}")
    for name in classes:
        named(name)
    folder, done = Path(folder), []
    settings = {"height": height, "width": width, "fps": float(fps)}
    sources = [(split, k) for split, count in zip(SPLITS, counts(clips), strict=True) for k in range(count)]
    with owned(folder):
        _check_settings(folder, settings)
        for split, number in sources:
            for name in classes:
                clip = stage_clip(name, number, split, **settings)
                path = folder / split / name / f"{number:06d}.mp4"
                if not path.exists():  # a video is whole or not there
                    write_video(path, clip.frames(), fps)
                done.append(ClipFile(path, split, name, clip.caption, clip.source))
                if progress is not None:
                    progress("clips", len(done), len(sources) * len(classes))
        write_captions(folder, done)
    return done


def _check_settings(folder: Path, settings: dict) -> None:
    path = folder / SETTINGS
    if path.exists():
        if (old := read_json(path)) != settings:
            raise ValueError(f"{folder} has clips of other settings, {json_text(old)}; give another folder")
        return
    write_json(path, settings)
