"""CMX 3600 edit decision list: the film's cuts, for Resolve, Premiere, Avid and Nuke Studio (written only).

One event per shot, video only, straight cuts. Source times count from the start of the rendered film (00:00:00:00),
record times from 01:00:00:00, out-points exclusive. Comments stand after their event, as readers demand: they name the
clip and the shot's caption. No camera is stored.

The rate is one that editing programs have (`RATES`), so that a film of 16 frames per second is counted in 24; seconds
stay. Time codes of 23.976 and 29.97 frames per second count 24 and 30 frames; drop-frame ones, of 29.97 and 59.94, skip
numbers so that they show the time of day.
"""

from pathlib import Path

from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.text_files import plain

RECORD_START_HOURS = 1
RATES = (24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 48.0, 50.0, 60000 / 1001, 60.0)
"""Frames per second that editing programs count in."""
DROP_RATES = (30000 / 1001, 60000 / 1001)


def editing_rate(fps: float) -> float:
    """Returns the rate in which a film is counted: its own if editing programs have it, else the next whole one."""
    near = min(RATES, key=lambda rate: abs(rate - fps))
    if abs(near - fps) < 0.005:
        return near
    whole = [rate for rate in RATES if rate == round(rate)]
    return next((rate for rate in whole if rate >= fps), whole[-1])


def rate_for(fps: float) -> float | None:
    """Returns the rate to which a film is resampled for an edit list; None when it can stay."""
    rate = editing_rate(fps)
    return None if abs(rate - fps) < 0.005 else rate


def timecode(frame: int, rate: float, drop: bool = False) -> str:
    """Returns a frame number as HH:MM:SS:FF; drop-frame as HH:MM:SS;FF."""
    count = round(rate)
    if drop:
        # The first 2 (of 30) or 4 (of 60) numbers of every minute but the tenth are left out.
        skipped = count // 15
        tens, rest = divmod(frame, 10 * 60 * count - 9 * skipped)
        frame += 9 * skipped * tens + skipped * max(0, (rest - skipped) // (60 * count - skipped))
    seconds, frames = divmod(frame, count)
    mark = ";" if drop else ":"
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{frames:02d}"


def check_rate(fps: float, drop_frame: bool = False) -> float:
    """Returns the editing rate that a trajectory has.

    Raises:
        ValueError: editing programs do not have the rate, or it has no drop-frame time codes.
    """
    rate = editing_rate(fps)
    if abs(rate - fps) >= 0.005:
        known = ", ".join(f"{rate:.5g}" for rate in RATES)
        raise ValueError(f"no editing program counts {fps:g} frames per second; the option rate takes {known}")
    if drop_frame and rate not in DROP_RATES:
        raise ValueError(f"drop-frame time codes are of 29.97 and 59.94 frames per second, not of {rate:.5g}")
    return rate


def write(
    trajectory: Trajectory,
    path: Path,
    *,
    clip: str = "film.mp4",
    title: str = "SHOTVERSE FILM",
    drop_frame: bool = False,
) -> None:
    """Writes the cut list; `clip` is the file name of the rendered film.

    Raises:
        ValueError: a rate that editing programs do not have, more than 999 shots, or a film that runs past 24 hours.
    """
    rate = check_rate(trajectory.fps, drop_frame)
    if trajectory.num_shots > 999:
        raise ValueError(f"a CMX 3600 EDL holds at most 999 events, got {trajectory.num_shots} shots")
    offset = RECORD_START_HOURS * 3600 * round(rate)
    if drop_frame:
        offset -= 108 * RECORD_START_HOURS * round(rate) // 30  # 01:00:00;00 is that much earlier
    if offset + len(trajectory) > 24 * 3600 * rate:
        raise ValueError(f"{len(trajectory)} frames from 01:00:00:00 on run past 24 hours")
    lines = [f"TITLE: {_line(title)}", f"FCM: {'DROP' if drop_frame else 'NON-DROP'} FRAME"]
    for k, (start, end) in enumerate(trajectory.spans):
        times = [timecode(frame, rate, drop_frame) for frame in (start, end, offset + start, offset + end)]
        lines += ["", f"{k + 1:03d}  AX       V     C        {' '.join(times)}", f"* FROM CLIP NAME: {_line(clip)}"]
        caption = _line(trajectory.captions[k])
        lines += [f"* COMMENT: {common.shot_name(k)} {caption}".rstrip()]
        if k == 0:
            lines += [f"* FRAME RATE: {rate:.6g}"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(text: str) -> str:
    """Returns a text on one line."""
    return " ".join(plain(text).split())


FORMAT = common.Format(
    name="edl",
    suffixes=(".edl",),
    description="CMX 3600 cut list (write)",
    convention="one event per shot; source from 00:00:00:00, record from 01:00:00:00; no camera",
    keeps=frozenset({"cuts", "captions", "rate"}),
    write=write,
    steady=True,
    rate=rate_for,
    words=_line,
)
