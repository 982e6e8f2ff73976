"""CMX 3600 edit decision list: the film's cuts, for Resolve, Premiere, Avid and Nuke Studio (written only).

One event per shot, video only, straight cuts. Source times count from the start of the rendered film (00:00:00:00),
record times from 01:00:00:00; both are non-drop-frame at the whole number of frames per second nearest to fps,
out-points exclusive. Comments name the clip and the shot's caption. No camera is stored.
"""

from pathlib import Path

from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.trajectory import Trajectory

RECORD_START_HOURS = 1


def timecode(frame: int, rate: int) -> str:
    """Frame number → HH:MM:SS:FF, non-drop-frame."""
    seconds, frames = divmod(frame, rate)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}"


def write(trajectory: Trajectory, path: Path, *, clip: str = "film.mp4", title: str = "SHOTVERSE FILM") -> None:
    """Writes the cut list; `clip` is the file name of the rendered film.

    Raises:
        ValueError: more than 999 shots, or a rate that two digits of a time code cannot count.
    """
    # A time code counts whole frames; a comment in the file keeps the true rate.
    rate = round(trajectory.fps)
    if not 1 <= rate <= 100:
        raise ValueError(f"an EDL counts 1 to 100 frames per second, got {trajectory.fps}")
    if trajectory.num_shots > 999:
        raise ValueError(f"a CMX 3600 EDL holds at most 999 events, got {trajectory.num_shots} shots")
    offset = RECORD_START_HOURS * 3600 * rate
    lines = [f"TITLE: {_line(title)}", "FCM: NON-DROP FRAME", f"* FRAME RATE: {common.digits(trajectory.fps)}"]
    for k, (start, end) in enumerate(trajectory.spans):
        times = [timecode(frame, rate) for frame in (start, end, offset + start, offset + end)]
        lines += ["", f"{k + 1:03d}  AX       V     C        {' '.join(times)}", f"* FROM CLIP NAME: {_line(clip)}"]
        caption = _line(trajectory.captions[k])
        lines += [f"* COMMENT: {common.shot_name(k)} {caption}".rstrip()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(text: str) -> str:
    """Free text on one line."""
    return " ".join(text.split())


FORMAT = common.Format(
    name="edl",
    suffixes=(".edl",),
    description="CMX 3600 cut list (write)",
    convention="one event per shot; source from 00:00:00:00, record from 01:00:00:00, non-drop-frame; no camera",
    keeps=frozenset({"cuts", "captions", "rate"}),
    write=write,
    steady=True,
)
