"""The preview film: a camera path on the stage, with shot numbers, moves and time burned in."""

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.limits import SIDE, whole
from shotverse_jax.stage.preview import described_scene, preview_frames
from shotverse_jax.stage.scene import Scene
from shotverse_jax.views.burn_in import BurnIn
from shotverse_jax.views.video import encoder

Progress = Callable[[str, int, int], None]
"""progress(what, done, total) is called while work goes on, for example progress("preview", 17, 65)."""


def render_preview(
    trajectory: Trajectory,
    scene: Scene | None,
    path: str | Path,
    *,
    tags: Sequence[str] | None = None,
    height: int = 288,
    progress: Progress | None = None,
) -> None:
    """Films a trajectory on the stage as an H.264 mp4 at its own frame rate, written whole or not at all.

    The stage is rendered at half the size and enlarged; the burned-in text is drawn at full size.

    Args:
        trajectory: the cameras, seen evenly in time (`Trajectory.evenly`); without `stage_34` the stage is
            `implied_stage`.
        scene: the stage; None derives it from the captions (`described_scene`).
        path: the mp4 file; missing folders above it are made.
        tags: one text per shot that names its moves; None (default) for none.
        height: height of the film in pixels, made even; default 288. The width follows the trajectory's aspect.
        progress: called after every frame with ("preview", frames done, frames); None (default) for nobody.

    Raises:
        ValueError: the file does not end in .mp4 or cannot be written, there is not one tag per shot, or the height is
            below 64 or a side above `limits.SIDE`.
    """
    if tags is not None and len(tags) != trajectory.num_shots:
        raise ValueError(f"{trajectory.num_shots} shots but {len(tags)} lines of tags")
    height = whole(height, "the height of a preview", 64, SIDE)
    trajectory = trajectory.evenly()
    if scene is None:
        scene = described_scene(trajectory)
    aspect = trajectory.width / trajectory.height
    across = whole(round(height / 2 * aspect), f"half the width of a preview of {aspect:g}:1", 1, SIDE // 2)
    small = across, height // 2
    # Twice a whole number is even, which H.264 needs for its halved colours.
    size = 2 * small[0], 2 * small[1]
    burn = BurnIn(trajectory, tags, *size)
    frames = preview_frames(trajectory, scene, *small)
    with encoder(path, size, trajectory.fps) as pipe:
        for index, pixels in enumerate(frames):
            pipe.write(burn(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR), index).tobytes())
            if progress is not None:
                progress("preview", index + 1, len(trajectory))
