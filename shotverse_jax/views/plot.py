"""A camera path on paper: from above, from the side, and in perspective."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.files import replacing
from shotverse_jax.stage.preview import stage_poses

_INK, _PALE, _SUBJECT = "#222222", "#9a9a9a", "#c0392b"
_COLORS = colormaps["viridis"]
_LINE = 0.21  # inches per line of the shot list
_SUBJECT_HEIGHT = 1.7


def plot_trajectory(trajectory: Trajectory, path: str | Path, tags: Sequence[str] | None = None) -> None:
    """Draws a camera path as a picture (the suffix names its format, .png), written whole or not at all.

    Three views in metres with equal axes: from above with the subject facing down the page, from the side, in
    perspective with the path's trace on the floor. Paths are coloured by time; frustums show where keyframes look; a
    number marks the first frame of each shot and a dotted line the cut to it; the subject is drawn where the stage is
    known. Below stands one line per shot.

    Args:
        trajectory: drawn in stage coordinates; without `stage_34` in those of `implied_stage`, without a subject.
        path: the picture; missing folders above it are made.
        tags: one line per shot that names its moves.

    Raises:
        ValueError: tags that do not fit the shots, an unknown picture format, or a path that cannot be written.
    """
    if tags is not None and len(tags) != trajectory.num_shots:
        raise ValueError(f"{trajectory.num_shots} shots but {len(tags)} lines of tags")
    path = Path(path)
    if not path.suffix:
        raise ValueError(f"{path} needs a suffix that names the picture's format, like .png")
    known = trajectory.stage_34 is not None
    pose_T34 = _paper_poses(trajectory)
    lines = _shot_lines(trajectory, tags)
    height = 5.6 + _LINE * len(lines)
    figure = Figure(figsize=(14, height), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    floor = (_LINE * len(lines) + 0.25) / height
    grid = figure.add_gridspec(
        1, 3, left=0.058, right=0.915, bottom=floor + 0.55 / height, top=1 - 0.85 / height, wspace=0.2
    )
    frustums_F823 = _frustums(trajectory, pose_T34)
    views = (((0, 1), "from above", "across"), ((1, 2), "from the side", "away"))
    for column, (plane, title, across) in enumerate(views):
        axes = figure.add_subplot(grid[column])
        _flat_view(axes, trajectory, pose_T34[:, :, 3], frustums_F823, plane, known)
        axes.set_title(title, fontsize=11, color=_INK)
        axes.set_xlabel(f"{across} (m)")
        axes.set_ylabel("away (m)" if column == 0 else "height (m)")
    _solid_view(figure.add_subplot(grid[2], projection="3d"), trajectory, pose_T34[:, :, 3], frustums_F823, known)

    seconds = len(trajectory) / trajectory.fps
    bar = figure.add_axes((0.952, floor + 0.9 / height, 0.008, 1 - floor - 2.2 / height))
    figure.colorbar(ScalarMappable(Normalize(0, seconds), _COLORS), cax=bar, label="time (s)")
    title = _short(trajectory.global_caption, 120) or "Camera path"
    figure.text(0.045, 1 - 0.3 / height, title, fontsize=13, color=_INK, va="center")
    for index, text in enumerate(lines):
        y = (_LINE * (len(lines) - index) + 0.02) / height
        figure.text(0.045, y, text, fontsize=9.5, color=_INK, va="center")
    with replacing(path) as scratch:
        figure.savefig(scratch)


def plot_film(
    video_THW3: np.ndarray, trajectory: Trajectory, path: str | Path, beside_THW3: np.ndarray | None = None
) -> None:
    """Draws a contact sheet: of every shot its first, middle and last frame, and the camera path from above.

    Args:
        video_THW3: uint8 frames, one per pose.
        trajectory: the camera of the film.
        path: the picture, written whole or not at all.
        beside_THW3: another film through the same camera, drawn to the right of the first.

    Raises:
        ValueError: a film whose frames are not one per pose, or a path that cannot be written.
    """
    films = [video_THW3] if beside_THW3 is None else [video_THW3, beside_THW3]
    for film in films:
        if len(film) != len(trajectory):
            raise ValueError(f"a film of {len(film)} frames cannot be shown with a path of {len(trajectory)} poses")
    rows, columns = trajectory.num_shots, 3 * len(films)
    cell = 2.3, 2.3 * video_THW3.shape[1] / video_THW3.shape[2] + 0.34
    sheet, side = columns * cell[0], 4.2
    width, height = sheet + side + 0.5, max(rows * cell[1] + 0.6, 3.6)
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    title = _short(trajectory.global_caption, round(10 * width)) or "Film"
    figure.text(0.25 / width, 1 - 0.28 / height, title, fontsize=13, color=_INK, va="center")
    for shot, (start, end) in enumerate(trajectory.spans):
        top = height - 0.55 - shot * cell[1]
        caption = _short(f"{shot + 1}   {trajectory.captions[shot]}", round(12 * sheet))
        figure.text(0.25 / width, (top - 0.13) / height, caption, fontsize=9.5, color=_INK, va="center")
        for column in range(columns):
            film, frame = films[column // 3], (start, (start + end - 1) // 2, end - 1)[column % 3]
            left = 0.25 + column * cell[0] + 0.12 * (column // 3)
            box = left / width, (top - cell[1]) / height, (cell[0] - 0.06) / width, (cell[1] - 0.3) / height
            axes = figure.add_axes(box)
            axes.imshow(film[frame], interpolation="bicubic")
            axes.set_axis_off()
            if beside_THW3 is not None and shot == 0 and column % 3 == 0:
                figure.text(
                    left / width, 1 - 0.5 / height, ("generated", "stage")[column // 3], fontsize=8.5, color=_PALE
                )
    axes = figure.add_axes(((sheet + 1.1) / width, 0.55 / height, (side - 0.9) / width, 1 - 1.2 / height))
    poses_T34 = _paper_poses(trajectory)
    frustums = _frustums(trajectory, poses_T34)
    _flat_view(axes, trajectory, poses_T34[:, :, 3], frustums, (0, 1), trajectory.stage_34 is not None)
    axes.set_title("camera from above (m)", fontsize=10, color=_INK)
    axes.tick_params(labelsize=8)
    with replacing(path) as scratch:
        figure.savefig(scratch)


def _paper_poses(trajectory: Trajectory) -> np.ndarray:
    """[T, 3, 4] poses on paper: across (to the right of who looks at the subject's face), away (behind it), height."""
    pose_T34 = stage_poses(trajectory)
    return np.stack([-pose_T34[:, 0], -pose_T34[:, 2], -pose_T34[:, 1]], axis=1)


def _short(text: str, letters: int) -> str:
    """First line of a text, cut at a word with an ellipsis."""
    text = " ".join(text.split()).replace("$", r"\$")
    return text if len(text) <= letters else text[: letters - 1].rsplit(" ", 1)[0].rstrip(" ,.;") + "…"


def _shot_lines(trajectory: Trajectory, tags: Sequence[str] | None) -> list[str]:
    lines = []
    for index, (start, end) in enumerate(trajectory.spans):
        parts = [f"SHOT {index + 1}   {start / trajectory.fps:.1f}–{end / trajectory.fps:.1f} s"]
        parts += [_short(tags[index], 60)] if tags else []
        caption = _short(trajectory.captions[index], 110 if tags else 170)
        lines.append("   ·   ".join([*parts, caption] if caption else parts))
    return lines


def _frustums(trajectory: Trajectory, pose_T34: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """(time in [0, 1], eight edges [8, 2, 3]) of the view at the start, thirds and end of each shot."""
    keys = sorted({round(f) for a, b in trajectory.spans for f in np.linspace(a, b - 1, 4)})
    eye_T3 = pose_T34[:, :, 3]
    size = np.clip(0.09 * np.ptp(eye_T3, axis=0).max(), 0.2, None)
    out = []
    for frame in keys:
        fx, fy, cx, cy = trajectory.intrinsics_T4[frame]
        corners = [((u - cx) / fx, (v - cy) / fy, 1.0) for v in (0, trajectory.height) for u in (0, trajectory.width)]
        corners = se3.transform_points(pose_T34[frame], size * np.array(corners))
        loop = corners[[0, 1, 3, 2, 0]]
        edges = [(eye_T3[frame], c) for c in corners] + list(zip(loop[:-1], loop[1:], strict=True))
        out.append((frame / max(len(trajectory) - 1, 1), np.array(edges)))
    return out


def _path_pieces(trajectory: Trajectory, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Segments [S, 2, D] between neighbouring frames of one shot and their colours; cuts are left out."""
    same = np.diff(trajectory.shot_T) == 0
    pieces = np.stack([points[:-1], points[1:]], axis=1)[same]
    return pieces, _COLORS(np.linspace(0, 1, max(len(points) - 1, 1)))[: len(same)][same]


def _cuts(trajectory: Trajectory, points: np.ndarray) -> list[np.ndarray]:
    return [points[[start - 1, start]] for start, _ in trajectory.spans[1:]]


def _flat_view(axes, trajectory, eye_T3, frustums_F823, plane, known) -> None:
    plane = list(plane)
    points = eye_T3[:, plane]
    pieces, colors = _path_pieces(trajectory, points)
    axes.add_collection(LineCollection(_cuts(trajectory, points), colors=_PALE, linestyles=":", linewidths=1))
    for time, edges in frustums_F823:
        axes.add_collection(LineCollection(edges[..., plane], colors=[_COLORS(time)], linewidths=0.8, alpha=0.75))
    cloud = [points, *(edges[..., plane].reshape(-1, 2) for _, edges in frustums_F823)]
    axes.add_collection(LineCollection(pieces, colors=colors, linewidths=2.6, capstyle="round"))
    if plane[1] == 2:
        axes.axhline(0, color=_PALE, linewidth=1)
        cloud.append(points[:1] * [1, 0])  # the floor below the first camera is always in the picture
    if known:
        cloud.append(_flat_subject(axes, from_above=plane == [0, 1]))
    for index, (x, y) in enumerate(_apart(points[[start for start, _ in trajectory.spans]])):
        start = trajectory.spans[index][0]
        axes.plot(*points[start], "o", color=_COLORS(start / len(trajectory)), markersize=5, zorder=4)
        badge = {"boxstyle": "circle,pad=0.22", "facecolor": "white", "edgecolor": _INK, "linewidth": 0.8}
        axes.annotate(
            str(index + 1), points[start], (x, y), textcoords="offset points", fontsize=9, bbox=badge, zorder=5,
            ha="center", va="center",
        )  # fmt: skip
    _equal_limits(axes, np.concatenate(cloud), rests=plane[1] == 2)
    axes.grid(True, color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _equal_limits(axes, cloud: np.ndarray, rests: bool) -> None:
    """Limits that hold all points with the same scale both ways; `rests` puts spare height above, not below."""
    box, (width, height) = axes.get_position(), axes.figure.get_size_inches()
    ratio = box.width * width / (box.height * height)
    low, high = cloud.min(0), cloud.max(0)
    margin = 0.1 * max((high - low).max(), 1.0)
    low, high = low - margin, high + margin
    span = max(high[1] - low[1], (high[0] - low[0]) / ratio, 3.0)
    x, y = (low[0] + high[0]) / 2, low[1] if rests else (low[1] + high[1] - span) / 2
    axes.set_xlim(x - span * ratio / 2, x + span * ratio / 2)
    axes.set_ylim(y, y + span)
    axes.set_aspect("equal")


def _apart(starts: np.ndarray) -> list[tuple[float, float]]:
    """Offsets in points for the number of each shot: shots that start at one place get theirs in different places."""
    offsets = ((11.0, 11.0), (-11.0, 11.0), (-11.0, -11.0), (11.0, -11.0))
    reach = max(np.ptp(starts, axis=0).max(), 1e-9)
    out = []
    for index, start in enumerate(starts):
        near = int((np.linalg.norm(starts[:index] - start, axis=1) < 0.08 * reach).sum()) if index else 0
        out.append(offsets[near % 4])
    return out


def _flat_subject(axes, from_above: bool) -> np.ndarray:
    """Draws a figure with an arrow where it faces; returns two corners [2, 2] that hold it."""
    arrow = {"arrowstyle": "-|>", "color": _SUBJECT, "linewidth": 1.5}
    if from_above:
        axes.add_patch(Circle((0, 0), 0.24, color=_SUBJECT, zorder=3))
        axes.annotate("", (0, -0.75), (0, 0), arrowprops=arrow, zorder=3)
        return np.array([(-0.3, -0.8), (0.3, 0.3)])
    head = _SUBJECT_HEIGHT - 0.13
    axes.plot([0, 0], [0, head], color=_SUBJECT, linewidth=4, solid_capstyle="round", zorder=3)
    axes.add_patch(Circle((0, head), 0.13, color=_SUBJECT, zorder=3))
    axes.annotate("", (-0.65, head), (0, head), arrowprops=arrow, zorder=3)
    return np.array([(-0.7, 0.0), (0.3, _SUBJECT_HEIGHT)])


def _solid_view(axes, trajectory, eye_T3, frustums_F823, known) -> None:
    trace = eye_T3 * [1, 1, 0]
    pieces, colors = _path_pieces(trajectory, eye_T3)
    lines = [
        (_path_pieces(trajectory, trace)[0], {"colors": "#cfcfcf", "linewidths": 1.5}),
        (_cuts(trajectory, eye_T3), {"colors": _PALE, "linestyles": ":", "linewidths": 1}),
        *((edges, {"colors": [_COLORS(time)], "linewidths": 0.8, "alpha": 0.8}) for time, edges in frustums_F823),
        (pieces, {"colors": colors, "linewidths": 2.4}),
    ]
    for segments, look in lines:
        if len(segments):  # a film of one frame has no path, a film of one shot no cut
            axes.add_collection3d(Line3DCollection(segments, **look), autolim=False)
    for index, (start, _) in enumerate(trajectory.spans):
        axes.text(*eye_T3[start], f" {index + 1}", fontsize=10, color=_INK, zorder=9)
    cloud = [eye_T3, trace, *(edges.reshape(-1, 3) for _, edges in frustums_F823)]
    if known:
        axes.plot([0, 0], [0, 0], [0, _SUBJECT_HEIGHT - 0.2], color=_SUBJECT, linewidth=4, solid_capstyle="round")
        axes.plot([0], [0], [_SUBJECT_HEIGHT - 0.1], "o", color=_SUBJECT, markersize=6)
        cloud.append(np.array([[-0.3, -0.3, 0], [0.3, 0.3, _SUBJECT_HEIGHT]]))
    low, high = np.concatenate(cloud).min(0), np.concatenate(cloud).max(0)
    middle, span = (low + high) / 2, np.maximum(high - low, 0.35 * (high - low).max()) * 1.05
    span = np.maximum(span, 1.0)
    low_z = min(low[2], 0.0)
    axes.set_xlim(middle[0] - span[0] / 2, middle[0] + span[0] / 2)
    axes.set_ylim(middle[1] - span[1] / 2, middle[1] + span[1] / 2)
    axes.set_zlim(low_z, low_z + span[2])
    axes.set_box_aspect(span, zoom=0.98)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_major_locator(MaxNLocator(4))
    axes.view_init(elev=24, azim=-60)
    axes.set_title("in perspective", fontsize=11, color=_INK)
    axes.set_xlabel("across")
    axes.set_ylabel("away")
    axes.tick_params(labelsize=8, pad=0)
