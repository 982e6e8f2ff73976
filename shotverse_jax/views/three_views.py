"""A camera path in the three views of GenDoP's figures: from behind, from above and from the side, red to purple."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.views.drawing import INK, PALE, check_suffix, short, write_figure
from shotverse_jax.views.fonts import letters_for

VIEWS = (
    ("front", "right", "up", (0, 1)),
    ("top", "right", "forward", (0, 2)),
    ("side", "forward", "up", (2, 1)),
)
"""Of each view its title, what its two axes show, and which of (right, up, forward) they are."""

CAMERAS = 30
"""Cameras that are drawn of a path, as many as GenDoP's tokens hold."""

FACES = ((0, 1, 2), (0, 2, 3), (0, 3, 4), (0, 4, 1), (1, 2, 3, 4))
"""The faces of a view's pyramid: its eye is corner 0."""

ROOM = 1.1
"""The views reach this many times as far as the farthest camera."""


def colors_of(count: int) -> np.ndarray:
    """Returns colours [count, 4] from red, the first, to purple, the last."""
    return colormaps["rainbow"](np.linspace(1.0, 0.0, count))


def first_camera_points(trajectory: Trajectory) -> np.ndarray:
    """Returns the poses [T, 3, 4] in the first camera's world of right, up and forward; their columns are OpenCV's."""
    pose_T34 = se3.relative(trajectory.pose_T34[0], trajectory.pose_T34)
    return pose_T34 * np.array([[1.0], [-1.0], [1.0]])


def pyramids(trajectory: Trajectory, pose_T34: np.ndarray, frames: np.ndarray, size: float) -> np.ndarray:
    """Returns the corners [F, 5, 3] of cameras' views, `size` deep; corner 0 is the eye.

    A view is as wide and high as its lens has it, but at most as wide as it is deep.
    """
    fx, fy, cx, cy = trajectory.intrinsics_T4[frames].T
    width, height = trajectory.width, trajectory.height
    corners = [
        ((u - cx) / fx, (v - cy) / fy, np.ones_like(fx)) for u, v in ((0, 0), (width, 0), (width, height), (0, height))
    ]
    corner_F43 = size * np.array(corners).transpose(2, 0, 1)
    widest_F = np.abs(corner_F43[..., :2]).max((1, 2)) / size
    corner_F43[..., :2] /= np.maximum(2 * widest_F, 1.0)[:, None, None]
    points_F43 = se3.transform_points(pose_T34[frames][:, None], corner_F43)
    return np.concatenate([pose_T34[frames][:, None, :, 3], points_F43], axis=1)


def frames_of(trajectory: Trajectory, cameras: int = CAMERAS) -> np.ndarray:
    """Returns the frames [F] whose cameras are drawn: up to `cameras` of every shot, its first and last among them."""

    def of_shot(start: int, end: int) -> np.ndarray:
        return np.unique(np.linspace(start, end - 1, min(cameras, end - start)).round().astype(int))

    return np.concatenate([of_shot(*span) for span in trajectory.spans])


def plot_three_views(
    trajectory: Trajectory, path: str | Path, title: str | None = None, cameras: int = CAMERAS
) -> None:
    """Draws a path as GenDoP's pictures do, written whole or not at all.

    The front view shows right and up, as the first camera sees it; the top view right and forward; the side view
    forward and up. All have the same scale and the first camera of the first shot in their middle. Colours go from red
    at the beginning to purple at the end; a dotted line is a cut.

    Args:
        trajectory: the path, of any number of shots.
        path: the picture, .png, .svg or .pdf; missing folders above it are made.
        title: a line above the views; None (default) takes the first caption.
        cameras: that are drawn of every shot; default 30.

    Raises:
        ValueError: the suffix is another, or the picture cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    pose_T34 = first_camera_points(trajectory)
    eye_T3 = pose_T34[:, :, 3]
    reach = np.abs(eye_T3).max() * ROOM or 1.0  # a camera that stands still
    # What is drawn last covers the rest, so the beginning is drawn last: views begin there.
    frames = frames_of(trajectory, cameras)[::-1]
    corner_F53 = pyramids(trajectory, pose_T34, frames, reach / 4)
    color_T4 = colors_of(len(trajectory))
    reach = max(reach, np.abs(corner_F53).max() * 1.02)
    figure = Figure(figsize=(12.6, 4.7), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1, 3, left=0.055, right=0.985, bottom=0.115, top=0.86, wspace=0.24)
    for column, (name, across, up, plane) in enumerate(VIEWS):
        axes = figure.add_subplot(grid[column])
        _draw(axes, trajectory, eye_T3[:, list(plane)], corner_F53[:, :, list(plane)], frames, color_T4)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-reach, reach)
        axes.set_aspect("equal")
        axes.set_title(name, fontsize=11, color=INK)
        axes.set_xlabel(across, color=INK)
        axes.set_ylabel(up, color=INK, labelpad=2)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
        axes.tick_params(labelsize=8, colors=INK)
    captions = [caption for caption in (trajectory.global_caption, *trajectory.captions) if caption]
    title = title if title is not None else (captions or [""])[0]
    letters = letters_for([title])
    text = short(letters.drawable(title), 130)
    figure.text(0.055, 0.955, text, fontsize=10.5, color=INK, va="center", family=letters.families)
    write_figure(figure, path)


def _draw(axes, trajectory, eye_T2, corner_F52, frames, color_T4) -> None:
    axes.axhline(0, color=PALE, linewidth=0.5, zorder=0)
    axes.axvline(0, color=PALE, linewidth=0.5, zorder=0)
    for face in FACES:
        faces = corner_F52[:, list(face)]
        axes.add_collection(PolyCollection(faces, facecolors=color_T4[frames], edgecolors="none", alpha=0.09))
    for face in FACES:
        edges = PolyCollection(
            corner_F52[:, list(face)], facecolors="none", edgecolors=color_T4[frames], linewidths=0.6
        )
        edges.set_alpha(0.55)
        axes.add_collection(edges)
    pieces = np.stack([eye_T2[:-1], eye_T2[1:]], axis=1)
    same = np.diff(trajectory.shot_T) == 0
    axes.add_collection(LineCollection(pieces[same], colors=color_T4[1:][same], linewidths=2.2, capstyle="round"))
    axes.add_collection(LineCollection(pieces[~same], colors=PALE, linestyles=":", linewidths=1))
    axes.plot(*eye_T2[0], "o", color=color_T4[0], markersize=5)
    axes.plot(*eye_T2[-1], "s", color=color_T4[-1], markersize=5)
