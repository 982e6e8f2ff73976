"""Elements of the pictures of a camera path: its coordinates on paper, its colours, and the view in a plane."""

import unicodedata
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.files import replacing
from shotverse_jax.stage.preview import stage_poses

INK, PALE, SUBJECT = "#222222", "#9a9a9a", "#c0392b"
TIME_COLORS = colormaps["viridis"]
"""Colours of the path from its first frame (0) to its last (1)."""
SUBJECT_HEIGHT = 1.7
"""Height of the drawn subject, metres."""


SUFFIXES = (".png", ".svg", ".pdf")
"""Formats in which pictures are drawn."""


def check_suffix(path: Path) -> None:
    """Raises ValueError for a picture whose name does not end in one of `SUFFIXES`."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} is no picture that can be drawn: its name should end in {', '.join(SUFFIXES)}")


def write_figure(figure: Figure, path: Path) -> None:
    """Writes a picture, whole or not at all; equal figures become equal bytes. Raises ValueError where it cannot."""
    check_suffix(path)
    # matplotlib would write the date, and make random names of the parts of an .svg.
    dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    vector = path.suffix.lower() == ".svg"
    with replacing(path) as scratch, rc_context({"svg.hashsalt": path.suffix}) if vector else nullcontext():
        figure.savefig(scratch, metadata=dates.get(path.suffix.lower()))


def paper_poses(trajectory: Trajectory) -> np.ndarray:
    """Returns the poses [T, 3, 4] in the coordinates of the paper: across, away, height; metres on the stage.

    "Across" points to the right of someone who looks at the subject's face, "away" points behind the subject.
    """
    pose_T34 = stage_poses(trajectory)
    # Three axes change sign and two change places, which together is a rotation: nothing is mirrored.
    return np.stack([-pose_T34[:, 0], -pose_T34[:, 2], -pose_T34[:, 1]], axis=1)


def short(text: str, letters: int) -> str:
    """Returns a text on one line, shortened at a word with an ellipsis to at most `letters` letters.

    A letter of Chinese or Japanese is as wide as two, and is a word of its own.
    """
    text, room, end = " ".join(text.split()), letters, 0
    while end < len(text) and room > 0:
        room -= 2 if unicodedata.east_asian_width(text[end]) in "WF" else 1
        end += 1
    if end < len(text) or room < 0:
        cut = text[: end - 1]
        cut = cut if cut and not cut[-1].isascii() and not cut[-1].isspace() else cut.rsplit(" ", 1)[0]
        text = cut.rstrip(" ,.;，。") + "…"
    # matplotlib would read "$" as mathematics.
    return text.replace("$", r"\$")


def frustums(trajectory: Trajectory, pose_T34: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Returns (time in [0, 1], eight edges [8, 2, 3]) of the camera's view at start, thirds and end of each shot.

    `pose_T34` are the `paper_poses`.
    """
    keys = sorted({round(f) for a, b in trajectory.spans for f in np.linspace(a, b - 1, 4)})
    eye_T3 = pose_T34[:, :, 3]
    # A view is as long as a small share of the path, so it neither hides the path nor gets lost beside it.
    size = np.clip(0.09 * np.ptp(eye_T3, axis=0).max(), 0.2, None)
    out = []
    for frame in keys:
        fx, fy, cx, cy = trajectory.intrinsics_T4[frame]
        corners = [((u - cx) / fx, (v - cy) / fy, 1.0) for v in (0, trajectory.height) for u in (0, trajectory.width)]
        corners = se3.transform_points(pose_T34[frame], size * np.array(corners))
        # The corners were listed row by row; 3 before 2 goes around the picture.
        loop = corners[[0, 1, 3, 2, 0]]
        edges = [(eye_T3[frame], c) for c in corners] + list(zip(loop[:-1], loop[1:], strict=True))
        out.append((frame / max(len(trajectory) - 1, 1), np.array(edges)))
    return out


def path_pieces(trajectory: Trajectory, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the segments [S, 2, D] between neighbouring frames of one shot, and their colours; cuts are left out."""
    same = np.diff(trajectory.shot_T) == 0
    pieces = np.stack([points[:-1], points[1:]], axis=1)[same]
    return pieces, TIME_COLORS(np.linspace(0, 1, max(len(points) - 1, 1)))[: len(same)][same]


def cuts(trajectory: Trajectory, points: np.ndarray) -> list[np.ndarray]:
    """Returns the segments [2, D] from the last frame of a shot to the first frame of the next."""
    return [points[[start - 1, start]] for start, _ in trajectory.spans[1:]]


def flat_view(axes, trajectory: Trajectory, pose_T34: np.ndarray, plane: tuple[int, int]) -> None:
    """Draws a camera path in a plane: from above or from the side, with equal scales.

    Args:
        axes: matplotlib's axes.
        trajectory: the path; the subject is drawn where its stage is known.
        pose_T34: the `paper_poses` of the trajectory.
        plane: paper coordinates to the right and up, (0, 1) from above, (1, 2) from the side.
    """
    plane = list(plane)
    points = pose_T34[:, plane, 3]
    frustums_F = frustums(trajectory, pose_T34)
    pieces, colors = path_pieces(trajectory, points)
    axes.add_collection(LineCollection(cuts(trajectory, points), colors=PALE, linestyles=":", linewidths=1))
    for time, edges in frustums_F:
        axes.add_collection(LineCollection(edges[..., plane], colors=[TIME_COLORS(time)], linewidths=0.8, alpha=0.75))
    cloud = [points, *(edges[..., plane].reshape(-1, 2) for _, edges in frustums_F)]
    axes.add_collection(LineCollection(pieces, colors=colors, linewidths=2.6, capstyle="round"))
    if plane[1] == 2:
        axes.axhline(0, color=PALE, linewidth=1)
        cloud.append(points[:1] * [1, 0])  # the floor below the first camera is always in the picture
    if trajectory.stage_34 is not None:
        cloud.append(_flat_subject(axes, from_above=plane == [0, 1]))
    for index, (x, y) in enumerate(_apart(points[[start for start, _ in trajectory.spans]])):
        start = trajectory.spans[index][0]
        axes.plot(*points[start], "o", color=TIME_COLORS(start / len(trajectory)), markersize=5, zorder=4)
        badge = {"boxstyle": "circle,pad=0.22", "facecolor": "white", "edgecolor": INK, "linewidth": 0.8}
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
    """Sets limits that hold all points, with one scale in both directions.

    With `rests` spare height is added above the points only: the floor stays at the lower edge.
    """
    # The scale must fit the box of the axes in inches, else matplotlib would shrink the box itself.
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
    """Offsets, in points, of the shots' numbers. Shots that start near each other get different offsets."""
    offsets = ((11.0, 11.0), (-11.0, 11.0), (-11.0, -11.0), (11.0, -11.0))
    reach = max(np.ptp(starts, axis=0).max(), 1e-9)
    out = []
    for index, start in enumerate(starts):
        near = int((np.linalg.norm(starts[:index] - start, axis=1) < 0.08 * reach).sum()) if index else 0
        out.append(offsets[near % 4])
    return out


def _flat_subject(axes, from_above: bool) -> np.ndarray:
    """Draws a figure with an arrow in the direction it faces; returns two corners [2, 2] that hold it."""
    arrow = {"arrowstyle": "-|>", "color": SUBJECT, "linewidth": 1.5}
    if from_above:
        axes.add_patch(Circle((0, 0), 0.24, color=SUBJECT, zorder=3))
        axes.annotate("", (0, -0.75), (0, 0), arrowprops=arrow, zorder=3)
        return np.array([(-0.3, -0.8), (0.3, 0.3)])
    head = SUBJECT_HEIGHT - 0.13
    axes.plot([0, 0], [0, head], color=SUBJECT, linewidth=4, solid_capstyle="round", zorder=3)
    axes.add_patch(Circle((0, head), 0.13, color=SUBJECT, zorder=3))
    axes.annotate("", (-0.65, head), (0, head), arrowprops=arrow, zorder=3)
    return np.array([(-0.7, 0.0), (0.3, SUBJECT_HEIGHT)])
