"""How a camera file is read, in words: what it says, what is assumed, and what speaks for other readings of it."""

import dataclasses
from pathlib import Path

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_file, read_trajectory
from shotverse_jax.camera.formats.level import is_level, tilt
from shotverse_jax.camera.formats.options import NAMES
from shotverse_jax.camera.formats.record import Format, Reading
from shotverse_jax.camera.trajectory import Trajectory


@dataclasses.dataclass(frozen=True)
class Explanation:
    """How a camera file is read.

    Attributes:
        trajectory: the file as it is read.
        lines: (what, how) of every property, in the order in which they are shown.
        alternatives: other possible readings, each a sentence with the option and what speaks for and against it.
    """

    trajectory: Trajectory
    lines: tuple[tuple[str, str], ...]
    alternatives: tuple[str, ...]

    def __str__(self) -> str:
        wide = max(len(what) for what, _ in self.lines)
        shown = [f"{what:<{wide}}  {how}" for what, how in self.lines]
        shown += [f"{'note':<{wide}}  {note}" for note in self.trajectory.notes]
        return "\n".join([*shown, *(f"{'or':<{wide}}  {text}" for text in self.alternatives)])


def explain(path: str | Path, fmt: str | None = None, **options) -> Explanation:
    """Returns how a camera file is read, with the arguments of `read_trajectory`.

    Raises:
        ValueError: as `read_trajectory`.
    """
    trajectory = read_trajectory(path, fmt, **options)
    form, said = read_file(path, fmt, **{name: value for name, value in options.items() if name not in NAMES})
    lines = (
        ("format", f"{form.name}: {form.description}"),
        ("poses", _poses(said, options)),
        *_world(form, said, trajectory, options),
        ("frames", _frames(trajectory)),
        ("image", f"{trajectory.width}x{trajectory.height} pixels"),
        ("lens", _lens(trajectory)),
        *_focus(trajectory),
        ("extent", _extent(trajectory)),
        ("level", "; ".join(_level(trajectory, up) for up in ("-y", "z", "y"))),
        ("first pose", _pose(trajectory.pose_T34[0])),
    )
    others = (*_other_quaternion(path, fmt, said, options, trajectory), *_other_up(said, options, trajectory))
    return Explanation(trajectory, lines, others)


def _poses(said: Reading, options: dict) -> str:
    direction = "world-to-camera" if said.world_to_camera else "camera-to-world"
    if said.quaternion_T4 is None:
        return f"{direction} matrices; turned to camera-to-world, camera axes x right, y down, z forward"
    order = options.get("quaternion") or said.quaternion_order
    return f"{direction} quaternions, {' '.join(order)}; turned to camera-to-world, x right, y down, z forward"


def _world(form: Format, said: Reading, trajectory: Trajectory, options: dict) -> list[tuple[str, str]]:
    up = options.get("up") or said.up
    if up is not None:
        world = f"{up} is up in the file; turned so that y is down"
    elif trajectory.stage_34 is not None:
        world = "as it is; the file knows its stage, which says where up is"
    else:
        world = "as it is, the file does not say which axis is up; exports with a floor take y as down (option up)"
    mirrored = any("left-handed" in note or "mirror" in note for note in trajectory.notes)
    hand = "left-handed, mirrored" if mirrored or options.get("mirror_world") else "right-handed"
    return [("world", world), ("handedness", hand), ("conventions", form.convention)]


def _frames(trajectory: Trajectory) -> str:
    seconds = trajectory.seconds_T
    clock = "evenly spaced" if trajectory.even else "at uneven times"
    step = f", {np.diff(seconds).min():.4g} to {np.diff(seconds).max():.4g} s apart" if len(trajectory) > 1 else ""
    start = "" if trajectory.time_T is None else f", from {trajectory.time_T[0]:.6f} s"
    shots = f"{trajectory.num_shots} shot{'s' * (trajectory.num_shots > 1)}"
    return f"{len(trajectory)} in {shots}, {trajectory.fps:g} fps, {clock}{step}{start}, {seconds[-1]:.4g} s"


def _lens(trajectory: Trajectory) -> str:
    fx, fy, cx, cy = (_span(column) for column in trajectory.intrinsics_T4.T)
    fov_T = np.degrees(2 * np.arctan(trajectory.width / 2 / trajectory.intrinsics_T4[:, 0]))
    return f"fx {fx}, fy {fy}, centre {cx}, {cy} pixels; {_span(fov_T)} degrees horizontally"


def _focus(trajectory: Trajectory) -> list[tuple[str, str]]:
    if trajectory.focus_T2 is None:
        return []
    distance, f_number = (_span(column) for column in trajectory.focus_T2.T)
    return [("focus", f"at {distance} units, f-number {f_number}")]


def _span(value_T: np.ndarray) -> str:
    low, high = f"{value_T.min():.5g}", f"{value_T.max():.5g}"
    return low if low == high else f"{low} to {high}"


def _extent(trajectory: Trajectory) -> str:
    position_T3 = trajectory.pose_T34[:, :, 3]
    size = " x ".join(f"{side:.4g}" for side in np.ptp(position_T3, axis=0))
    way = np.linalg.norm(np.diff(position_T3, axis=0), axis=1).sum()
    return f"{size} in x, y, z; a way of {way:.4g} units"


def _level(trajectory: Trajectory, up: str) -> str:
    roll, elevation = tilt(trajectory, up)
    return f"if {up} is up: roll {roll:.0f}°, looking {elevation:.0f}° up or down"


def _pose(pose_34: np.ndarray) -> str:
    right, _, ahead, place = (" ".join(f"{x + 0.0:.3g}" for x in np.round(column, 6)) for column in pose_34.T)
    return f"at {place}, looks along {ahead}, right is {right}"


def _other_quaternion(path, fmt, said: Reading, options: dict, trajectory: Trajectory) -> list[str]:
    """The path with the other order of quaternions, if the file has some."""
    if said.quaternion_T4 is None:
        return []
    order = options.get("quaternion") or said.quaternion_order
    other = "xyzw" if order == "wxyz" else "wxyz"
    there = read_trajectory(path, fmt, **{**options, "quaternion": other})
    here, that = _turn(trajectory), _turn(there)
    rolls = [min(tilt(t, up)[0] for up in ("-y", "z", "y")) for t in (trajectory, there)]
    return [
        f"quaternion={other}: then the first pose {_pose(there.pose_T34[0])}; the path turns by up to {that:.0f}° "
        f"(as read {here:.0f}°), and the least roll is {rolls[1]:.0f}° (as read {rolls[0]:.0f}°)"
    ]


def _turn(trajectory: Trajectory) -> float:
    """The largest turn from the first pose, in degrees."""
    first_33, rotation_T33 = trajectory.pose_T34[0, :, :3], trajectory.pose_T34[:, :, :3]
    return float(np.degrees(se3.rotation_angle(first_33.T @ rotation_T33)).max())


def _other_up(said: Reading, options: dict, trajectory: Trajectory) -> list[str]:
    """The axes that may be up, if neither file nor user says it."""
    if (options.get("up") or said.up) is not None or trajectory.stage_34 is not None:
        return []
    found = []
    for up in ("z", "y", "-z"):
        if is_level(trajectory, up):
            (roll, elevation), here = tilt(trajectory, up), tilt(trajectory, "-y")
            found.append(
                f"up={up}: then the cameras roll by {roll:.0f}° and look {elevation:.0f}° up or down "
                f"(as read, {here[0]:.0f}° and {here[1]:.0f}°)"
            )
    return found
