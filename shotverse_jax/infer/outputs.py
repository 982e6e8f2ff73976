"""What a result folder holds, and writing it: the cameras of a plan, the frames of a film, and pictures of both.

A plan's folder holds trajectory.json, trajectory.png and preview.mp4; with several samples each has a folder sample_0,
sample_1, … of its own. It is published as a whole: nothing is there until all of it is. A film's folder also has
film.mp4, film.png, cameras.json (the cameras of the film's own frames), one shot_1.mp4, … per shot, on request
compare.mp4, and weights.json where shots asked for adapters.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.camera.motion_tags import tag_lines
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.files import json_text, replacing
from shotverse_jax.infer.film import Film
from shotverse_jax.stage.preview import described_scene, preview_frames
from shotverse_jax.views import fonts
from shotverse_jax.views.contact_sheet import plot_film
from shotverse_jax.views.plot import plot_trajectory
from shotverse_jax.views.preview import Progress, render_preview
from shotverse_jax.views.video import enlargement, write_video

OF_PLAN = ("trajectory.json", "trajectory.png", "preview.mp4")
PLANS = (*OF_PLAN, *(f"sample_*/{name}" for name in OF_PLAN))
"""What a plan's folder may hold; a new plan removes what it does not replace."""

FILM = (*PLANS, "film.mp4", "film.png", "cameras.json", "compare.mp4", "weights.json", "shot_*.mp4")
"""What a film's folder may hold."""


def write_plans(
    trajectories: Sequence[Trajectory],
    out: str | Path,
    *,
    plot: bool = True,
    preview: bool = True,
    progress: Progress | None = None,
) -> None:
    """Writes the samples of a plan to the folder `out`, all or nothing.

    Those of an earlier plan are replaced or removed; other files in the folder stay.

    Args:
        trajectories: one sample goes into the folder itself, several into folders of their own.
        out: the folder; it is made if it is not there.
        plot: whether trajectory.png is made.
        preview: whether preview.mp4 is made, which takes most of the time.
        progress: called as in `render_preview`, and with (message, 0, 0) where no font has the letters of a caption.

    Raises:
        ValueError: the folder cannot be written.
    """
    said = fonts.note([trajectories[0].global_caption, *trajectories[0].captions]) if plot else ""
    if said and progress is not None:
        progress(said, 0, 0)
    with replacing(out, PLANS) as scratch:
        for index, trajectory in enumerate(trajectories):
            folder = scratch / (f"sample_{index}" if len(trajectories) > 1 else "")
            folder.mkdir(parents=True, exist_ok=True)
            tags = tag_lines(trajectory)
            write_trajectory(trajectory, folder / "trajectory.json", "shotverse")
            if plot:
                plot_trajectory(trajectory, folder / "trajectory.png", tags=tags)
            if preview:
                render_preview(trajectory, None, folder / "preview.mp4", tags=tags, progress=progress)


def write_film(
    film: Film, out: str | Path, *, compare: bool = False, preview: bool = True, progress: Progress | None = None
) -> None:
    """Writes a film, and the plan that its take was made of, to the folder `out`, all or nothing.

    Those of an earlier film are replaced or removed; other files in the folder stay.

    Args:
        film: the film; it is decoded here.
        out: the folder; it is made if it is not there.
        compare: whether compare.mp4, and a row of film.png, show the stage through the same cameras.
        preview: whether preview.mp4, the plan on the stage, is made.
        progress: called with ("decode", frames done, frames), then as in `render_preview`.

    Raises:
        ValueError: the folder cannot be written.
    """
    with replacing(out, FILM) as scratch:
        frames_THWC = _write_shots(film, scratch, progress)
        _write_film(film, frames_THWC, scratch, compare)
        write_plans([film.take.plan], scratch, preview=preview, progress=progress)


def _write_shots(film: Film, out: Path, progress: Progress | None) -> np.ndarray:
    """Decodes a film, encoding every shot while the next is decoded; returns all frames [T, H, W, 3]."""
    trajectory = film.trajectory
    frames: list[np.ndarray] = []
    waiting = list(enumerate(trajectory.spans, 1))
    for chunk in film.chunks():
        frames.extend(chunk)
        if progress is not None:
            progress("decode", len(frames), len(trajectory))
        while waiting and len(frames) >= waiting[0][1][1]:
            number, (start, end) = waiting.pop(0)
            write_video(out / f"shot_{number}.mp4", frames[start:end], trajectory.fps, enlargement(trajectory.height))
    return np.stack(frames)


def _write_film(film: Film, frames_THWC: np.ndarray, out: Path, compare: bool) -> None:
    trajectory = film.trajectory
    write_video(out / "film.mp4", frames_THWC, trajectory.fps, enlargement(trajectory.height))
    write_trajectory(trajectory, out / "cameras.json", "shotverse")
    stage_THWC = None
    if compare:
        stage_THWC = _on_stage(trajectory)
        both_THWC = np.concatenate([frames_THWC, stage_THWC], axis=2)
        write_video(out / "compare.mp4", both_THWC, trajectory.fps, enlargement(trajectory.height))
    weights = {}
    if film.weights is not None:
        weights = film.weights.over_time()
        (out / "weights.json").write_text(json_text(film.weights.record(), indent=1) + "\n", encoding="utf-8")
    plot_film(frames_THWC, trajectory, out / "film.png", stage_THWC, weights=weights)


def _on_stage(trajectory: Trajectory) -> np.ndarray:
    """The stage that the captions describe, through the cameras of a film, in its size: [T, H, W, 3] uint8."""
    frames = preview_frames(trajectory, described_scene(trajectory), trajectory.width, trajectory.height)
    return np.stack(list(frames))
