"""Folders of clips with a class and a caption, split by source: the form of Cinematic2K (arXiv 2412.12223).

The data set itself was never released, and the paper says no more than that a clip has a class and an annotation, so
this layout is our own:

    FOLDER/train/pan-left/000012.mp4        a clip, in the folder of its class
    FOLDER/train/captions.jsonl             a line for each: {"clip": "pan-left/000012.mp4", "class": "pan-left",
                                            "caption": "…", "source": "…"}
    FOLDER/val/…, FOLDER/test/…             the other splits; a source, such as a video that clips were cut from, is in
                                            one split only

captions.jsonl is written last, so a split that has one is whole.
"""

import dataclasses
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from shotverse_jax import limits
from shotverse_jax.files import json_text, replacing

SPLITS = ("train", "val", "test")
SHARES = (0.8, 0.1, 0.1)
"""Shares of the sources that belong to the splits."""
CAPTIONS = "captions.jsonl"
KEYS = ("clip", "class", "caption", "source")


@dataclasses.dataclass(frozen=True)
class ClipFile:
    """One clip of a folder.

    Attributes:
        path: the video.
        split: word of `SPLITS`.
        name: its class.
        caption: what is seen, in words.
        source: what it was cut from, or rendered of.
    """

    path: Path
    split: str
    name: str
    caption: str
    source: str


def counts(number: int) -> tuple[int, int, int]:
    """Returns how many of `number` sources are for training, validation and test: 80, 10 and 10 %, one at least.

    Raises:
        ValueError: there are fewer than three.
    """
    if number < len(SPLITS):
        raise ValueError(f"three splits need three sources or more, got {number}")
    test = max(1, round(number * SHARES[2]))
    val = max(1, round(number * SHARES[1]))
    return number - val - test, val, test


def split_of(sources: Sequence[str]) -> dict[str, str]:
    """Returns the split of every source, by the checksums of their names: the order in which they come is no matter.

    Raises:
        ValueError: there are fewer than three sources.
    """
    order = sorted(set(sources), key=lambda source: (zlib.crc32(source.encode()), source))
    edges = [split for split, count in zip(SPLITS, counts(len(order)), strict=True) for _ in range(count)]
    return dict(zip(order, edges, strict=True))


def write_captions(folder: str | Path, clips: Sequence[ClipFile]) -> None:
    """Writes captions.jsonl of all splits, after the videos; `read_clips` reads the folder then.

    Raises:
        ValueError: a source is in several splits, or a clip is not where its split and class belong.
    """
    folder = Path(folder)
    _check_sources(clips)
    for split in SPLITS:
        lines = []
        for clip in (clip for clip in clips if clip.split == split):
            if clip.path.parent != folder / split / clip.name:
                raise ValueError(f"{clip.path} should be in {folder / split / clip.name}")
            values = (f"{clip.name}/{clip.path.name}", clip.name, clip.caption, clip.source)
            lines.append(json_text(dict(zip(KEYS, values, strict=True))) + "\n")
        if lines:
            with replacing(folder / split / CAPTIONS) as place:
                place.write_text("".join(lines), encoding="utf-8")


def read_clips(folder: str | Path, split: str | None = None) -> list[ClipFile]:
    """Returns the clips of a folder, in the order of its files; the videos are not opened.

    Args:
        folder: the data set.
        split: a word of `SPLITS`; None (default) for all that are there.

    Raises:
        ValueError: there is no such folder or split, a line is damaged, a video is missing, a clip is not in the folder
            of its class, or a source is in several splits.
    """
    folder = Path(folder)
    if split is not None and split not in SPLITS:
        raise ValueError(f"the splits are {', '.join(SPLITS)}, got {split!r}")
    clips = [clip for name in SPLITS if (folder / name / CAPTIONS).is_file() for clip in _split(folder, name)]
    if not clips:
        raise ValueError(f"{folder}: no {CAPTIONS} in {', '.join(SPLITS)}; an unfinished folder has none")
    _check_sources(clips)
    chosen = [clip for clip in clips if split in (None, clip.split)]
    if not chosen:
        raise ValueError(f"{folder}: no clips for {split}")
    return chosen


def _split(folder: Path, split: str) -> list[ClipFile]:
    path = folder / split / CAPTIONS
    limits.file_size(path, limits.FILE)
    clips = []
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file (its bytes are not UTF-8)") from error
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            said = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: not valid JSON") from error
        if not isinstance(said, dict) or not all(isinstance(said.get(key), str) for key in KEYS):
            raise ValueError(f"{where}: expected an object with the texts {', '.join(KEYS)}")
        video = path.parent / said["class"] / Path(said["clip"]).name
        # A class or a clip that names another folder would be read from outside of the data set.
        if f"{said['class']}/{video.name}" != said["clip"] or len(Path(said["clip"]).parts) != 2:
            raise ValueError(f"{where}: the clip should be CLASS/NAME.mp4, got {limits.shown(said['clip'])}")
        # Not `Path.is_file`, which raises for names that no file can have.
        if ".." in Path(said["clip"]).parts or not os.path.isfile(video):
            raise ValueError(f"{where}: there is no video {limits.shown(said['clip'])}")
        clips.append(ClipFile(video, split, said["class"], said["caption"], said["source"]))
    return clips


def _check_sources(clips: Sequence[ClipFile]) -> None:
    splits: dict[str, str] = {}
    for clip in clips:
        if splits.setdefault(clip.source, clip.split) != clip.split:
            raise ValueError(f"the source {limits.shown(clip.source)} is in {splits[clip.source]} and in {clip.split}")
