"""Files that hold cameras by name, as scenes of 3-D programs do: which of them make the film, and in which order."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats.record import Reading


@dataclasses.dataclass
class Track:
    """One camera of a scene.

    Attributes:
        name: its name in the file.
        second_T: [T] seconds of its poses, rising.
        pose_T34: [T, 3, 4] camera-to-world matrices with OpenCV camera axes.
        lens_T4: [T, 4] fx, fy, cx, cy as fractions of the image's width (fx, cx) and height (fy, cy).
        caption: what stands with it; "" for none.
        shown: (start, end) seconds of the film in which it is shown, as the file says; None when it does not say.
        focus_T2: [T, 2] its focus, as of `Trajectory`; None (default) for a pinhole.
    """

    name: str
    second_T: np.ndarray
    pose_T34: np.ndarray
    lens_T4: np.ndarray
    caption: str = ""
    shown: tuple[float, float] | None = None
    focus_T2: np.ndarray | None = None

    def part(self, keep_T: np.ndarray) -> "Track":
        """Returns the camera at some of its times."""
        arrays = {name: getattr(self, name) for name in ("second_T", "pose_T34", "lens_T4", "focus_T2")}
        return dataclasses.replace(self, **{name: None if v is None else v[keep_T] for name, v in arrays.items()})


def shown_of(values: Mapping[str, Any]) -> tuple[float, float] | None:
    """Returns `Track.shown` of a camera's custom properties `start_seconds` and `end_seconds`."""
    pair = [values.get(name) for name in ("start_seconds", "end_seconds")]
    return tuple(map(float, pair)) if all(isinstance(value, int | float) for value in pair) else None


def film(tracks: list[Track], camera: str | None, notes: list[str]) -> Reading:
    """Returns what the cameras of a scene say together; the caller adds what the scene itself says.

    Cameras that move one after the other are the shots of a film, also where they stand still before and after, as some
    programs write all of them over all frames. Cameras that never move are the frames of one path. Of cameras that move
    at the same time the first is read.

    Args:
        tracks: the cameras, in the order of the file.
        camera: the name of one of them, "all" for a shot of each, None to choose as above.
        notes: gets a sentence about cameras that are left out.

    Raises:
        ValueError: there is no camera, or none of that name.
    """
    if not tracks:
        raise ValueError("the file holds no camera with a perspective lens")
    chosen, one_path = _chosen(tracks, camera, notes)
    shots = [0] * len(chosen) if one_path else range(len(chosen))
    second_T = np.concatenate([track.second_T for track in chosen])
    return Reading(
        pose_T34=np.concatenate([track.pose_T34 for track in chosen]),
        lens_T4=np.concatenate([track.lens_T4 for track in chosen]),
        relative=True,
        focus_T2=_focus(chosen),
        # Cameras that do not move, or move at the same time, have no common clock.
        time_T=None if one_path or (np.diff(second_T) < 0).any() else second_T,
        shot_T=np.repeat(shots, [len(track.second_T) for track in chosen]).astype(np.int32),
        captions=("",) if one_path else tuple(track.caption for track in chosen),
        notes=notes,
    )


def _focus(tracks: list[Track]) -> np.ndarray | None:
    """The focus of every frame; a camera without one is a pinhole."""
    if all(track.focus_T2 is None for track in tracks):
        return None
    return np.concatenate(
        [np.zeros((len(track.second_T), 2)) if track.focus_T2 is None else track.focus_T2 for track in tracks]
    )


def shape_size(lens_4: np.ndarray) -> tuple[int, int]:
    """Returns a size of 480 rows for a lens in fractions of the image, whose pixels are then square."""
    return int(np.clip(np.round(480 * lens_4[1] / lens_4[0]), 1, 100_000)), 480


def set_rate(reading: Reading, fps: float | None) -> None:
    """Gives a reading its rate; times that are frames of it, but for rounding, are left out.

    Without a rate (None) a whole one, or one of television, is taken if the times are frames of it.
    """
    time_T = reading.time_T
    if fps is not None:
        rates = [fps]
    elif time_T is None or len(time_T) == 1 or time_T[-1] == time_T[0]:
        rates = []
    else:
        mean = round((len(time_T) - 1) / (time_T[-1] - time_T[0]))
        rates = [mean, mean * 1000 / 1001]
    reading.fps = fps
    for rate in rates if time_T is not None else []:
        frame_T = (time_T - time_T[0]) * rate
        if (np.abs(frame_T - np.arange(len(frame_T))) < 1e-3).all():
            reading.fps, reading.time_T = float(rate), None
            return


def place(reading: Reading, stage: Any, up: str) -> None:
    """Brings poses back to the world that they were written from, where the file keeps the stage; else says what is up.

    Args:
        reading: what the file says; its poses are changed.
        stage: the stage's pose [3, 4] in that world, as the file holds it; None when it holds none.
        up: the axis of the file's world that points up, "y" or "z".

    Raises:
        ValueError: the stage is no pose.
    """
    if stage is None:
        reading.up = up
        return
    stage_34 = common.numbers(stage, (3, 4), "the stage")
    axes_33 = {"y": common.Y_UP, "z": common.Z_UP}[up]
    reading.pose_T34 = se3.compose(stage_34, axes_33.T @ reading.pose_T34)
    reading.stage_34 = stage_34


def _chosen(tracks: list[Track], camera: str | None, notes: list[str]) -> tuple[list[Track], bool]:
    """The cameras to read, and whether they are the frames of one path."""
    names = ", ".join(track.name for track in tracks[:20])
    if camera == "all":
        return tracks, False
    if camera is not None:
        found = [track for track in tracks if track.name == camera]
        if not found:
            raise ValueError(f"there is no camera '{camera}'; the file has {names}")
        return found[:1], False
    if shots := _shots(tracks, notes):
        return shots, False
    moving = [track for track in tracks if len(track.second_T) > 1]
    if not moving:
        notes.append(f"{len(tracks)} cameras that do not move were read as the frames of one path")
        return tracks, True
    chosen = _shots(moving, notes) or moving[:1]
    read = ", ".join(track.name for track in chosen[:20])
    notes.append(f"of the cameras {names} was read: {read} (option camera=NAME; camera=all makes a shot of each)")
    return chosen, False


def _shots(tracks: list[Track], notes: list[str]) -> list[Track]:
    """The cameras in the order of the film, each while it is shown; [] when they do not follow each other."""
    timed = sorted(tracks, key=lambda track: track.second_T[0])
    if _follow(timed):
        return timed
    if all(track.shown for track in tracks):
        # Programs shift the clock of a whole film, by the number of their first frame.
        shift = min(track.second_T[0] for track in tracks) - min(track.shown[0] for track in tracks)
        told = sorted((_within(track, *(shift + at for at in track.shown)) for track in tracks), key=_begin)
        if all(len(track.second_T) for track in told) and _follow(told):
            return told
    # A camera is shown from its first motion to that of the next one.
    spans = [_motion(track) for track in tracks]
    if None in spans:
        return []
    order = sorted(range(len(tracks)), key=lambda k: spans[k])
    if any(spans[one][1] > spans[other][0] for one, other in zip(order, order[1:], strict=False)):
        return []
    starts = [-np.inf, *(spans[k][0] for k in order[1:]), np.inf]
    notes.append("all cameras have all frames; each is shown from its first motion to that of the next one")
    return [_within(tracks[k], *pair) for k, pair in zip(order, zip(starts, starts[1:], strict=False), strict=True)]


def _begin(track: Track) -> float:
    return track.second_T[0] if len(track.second_T) else np.inf


def _within(track: Track, start: float, end: float) -> Track:
    """The camera from a time on, up to before another one; a quarter of a frame is rounding."""
    slack = np.median(np.diff(track.second_T)) / 4 if len(track.second_T) > 1 else 1e-6
    return track.part((track.second_T >= start - slack) & (track.second_T < end - slack))


def _motion(track: Track) -> tuple[float, float] | None:
    """The seconds of the first frame of a motion and of the last one; None for a camera that stands still."""
    focus = [] if track.focus_T2 is None else [track.focus_T2]
    state = np.concatenate([track.pose_T34.reshape(-1, 12), track.lens_T4, *focus], axis=1)
    moves = np.flatnonzero((np.abs(np.diff(state, axis=0)) > 1e-6).any(1))
    return (track.second_T[moves[0]], track.second_T[moves[-1] + 1]) if len(moves) else None


def _follow(tracks: list[Track]) -> bool:
    """Whether each camera begins after the one before it has ended."""
    return all(one.second_T[-1] < other.second_T[0] for one, other in zip(tracks, tracks[1:], strict=False))
