"""A camera path on paper: from above, from the side, and in perspective."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.views.drawing import (
    INK,
    PALE,
    SUBJECT,
    SUBJECT_HEIGHT,
    TIME_COLORS,
    check_suffix,
    cuts,
    flat_view,
    frustums,
    paper_poses,
    path_pieces,
    short,
    write_figure,
)
from shotverse_jax.views.fonts import letters_for

_LINE = 0.21  # inches per line of the shot list


def plot_trajectory(trajectory: Trajectory, path: str | Path, tags: Sequence[str] | None = None) -> None:
    """Draws a camera path as a picture, written whole or not at all.

    The picture has three views in metres with equal scales: from above with the subject facing down the page, from the
    side, and in perspective with the path's trace on the floor. Colours show time. Frustums show the view at the start,
    thirds and end of each shot; a number marks its first frame, and a dotted line the cut to it. The subject is drawn
    where the stage is known. Below the views there is one line of text per shot.

    Args:
        trajectory: the path. It is drawn in stage coordinates; without `stage_34` in those of `implied_stage` and
            without a subject.
        path: the picture, its suffix names the format (.png, .svg, .pdf); missing folders above it are made.
        tags: one text per shot that names its moves; None (default) for none.

    Raises:
        ValueError: there is not one tag per shot, the picture format is unknown, or the picture cannot be written.
    """
    if tags is not None and len(tags) != trajectory.num_shots:
        raise ValueError(f"{trajectory.num_shots} shots but {len(tags)} lines of tags")
    path = Path(path)
    check_suffix(path)
    pose_T34 = paper_poses(trajectory)
    lines = _shot_lines(trajectory, tags)
    height = 5.6 + _LINE * len(lines)
    figure = Figure(figsize=(14, height), dpi=100, facecolor="white")
    # A figure of its own, without pyplot: pyplot would keep every figure in memory and may ask for a display.
    FigureCanvasAgg(figure)
    floor = (_LINE * len(lines) + 0.25) / height
    grid = figure.add_gridspec(
        1, 3, left=0.058, right=0.915, bottom=floor + 0.55 / height, top=1 - 0.85 / height, wspace=0.2
    )
    views = (((0, 1), "from above", "across"), ((1, 2), "from the side", "away"))
    for column, (plane, title, across) in enumerate(views):
        axes = figure.add_subplot(grid[column])
        flat_view(axes, trajectory, pose_T34, plane)
        axes.set_title(title, fontsize=11, color=INK)
        axes.set_xlabel(f"{across} (m)")
        axes.set_ylabel("away (m)" if column == 0 else "height (m)")
    _solid_view(figure.add_subplot(grid[2], projection="3d"), trajectory, pose_T34)

    seconds = len(trajectory) / trajectory.fps
    bar = figure.add_axes((0.952, floor + 0.9 / height, 0.008, 1 - floor - 2.2 / height))
    figure.colorbar(ScalarMappable(Normalize(0, seconds), TIME_COLORS), cax=bar, label="time (s)")
    letters = letters_for([trajectory.global_caption, *lines])
    title = short(letters.drawable(trajectory.global_caption), 120) or "Camera path"
    figure.text(0.045, 1 - 0.3 / height, title, fontsize=13, color=INK, va="center", family=letters.families)
    for index, text in enumerate(lines):
        y = (_LINE * (len(lines) - index) + 0.02) / height
        figure.text(0.045, y, text, fontsize=9.5, color=INK, va="center", family=letters.families)
    write_figure(figure, path)


def _shot_lines(trajectory: Trajectory, tags: Sequence[str] | None) -> list[str]:
    """One line of text per shot: its number, its seconds, its tags and its caption as far as a font has its letters."""
    lines, letters = [], letters_for(trajectory.captions)
    for index, (start, end) in enumerate(trajectory.spans):
        parts = [f"SHOT {index + 1}   {start / trajectory.fps:.1f}–{end / trajectory.fps:.1f} s"]
        parts += [short(tags[index], 60)] if tags else []
        caption = short(letters.drawable(trajectory.captions[index]), 110 if tags else 170)
        lines.append("   ·   ".join([*parts, caption] if caption else parts))
    return lines


def _solid_view(axes, trajectory: Trajectory, pose_T34: np.ndarray) -> None:
    """Draws the path in perspective, with its trace on the floor."""
    eye_T3, frustums_F = pose_T34[:, :, 3], frustums(trajectory, pose_T34)
    trace = eye_T3 * [1, 1, 0]
    pieces, colors = path_pieces(trajectory, eye_T3)
    lines = [
        (path_pieces(trajectory, trace)[0], {"colors": "#cfcfcf", "linewidths": 1.5}),
        (cuts(trajectory, eye_T3), {"colors": PALE, "linestyles": ":", "linewidths": 1}),
        *((edges, {"colors": [TIME_COLORS(time)], "linewidths": 0.8, "alpha": 0.8}) for time, edges in frustums_F),
        (pieces, {"colors": colors, "linewidths": 2.4}),
    ]
    for segments, look in lines:
        if len(segments):  # a film of one frame has no path, a film of one shot no cut
            axes.add_collection3d(Line3DCollection(segments, **look), autolim=False)
    for index, (start, _) in enumerate(trajectory.spans):
        axes.text(*eye_T3[start], f" {index + 1}", fontsize=10, color=INK, zorder=9)
    cloud = [eye_T3, trace, *(edges.reshape(-1, 3) for _, edges in frustums_F)]
    if trajectory.stage_34 is not None:
        axes.plot([0, 0], [0, 0], [0, SUBJECT_HEIGHT - 0.2], color=SUBJECT, linewidth=4, solid_capstyle="round")
        axes.plot([0], [0], [SUBJECT_HEIGHT - 0.1], "o", color=SUBJECT, markersize=6)
        cloud.append(np.array([[-0.3, -0.3, 0], [0.3, 0.3, SUBJECT_HEIGHT]]))
    low, high = np.concatenate(cloud).min(0), np.concatenate(cloud).max(0)
    # A nearly flat path would make a box too thin to read, so no side is much shorter than the longest.
    middle, span = (low + high) / 2, np.maximum(high - low, 0.35 * (high - low).max()) * 1.05
    # A camera that stands still gets a box of a metre and not of nothing.
    span = np.maximum(span, 1.0)
    low_z = min(low[2], 0.0)
    axes.set_xlim(middle[0] - span[0] / 2, middle[0] + span[0] / 2)
    axes.set_ylim(middle[1] - span[1] / 2, middle[1] + span[1] / 2)
    axes.set_zlim(low_z, low_z + span[2])
    axes.set_box_aspect(span, zoom=0.98)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_major_locator(MaxNLocator(4))
    axes.view_init(elev=24, azim=-60)
    axes.set_title("in perspective", fontsize=11, color=INK)
    axes.set_xlabel("across")
    axes.set_ylabel("away")
    axes.tick_params(labelsize=8, pad=0)
