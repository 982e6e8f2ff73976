"""A shelf of films of the stage, with their true cameras, as a table that `shotverse bench build` reads."""

import json
from collections.abc import Sequence
from pathlib import Path

from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.data.stage_films import film_clip
from shotverse_jax.views.video import write_video

FPS = 12.0
SIZE = ("--length", "33", "--fps", "8", "--scene-size", "32x49", "--least", "0.5", "--test", "0.2")
"""Scenes of 33 frames of 49 x 32 pixels: one side is odd, as that of ShotVerse-Bench is."""


def write_shelf(folder: Path, shots: Sequence[int], frames: int = 61, height: int = 32, width: int = 48) -> Path:
    """Writes a film for each number of shots, its cameras, and films.jsonl; returns the path of the table."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number, count in enumerate(shots):
        clip, name = (
            film_clip(number, frames=frames, height=height, width=width, fps=FPS, num_shots=count),
            f"f{number:02d}",
        )
        write_video(folder / f"{name}.mp4", clip.video_THWC, FPS)
        write_trajectory(clip.trajectory, folder / f"{name}.json", "shotverse")
        cuts = ",".join(str(start) for start, _ in clip.trajectory.spans[1:])
        # Two films of every three are of one source.
        row = {"video": f"{name}.mp4", "source": f"s{number - number % 3 % 2}", "cuts": cuts}
        rows.append(row | {"reconstruct": f"file:{name}.json"})
    table = folder / "films.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return table
