"""The contact sheet of a film: frames of every shot beside the camera path from above."""

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
) -> None:
    """Draws a contact sheet: the first, middle and last frame of every shot, and the camera path from above.

    Args:
        video_THW3: [T, H, W, 3] uint8 frames, one per pose.
        trajectory: the camera of the film.
        path: the picture, written whole or not at all; its suffix names the format (.png, .svg, .pdf).
        beside_THW3: another film of the same shots, drawn to the right of the first; None (default) for none.
        names: of the two films.

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
    width, height = sheet + side + 0.5, max(rows * cell[1] + 0.6, 3.6)
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
    axes = figure.add_axes(((sheet + 1.1) / width, 0.55 / height, (side - 0.9) / width, 1 - 1.2 / height))
    flat_view(axes, trajectory, paper_poses(trajectory), (0, 1))
    axes.set_title("camera from above (m)", fontsize=10, color=INK)
    axes.tick_params(labelsize=8)
    write_figure(figure, Path(path))
