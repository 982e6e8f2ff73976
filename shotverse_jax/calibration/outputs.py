"""What the folder of a calibrated film holds.

trajectory.json    the cameras of the shots in the largest world; trajectory_2.json, … of shots that share another one
points.ply         what they see, in the same coordinates; points_2.ply, …
plot.png           three views of the path; plot_2.png, …
overlay.mp4        the film with a grid on the ground and axes, drawn through the cameras
calibration.json   what was used, the quality of every shot, its gates and where its cameras are; it comes last

A shot that did not pass its gates is in no trajectory. The world of a trajectory is its first camera.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import shotverse_jax
from shotverse_jax.calibration import kept
from shotverse_jax.calibration.film import Calibrated, to_film
from shotverse_jax.calibration.quality import GATES
from shotverse_jax.calibration.shots import Progress
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.files import json_text, read_json, replacing
from shotverse_jax.views import overlay
from shotverse_jax.views.point_cloud import write_ply
from shotverse_jax.views.three_views import plot_three_views
from shotverse_jax.views.video import stream_video, write_video

SUMMARY = "calibration.json"
OWNS = (SUMMARY, "trajectory*.json", "points*.ply", "plot*.png", "overlay.mp4")
LEAST_WEIGHT = 0.1
"""Points with less confidence are not in the cloud."""
OVERLAY = 960
"""Pixels of the longer side of the overlay, at most."""


class World(NamedTuple):
    """Shots that passed their gates and share a world.

    Attributes:
        shots: their numbers, from 0.
        number_T: the number in the film of every frame of the trajectory.
        trajectory: their cameras.
        point_M3: [M, 3] what they see.
        color_M3: [M, 3] uint8 its colours.
    """

    shots: tuple[int, ...]
    number_T: np.ndarray
    trajectory: Trajectory
    point_M3: np.ndarray
    color_M3: np.ndarray


def spans(made: Calibrated) -> list[tuple[int, int]]:
    """Returns [start, end) of every shot with its halves of gradual transitions; they are all frames of the film."""
    inner = made.shots.spans
    cuts = [(end + start) // 2 for (_, end), (start, _) in zip(inner, inner[1:], strict=False)]
    return list(zip([0, *cuts], [*cuts, made.shots.info.frames], strict=True))


def worlds(made: Calibrated) -> list[World]:
    """Returns the worlds of a film, the one with the most frames first; shots that failed a gate are in none."""
    good_K = np.array([quality.passed for quality in made.cameras.quality])
    groups = [np.flatnonzero(good_K & (made.cameras.world_K == number)) for number in np.unique(made.cameras.world_K)]
    found = [_world(made, group) for group in groups if len(group)]
    return sorted(found, key=lambda world: -len(world.number_T))


def _world(made: Calibrated, shots: np.ndarray) -> World:
    """The world of some shots, in which their first camera is the origin."""
    info, ranges = made.shots.info, [spans(made)[k] for k in shots]
    number_T = np.concatenate([np.arange(*span) for span in ranges])
    found = [cameras(made, k, np.arange(*span)) for k, span in zip(shots, ranges, strict=True)]
    pose_T34, lens_T4 = (np.concatenate(parts) for parts in zip(*found, strict=True))
    lens_T4 = to_film(lens_T4, made.picture, made.footage.size)
    origin = se3.inverse(pose_T34[0])
    point_M3, color_M3 = _points(made, shots)
    # Frames last until the next one is shown; shots that are left out leave no gap.
    seconds_T = np.append(made.shots.seconds_T, made.shots.second(info.frames))
    time_T = np.cumsum(np.append(0, np.diff(seconds_T)[number_T][:-1]))
    trajectory = Trajectory(
        se3.compose(origin, pose_T34),
        lens_T4,
        info.width,
        info.height,
        np.repeat(np.arange(len(shots)), [end - start for start, end in ranges]),
        fps=info.fps,
        time_T=time_T,
    )
    if trajectory.even:
        trajectory = dataclasses.replace(trajectory, time_T=None)
    return World(tuple(shots.tolist()), number_T, trajectory, se3.transform_points(origin, point_M3), color_M3)


def cameras(made: Calibrated, shot: int, number_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns poses [T, 3, 4] and lenses [T, 4] of frames of a shot, by their numbers in the film.

    They are those that were found, and between them; at the ends of the shot the nearest. Lenses are in pixels of the
    reduced picture.
    """
    found = np.flatnonzero((made.footage.shot_T == shot) & made.cameras.found_T)
    place_T = np.interp(number_T, made.number_N[found], np.arange(len(found)))
    lens_N4 = made.cameras.lens_T4[found]
    lens_T4 = np.stack([np.interp(place_T, np.arange(len(found)), column) for column in lens_N4.T], axis=1)
    return se3.resample(made.cameras.pose_T34[found], place_T), lens_T4


def _points(made: Calibrated, shots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points [M, 3] of some shots and their colours, each point in space once."""
    points, cameras = made.cameras.points, made.cameras
    shot_M = made.footage.shot_T[points.frame_M]
    used_M = np.isin(shot_M, shots) & (points.weight_M >= LEAST_WEIGHT) & cameras.found_T[points.frame_M]
    points, shot_M = points[used_M], shot_M[used_M]
    if not len(points):
        return np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    lens_M4 = cameras.lens_T4[points.frame_M]
    ray_M2 = (points.pixel_M2 - lens_M4[:, 2:]) / lens_M4[:, :2]
    local_M3 = np.concatenate([ray_M2, np.ones((len(points), 1))], axis=1) * points.depth_M[:, None]
    place_M3 = se3.transform_points(cameras.pose_T34[points.frame_M], local_M3)
    width, height = made.footage.size
    column_M, row_M = np.clip(points.pixel_M2.astype(int), 0, [width - 1, height - 1]).T
    color_M3 = made.footage.frame_THWC[points.frame_M, row_M, column_M].astype(np.float64)
    # A point in space has one number in all pictures of its shot; what has none is a point for every picture.
    alone_M = np.where(points.track_M < 0, np.arange(len(points)), -1)
    _, group_M = np.unique(np.stack([shot_M, points.track_M, alone_M], axis=1), axis=0, return_inverse=True)
    group_M = group_M.reshape(-1)
    count = np.bincount(group_M)
    mean = lambda values_M: np.bincount(group_M, values_M) / count  # noqa: E731
    place, color = (np.stack([mean(column) for column in values.T], axis=1) for values in (place_M3, color_M3))
    return place, color.round().astype(np.uint8)


def done(folder: Path, made_of: str) -> dict[str, Any] | None:
    """Returns the summary of a whole result that was made of the same; None where there is none."""
    file = folder / SUMMARY
    with contextlib.suppress(ValueError):
        if file.is_file() and (summary := read_json(file)).get(kept.KEY) == made_of:
            return summary
    return None


def write(made: Calibrated, folder: str | Path, progress: Progress = lambda what, done, total: None) -> dict[str, Any]:
    """Writes all files; returns the values of `calibration.json`.

    Those of an earlier result that are not written now are removed, and the stages' own files stay.

    Raises:
        ValueError: the folder cannot be written, or the video cannot be read to its end.
    """
    found = worlds(made)
    summary = values(made, found)
    with replacing(folder, OWNS, seal=SUMMARY) as place:
        place.mkdir(exist_ok=True)
        for world, names in zip(found, summary["worlds"], strict=True):
            write_trajectory(world.trajectory, place / names["trajectory"], "shotverse")
            if names["points"]:
                write_ply(place / names["points"], world.point_M3, world.color_M3)
            title = f"{made.video.name}: shots {', '.join(str(k + 1) for k in world.shots)}"
            plot_three_views(world.trajectory, place / names["plot"], title)
        if found:
            write_video(place / "overlay.mp4", _overlay(made, found, progress), made.shots.info.fps)
        (place / SUMMARY).write_text(json_text(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def _overlay(made: Calibrated, found: list[World], progress: Progress) -> Iterator[np.ndarray]:
    """The frames of the overlay."""
    info, scale = made.shots.info, min(1.0, OVERLAY / max(made.shots.info.width, made.shots.info.height))
    width, height = (max(2, 2 * round(side * scale / 2)) for side in (info.width, info.height))
    places = {int(t): (world, n) for world in found for n, t in enumerate(world.number_T)}
    grounds = {id(world): overlay.find_ground(world.trajectory.pose_T34, world.point_M3) for world in found}
    shot_T = np.repeat(np.arange(len(spans(made))), [end - start for start, end in spans(made)])
    filters = f"scale={width}:{height}:flags=area"
    for t, frame_HWC in enumerate(stream_video(made.video, width, height, info.frames, filters)):
        shot = int(shot_T[t])
        if t in places:
            world, n = places[t]
            path, several = world.trajectory, f", world {found.index(world) + 1}" * (len(found) > 1)
            lens_4 = path.intrinsics_T4[n] * np.tile([width / info.width, height / info.height], 2)
            label = f"shot {shot + 1}{several}, frame {t}"
            yield overlay.draw(frame_HWC, path.pose_T34[n], lens_4, grounds[id(world)], label)
        else:
            failed = ", ".join(made.cameras.quality[shot].failed)
            yield overlay.labelled(frame_HWC, f"shot {shot + 1}: no camera ({failed})")
        if t % 16 == 15 or t == info.frames - 1:
            progress("overlay", t + 1, info.frames)


def values(made: Calibrated, found: list[World]) -> dict[str, Any]:
    """Returns the summary of a calibration for JSON. Shots and worlds are counted from 1, frames from 0."""
    info = made.shots.info
    of_world = [
        {
            "shots": [k + 1 for k in world.shots],
            "trajectory": _name("trajectory", n, ".json"),
            "points": _name("points", n, ".ply") if len(world.point_M3) else None,
            "plot": _name("plot", n, ".png"),
        }
        for n, world in enumerate(found)
    ]
    number = {k: n + 1 for n, world in enumerate(found) for k in world.shots}
    return {
        kept.KEY: made.made_of,
        "versions": _versions(made.config.reconstruct),
        "video": {"name": made.video.name, **info._asdict(), "picture": list(made.picture)},
        "settings": dataclasses.asdict(made.config),
        "reconstructed": {"frames": len(made.number_N), "width": made.footage.size[0], "height": made.footage.size[1]},
        "cuts": [start for start, _ in spans(made)[1:]],
        "worlds": of_world,
        "shots": [_of_shot(made, k, number.get(k)) for k in range(len(made.shots.spans))],
        "gates": {name: finite(dataclasses.asdict(gate)) for name, gate in GATES.items()},
        "notes": list(made.cameras.notes),
    }


def _name(stem: str, number: int, suffix: str) -> str:
    return f"{stem}_{number + 1}{suffix}" if number else f"{stem}{suffix}"


def _of_shot(made: Calibrated, shot: int, world: int | None) -> dict[str, Any]:
    quality, own = made.cameras.quality[shot], made.footage.shot_T == shot
    focal_N = to_film(made.cameras.lens_T4[own & made.cameras.found_T], made.picture, made.footage.size)[:, 0]
    measured = finite(dataclasses.asdict(quality))
    return {
        "shot": shot + 1,
        "frames": list(spans(made)[shot]),
        "whole": list(made.shots.spans[shot]),
        "reconstructed": int(own.sum()),
        "world": world,
        "accepted": quality.passed,
        "failed": list(measured.pop("failed")),
        "focal": [round(float(f), 3) for f in (focal_N[[0, -1]] if len(focal_N) else ())],
        "quality": measured,
    }


def finite(numbers: dict[str, Any]) -> dict[str, Any]:
    """Returns numbers by name for JSON, with null for what was not measured and for no bound."""
    real = lambda value: not isinstance(value, float) or math.isfinite(value)  # noqa: E731
    rounded = {
        name: round(value, 6) if isinstance(value, float) and real(value) else value for name, value in numbers.items()
    }
    return {name: value if real(value) else None for name, value in rounded.items()}


def _versions(reconstruct: str) -> dict[str, str]:
    versions = {"shotverse_jax": shotverse_jax.__version__}
    if reconstruct == "colmap":
        versions["pycolmap"] = metadata.version("pycolmap")
    return versions
