"""From what a camera file says, and what its user says about it, to a trajectory. The same for every format."""

import dataclasses

import numpy as np

from shotverse_jax import limits
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import timing
from shotverse_jax.camera.formats.lens import fitted
from shotverse_jax.camera.formats.level import advice
from shotverse_jax.camera.formats.options import UP, ReadOptions
from shotverse_jax.camera.formats.record import FPS, Reading
from shotverse_jax.camera.formats.rigid import camera_to_world, matrices
from shotverse_jax.camera.trajectory import Trajectory


def finish(reading: Reading, options: ReadOptions) -> Trajectory:
    """Returns the trajectory of a file: rigid poses, camera-to-world, lens in pixels, seconds, notes.

    Raises:
        ValueError: poses are lost or not rigid beyond what the options mend, the time stamps make no clock, the lens is
            no pinhole, or an option does not go with the file.
    """
    notes, assumed = list(reading.notes), []
    pose_T34 = matrices(reading, options, notes)
    lost_T = ~np.isfinite(pose_T34).all((1, 2))
    _check_lost(lost_T, options, notes)
    pose_T34 = camera_to_world(pose_T34, reading.world_to_camera, lost_T, options, notes)
    lens_T4, width, height = fitted(reading, options, notes, assumed)
    fps, time_T, place_T = _clock(reading, options, notes, assumed)
    if assumed:
        notes.append(f"assumed, as the file does not say: {', '.join(assumed)}")
    frames = {"pose_T34": pose_T34, "intrinsics_T4": lens_T4, "shot_T": reading.shot_T, "time_T": time_T}
    frames |= {"stage_time_T": reading.stage_time_T, "focus_T2": _focus(reading, notes)}
    if lost_T.any() and options.lost == "skip":
        time_T = np.arange(len(lost_T)) / fps if time_T is None else time_T
        frames = {name: None if v is None else v[~lost_T] for name, v in {**frames, "time_T": time_T}.items()}
    elif options.lost == "interpolate" and (lost_T.any() or place_T is not None):
        frames = _filled(frames, lost_T, place_T, fps)
    trajectory = Trajectory(
        **frames,
        width=width,
        height=height,
        fps=fps,
        scale=reading.scale,
        captions=reading.captions,
        global_caption=reading.global_caption,
        stage_34=reading.stage_34,
    )
    up = options.up or reading.up
    if up is not None:
        trajectory = trajectory.moved(se3.make(UP[up], np.zeros(3)))
    else:
        notes += advice(trajectory)
    return dataclasses.replace(trajectory, notes=tuple(dict.fromkeys(notes)))


def _focus(reading: Reading, notes: list[str]) -> np.ndarray | None:
    """The focus of every frame, without what no thin lens has; programs that do not blur write any numbers there."""
    if reading.focus_T2 is None:
        return None
    distance_T, f_number_T = focus_T2 = np.asarray(reading.focus_T2, np.float64).T
    with np.errstate(invalid="ignore"):
        fits_T = [
            (low <= x) & (x <= high) for x, (low, high) in zip(focus_T2, (limits.FOCUS, limits.F_NUMBERS), strict=True)
        ]
    off = np.flatnonzero((f_number_T != 0) & ~(fits_T[0] & fits_T[1]))
    for shot in np.unique(reading.shot_T):
        if len(np.unique(f_number_T[reading.shot_T == shot] != 0)) > 1:
            notes.append(f"the focus was left out: shot {shot + 1} blurs in some frames and not in others")
            return None
    if len(off):
        notes.append(
            f"the focus was left out: frame {off[0]} is focused at {distance_T[off[0]]:g} with an f-number of "
            f"{f_number_T[off[0]]:g}"
        )
        return None
    return np.stack([np.where(fits_T[0], distance_T, 0.0), f_number_T], axis=1)


def _check_lost(lost_T: np.ndarray, options: ReadOptions, notes: list[str]) -> None:
    if not lost_T.any():
        return
    first, count = int(np.argmax(lost_T)), int(lost_T.sum())
    if lost_T.all():
        raise ValueError("every pose is lost: it holds NaN or infinity")
    if options.lost in (None, "refuse"):
        raise ValueError(
            f"pose {first} is lost: it holds NaN or infinity; the option lost=skip leaves such poses out, "
            "lost=interpolate fills them in"
        )
    done = "left out" if options.lost == "skip" else "interpolated"
    notes.append(f"{count} lost poses, the first of them pose {first}, were {done}")


def _clock(
    reading: Reading, options: ReadOptions, notes: list[str], assumed: list[str]
) -> tuple[float, np.ndarray | None, np.ndarray | None]:
    """Returns (frames per second, recorded times [T] or None, places of the frames [T] where numbers are left out)."""
    if reading.time_T is not None and options.fps is None:
        if reading.fps is not None:
            return reading.fps, reading.time_T, None
        second_T, more = timing.stamps(reading.time_T, reading.time_unit)
        notes += more
        if second_T is not None:
            return *timing.rate_of(second_T), None
    elif reading.time_T is not None:
        notes.append(f"the recorded times were left out for fps={options.fps:g}")
    fps = options.fps or reading.fps
    if fps is None:
        fps = FPS
        assumed.append(f"{FPS:g} frames per second (option fps)")
    place_T = None if reading.number_T is None else timing.places(reading.number_T, notes)
    if place_T is None:
        return float(fps), None, None
    missing, first = int((np.diff(place_T) - 1).sum()), int(np.argmax(np.diff(place_T) > 1))
    what = f"the numbering leaves out {missing} frames, the first of them after pose {first}"
    if options.lost == "refuse":
        raise ValueError(f"{what}; the option lost=interpolate fills them in, lost=skip keeps the times around them")
    notes.append(f"{what}; " + ("they were filled in" if options.lost == "interpolate" else "they are kept as time"))
    return float(fps), place_T / fps, place_T


_INTERPOLATED = ("pose_T34", "intrinsics_T4", "focus_T2")


def _filled(
    frames: dict[str, np.ndarray | None], lost_T: np.ndarray, place_T: np.ndarray | None, fps: float
) -> dict[str, np.ndarray | None]:
    """Returns the arrays of a trajectory with lost poses interpolated, and with frames at all places up to the last."""
    shot_T, count = frames["shot_T"], len(lost_T)
    clock_T = np.arange(count) / fps if frames["time_T"] is None else frames["time_T"]
    if place_T is None:
        clock_N, last_N = clock_T, np.arange(count)
    else:
        clock_N = np.arange(place_T[-1] + 1) / fps
        last_N = np.searchsorted(place_T, np.arange(place_T[-1] + 1), side="right") - 1
    known = np.flatnonzero(~lost_T)
    shot_N, parts = shot_T[last_N], {name: [] for name in _INTERPOLATED if frames[name] is not None}
    for shot in range(int(shot_T[-1]) + 1):
        # A pose is never interpolated between two shots; before the first known one and after the last it stands.
        own = known[shot_T[known] == shot]
        if not len(own):
            raise ValueError(f"every pose of shot {shot + 1} is lost")
        at = np.interp(clock_N[shot_N == shot], clock_T[own], np.arange(len(own)))
        for name, part in parts.items():
            value = frames[name][own]
            columns = [np.interp(at, np.arange(len(own)), k) for k in value.T] if value.ndim == 2 else []
            part.append(np.stack(columns, axis=1) if columns else se3.resample(value, at))
    return {
        **{name: np.concatenate(part) for name, part in parts.items()},
        "shot_T": shot_N,
        "time_T": frames["time_T"] if place_T is None else None,
    }
