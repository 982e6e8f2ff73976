"""The films that a bench is made of: a folder of videos, or a table with settings of its own for each."""

import dataclasses
import glob
import re
from pathlib import Path
from typing import Any

from shotverse_jax import limits
from shotverse_jax.calibration import kept, sources
from shotverse_jax.config import CalibrationConfig
from shotverse_jax.files import reading
from shotverse_jax.inputs.items import Entry, Place, Refused, table_rows
from shotverse_jax.views.video import SUFFIXES

COLUMNS = ("video", "id", "source", "cuts", "masks", "reconstruct", "lens")
"""Columns of a table of films; all but the first may be missing or empty."""
NAME = re.compile(r"[\w][\w .()+=,@-]{0,150}")


@dataclasses.dataclass(frozen=True)
class Film(Entry):
    """A film.

    Attributes:
        video: its file.
        source: what it is from. Scenes of one source are never both for training and for testing.
        calibration: how its cameras are found.
    """

    video: str
    source: str
    calibration: CalibrationConfig

    @property
    def files(self) -> tuple[str, ...]:
        """The film and the file of its cuts, where there is one."""
        cuts = self.calibration.cuts
        return (self.video, cuts) if cuts.lower().endswith(".json") else (self.video,)

    def values(self) -> dict[str, Any]:
        """Returns what decides where its shots are."""
        return {"id": self.id, "source": self.source, "cuts": self.calibration.cuts}

    def place(self, out: Path) -> Place:
        """A file beside those of other films."""
        record = f"{self.id}_result.json"
        return Place(out, record, (glob.escape(record),))


def read_films(path: str | Path, calibration: CalibrationConfig) -> list[Film | Refused]:
    """Reads which films there are, in the order of the table, or of their names.

    Args:
        path: a folder, whose videos are films and whose subfolders are sources with the videos below them; or a table
            (.csv, .jsonl) with the columns `COLUMNS`, whose paths are relative to it.
        calibration: the settings that a table may change for a film.

    Raises:
        ValueError: there is no such folder or table, or it has no films.
    """
    path = Path(path)
    if path.is_dir():
        rows = [(str(video.relative_to(path)), _row(video, path)) for video in _videos(path)]
    elif path.is_file():
        with reading(path, "a list of films"):
            rows = table_rows(path, COLUMNS)
    else:
        raise ValueError(f"{path}: no such file or folder; give a folder of films, or a table of them (.csv, .jsonl)")
    if not rows:
        raise ValueError(f"{path} holds no films: their names end in {', '.join(SUFFIXES)}")
    films, seen = [], []
    for where, row in rows:
        film = _film(where, row, path if path.is_dir() else path.parent, calibration)
        if isinstance(film, Film):
            film = _only(film, where, seen)
        films.append(film)
    return films


def _videos(folder: Path) -> list[Path]:
    found = (video for video in folder.rglob("*") if video.suffix.lower() in SUFFIXES and video.is_file())
    return sorted(video for video in found if not any(part.startswith(".") for part in video.relative_to(folder).parts))


def _row(video: Path, folder: Path) -> dict[str, str]:
    inside = video.relative_to(folder).with_suffix("")
    return {"video": str(video.relative_to(folder)), "id": "_".join(inside.parts), "source": inside.parts[0]}


def _film(where: str, row: Any, beside: Path, calibration: CalibrationConfig) -> Film | Refused:
    name = where
    try:
        if isinstance(row, ValueError):
            raise row
        texts = {key: str(value) for key, value in row.items() if value not in (None, "")}
        if not texts.get("video"):
            raise ValueError("it has no video")
        id_ = texts.get("id", Path(texts["video"]).stem)
        name = id_
        if not NAME.fullmatch(id_) or id_.endswith((".", " ")):
            raise ValueError(
                f"an id is a name of letters, digits and _-. that begins with a letter, got {limits.shown(id_)}"
            )
        video = beside / texts["video"]
        if not video.is_file():
            raise ValueError(f"{video}: no such file")
        settings = {key: _beside(texts[key], beside) for key in COLUMNS[3:] if key in texts}
        if "masks" in texts:
            settings["masks"] = "+".join(_beside(part, beside) for part in sources.mask_parts(texts["masks"]))
        own = dataclasses.replace(calibration, **settings)
        for part in sources.mask_parts(own.masks):
            sources.named(part, sources.MASKS, "masks")
        sources.named(own.reconstruct, sources.RECONSTRUCTIONS, "reconstructions")
        if "," in own.lens and "mm" in own.lens:
            raise ValueError("all shots of a film of a bench have one lens, or estimated ones; leave out the others")
        return Film(id_, str(video), texts.get("source", id_), own)
    except ValueError as error:
        return Refused(name, " ".join(str(error).split()))


def _beside(text: str, beside: Path) -> str:
    """A setting with the file that it names, relative to the table."""
    file = sources.named_file(text)
    if file:
        return f"{text.partition(':')[0]}:{beside / file}"
    return str(beside / text) if text.lower().endswith(".json") else text


def _only(film: Film, where: str, seen: list[Film]) -> Film | Refused:
    """The film, unless one of its name or its content was there before."""
    size = lambda one: Path(one.video).stat().st_size  # noqa: E731
    for other in seen:
        same = "id" * (other.id == film.id)
        if size(other) == size(film) and kept.contents(other.video) == kept.contents(film.video):
            same = "content"
        if same:
            return Refused(where, f"its {same} is that of {other.id}, an earlier film; leave one out")
    seen.append(film)
    return film
