"""The contact sheet of a film: frames of every shot beside the camera path from above."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.views.drawing import INK, PALE, flat_view, paper_poses, short, write_figure
from shotverse_jax.views.fonts import letters_for


def plot_film(
    video_THW3: np.ndarray,
    trajectory: Trajectory,
    path: str | Path,
    beside_THW3: np.ndarray | None = None,
    names: tuple[str, str] = ("generated", "stage"),
    weights: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Draws a contact sheet: the first, middle and last frame of every shot, and the camera path from above.

    Args:
        video_THW3: [T, H, W, 3] uint8 frames, one per pose.
        trajectory: the camera of the film.
        path: the picture, written whole or not at all; its suffix names the format (.png, .svg, .pdf).
        beside_THW3: another film of the same shots, drawn to the right of the first; None (default) for none.
        names: of the two films.
        weights: of adapters by their names, [steps, latent frames]; drawn below the path. None (default) for none.

    Raises:
        ValueError: a film does not have one frame per pose, or the picture cannot be written.
    """
    films = [video_THW3] if beside_THW3 is None else [video_THW3, beside_THW3]
    for film in films:
        if len(film) != len(trajectory):
            raise ValueError(f"a film of {len(film)} frames cannot be shown with a path of {len(trajectory)} poses")
    # All lengths are inches from here on: the sheet grows with the shots, and matplotlib wants shares of the figure.
    rows, columns = trajectory.num_shots, 3 * len(films)
    cell = 2.3, 2.3 * video_THW3.shape[1] / video_THW3.shape[2] + 0.34
    sheet, side = columns * cell[0], 4.2
    strip = 0.32 * len(weights) + 0.75 if weights else 0.0
    width, height = sheet + side + 0.5, max(rows * cell[1] + 0.6, 3.6 + strip)
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    letters = letters_for([trajectory.global_caption, *trajectory.captions])
    words = {"color": INK, "va": "center", "family": letters.families}
    title = short(letters.drawable(trajectory.global_caption), round(10 * width)) or "Film"
    figure.text(0.25 / width, 1 - 0.28 / height, title, fontsize=13, **words)
    for shot, (start, end) in enumerate(trajectory.spans):
        top = height - 0.55 - shot * cell[1]
        caption = short(f"{shot + 1}   {letters.drawable(trajectory.captions[shot])}", round(12 * sheet))
        figure.text(0.25 / width, (top - 0.13) / height, caption, fontsize=9.5, **words)
        for column in range(columns):
            film, frame = films[column // 3], (start, (start + end - 1) // 2, end - 1)[column % 3]
            left = 0.25 + column * cell[0] + 0.12 * (column // 3)
            box = left / width, (top - cell[1]) / height, (cell[0] - 0.06) / width, (cell[1] - 0.3) / height
            axes = figure.add_axes(box)
            axes.imshow(film[frame], interpolation="bicubic")
            axes.set_axis_off()
            if beside_THW3 is not None and shot == 0 and column % 3 == 0:
                figure.text(left / width, 1 - 0.5 / height, names[column // 3], fontsize=8.5, color=PALE)
    box = (sheet + 1.1) / width, (0.55 + strip) / height, (side - 0.9) / width, 1 - (1.2 + strip) / height
    axes = figure.add_axes(box)
    flat_view(axes, trajectory, paper_poses(trajectory), (0, 1))
    axes.set_title("camera from above (m)", fontsize=10, color=INK)
    axes.tick_params(labelsize=8)
    if weights:
        _draw_weights(figure, weights, trajectory, ((sheet + 1.1) / width, (side - 0.9) / width), height)
    write_figure(figure, Path(path))


def _draw_weights(
    figure: Figure,
    weights: Mapping[str, np.ndarray],
    trajectory: Trajectory,
    across: tuple[float, float],
    height: float,
) -> None:
    """A row for each adapter: frames to the right, steps downwards, dark where its weight is large.

    across: the left side and the width of the rows, shares of the figure. height: of the figure, inches.
    """
    largest = max(float(np.abs(weight_ST).max()) for weight_ST in weights.values()) or 1.0
    letters = letters_for(list(weights))
    for row, (name, weight_ST) in enumerate(weights.items()):
        bottom = 0.4 + 0.32 * (len(weights) - 1 - row)
        axes = figure.add_axes((across[0], bottom / height, across[1], 0.22 / height))
        # Without interpolation, so that a change at a cut does not look like a ramp.
        edges = _edges(weight_ST.shape[1], len(trajectory)), np.arange(len(weight_ST) + 1)
        axes.pcolormesh(*edges, np.abs(weight_ST), cmap="Greys", vmin=0, vmax=largest, rasterized=True)
        axes.invert_yaxis()
        for start, _ in trajectory.spans[1:]:
            axes.axvline(start, color="#c0392b", linewidth=0.8)
        axes.set_yticks([])
        axes.set_xticks([])
        label = short(letters.drawable(name), 12)
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8, color=INK, family=letters.families)
    axes.set_xticks([0, *(start for start, _ in trajectory.spans[1:]), len(trajectory)])
    axes.tick_params(labelsize=7)
    text = f"weights of adapters over the frames, first step on top (black {largest:.2g})"
    figure.text(across[0] + across[1], 0.06 / height, text, fontsize=7.5, color=PALE, ha="right")


def _edges(latents: int, frames: int) -> np.ndarray:
    """Where the frames of each latent frame begin, and where the last one ends: the first stands for one frame."""
    return np.concatenate([[0], np.linspace(1, frames, latents)])


def plot_beside(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    captions: Sequence[str],
    path: str | Path,
    names: tuple[str, str],
    title: str,
) -> None:
    """Draws films of one shot beside others: first, middle and last frame of each, a row for each pair.

    Args:
        pairs: of films, [3, H, W, 3] uint8 each.
        captions: of the pairs.
        path: the picture, written whole or not at all.
        names: of the films to the left and to the right.
        title: of the sheet.

    Raises:
        ValueError: the picture cannot be written.
    """
    cell = 1.9, 1.9 * pairs[0][0].shape[1] / pairs[0][0].shape[2] + 0.3
    width, height = 6 * cell[0] + 0.7, len(pairs) * cell[1] + 0.85
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    letters = letters_for([title, *captions])
    words = {"color": INK, "va": "center", "family": letters.families}
    figure.text(0.25 / width, 1 - 0.25 / height, letters.drawable(title), fontsize=13, **words)
    for side, name in enumerate(names):
        place = 0.25 + side * (3 * cell[0] + 0.2)
        figure.text(place / width, 1 - 0.55 / height, name, fontsize=9, color=PALE)
    for row, (pair, caption) in enumerate(zip(pairs, captions, strict=True)):
        top = height - 0.7 - row * cell[1]
        figure.text(0.25 / width, (top - 0.1) / height, short(letters.drawable(caption), 130), fontsize=9, **words)
        for column, frame in enumerate(frame for film in pair for frame in film):
            left = 0.25 + column * cell[0] + 0.2 * (column // 3)
            box = left / width, (top - cell[1] + 0.02) / height, (cell[0] - 0.05) / width, (cell[1] - 0.26) / height
            axes = figure.add_axes(box)
            axes.imshow(frame, interpolation="bicubic")
            axes.set_axis_off()
    write_figure(figure, Path(path))
