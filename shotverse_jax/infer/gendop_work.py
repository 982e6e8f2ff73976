"""What is made of GenDoP's cases: predictions in the files and folders that GenDoP's evaluation reads, and pictures."""

import functools
import shutil
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.camera.motion_tags import tag_lines
from shotverse_jax.camera.tokens.gendop import PredScale
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.infer.batch import Made, each
from shotverse_jax.infer.decode import SAMPLERS, Sampling
from shotverse_jax.infer.gendop import GenDoPPlanner, Picture, predictions
from shotverse_jax.infer.plan import Plan
from shotverse_jax.infer.samples import block_rows
from shotverse_jax.infer.work import versions
from shotverse_jax.inputs.cases import SUFFIXES, Case
from shotverse_jax.inputs.clip import on_canvas
from shotverse_jax.views.preview import render_preview
from shotverse_jax.views.three_views import plot_three_views

OPENGL = se3.make(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
"""From a world with OpenCV's axes to the one of GenDoP's prediction files, whose axes are OpenGL's."""


def write_prediction(trajectory: Trajectory, path: str | Path) -> None:
    """Writes a prediction as GenDoP's *_transforms_pred.json: 120 frames, camera-to-world, OpenGL camera and world.

    Raises:
        ValueError: the file cannot be written.
    """
    write_trajectory(trajectory.moved(OPENGL), path, "nerfstudio", monst3r_im_id=True)


def picture_of(case: Case, conditions: Sequence[str]) -> Picture:
    """Reads what a planner with these conditions sees of a case.

    Raises:
        ValueError: a file cannot be read.
    """
    return Picture.read(*(getattr(case, name) if name in conditions else None for name in ("image", "depth")))


class GenDoPWork:
    """Predictions: a `batch.Work` whose items are cases.

    Args:
        planner: GenDoP, with the mode that is asked for.
        settings: what decides results beside the cases, for their records: the model.
        sampling: how tokens are picked; GenDoP's top-k by default.
        pred_scale: the unit of the predictions, as `GenDoPTokenizer` takes it.
        plot: whether the path is drawn in three views.
        preview: whether the path is filmed on the stage, which takes most of the time.
    """

    def __init__(
        self,
        planner: GenDoPPlanner,
        settings: dict[str, Any],
        *,
        sampling: Sampling = SAMPLERS["top_k"],
        pred_scale: PredScale = "none",
        plot: bool = True,
        preview: bool = False,
    ):
        self._planner, self._plot, self._preview = planner, plot, preview
        self._options = {"sampling": sampling, "pred_scale": pred_scale}
        mode = planner.mode or planner.config.mode
        self.settings = {
            "task": "gendop",
            "mode": mode,
            "sampling": repr(sampling),
            "pred_scale": pred_scale,
            "plot": plot,
            "preview": preview,
            **settings,
        }
        self.notes = ()
        if mode != planner.config.mode:
            self.notes = (f"the network was made for {planner.config.mode}; in the mode {mode} it sees less than that",)
        self.group = block_rows(planner.parts)

    def buckets(self, items: Sequence[Case]) -> list[Hashable | Exception]:
        """As `batch.Work.buckets`: all cases share one program; a file that is not there is found here."""
        return each(self._check, items)

    def _check(self, case: Case) -> Hashable:
        for condition, file in (("image", case.image), ("depth", case.depth)):
            if condition in self._planner.conditions and (file is None or not Path(file).is_file()):
                raise ValueError(f"there is no {condition} of {case.id}{f': {file}' if file else ''}")
        return case.samples

    def make(self, items: Sequence[Case]) -> Iterator[Made]:
        """As `batch.Work.make`; pictures are read at the call."""
        plays, seeds = [case.screenplay for case in items], [case.seed for case in items]
        pictures = None
        if self._planner.conditions != ("text",):
            pictures = [picture_of(case, self._planner.conditions) for case in items]
        options = {"seed": seeds, "samples": items[0].samples, **self._options}
        plans = predictions(self._planner, plays, pictures, **options)
        seen = pictures or [Picture()] * len(items)
        return (Made(p.index, functools.partial(self._write, items[p.index], seen[p.index], p)) for p in plans)

    def _write(self, case: Case, picture: Picture, plan: Plan, folder: Path) -> dict[str, Any]:
        paths = plan.trajectories
        for number, path in enumerate(paths):
            stem = folder / (f"sample_{number}" if len(paths) > 1 else "") / case.id
            stem.parent.mkdir(parents=True, exist_ok=True)
            self._write_sample(case, picture, path, stem)
        (folder / case.id).parent.mkdir(parents=True, exist_ok=True)  # of the record, beside the folders of samples
        tags = [tag_lines(path)[0] for path in paths]
        caption = case.screenplay.shots[0].caption if "text" in self._planner.conditions else None
        return {**self.settings, "versions": versions(), "caption": caption, "frames": len(paths[0]), "tags": tags}

    def _write_sample(self, case: Case, picture: Picture, path: Trajectory, stem: Path) -> None:
        file = {key: Path(f"{stem}{end}") for key, end in SUFFIXES.items()}
        write_prediction(path, file["prediction"])
        for key, source in case.copied.items():
            shutil.copyfile(source, file[key])
        if "caption" not in case.copied:
            file["text"].write_text(case.screenplay.shots[0].caption, encoding="utf-8")
        if picture.image_HWC is not None:
            Image.fromarray(on_canvas(picture.image_HWC)).save(file["image"])
        if picture.depth_HW is not None:
            Image.fromarray(depth_picture(on_canvas(picture.depth_HW))).save(file["depth"])
        if self._plot:
            plot_three_views(path, file["plot"])
        if self._preview:
            seen = path.from_first_camera()
            render_preview(seen, None, file["preview"], tags=tag_lines(seen))


def depth_picture(depth_HW: np.ndarray) -> np.ndarray:
    """A depth map as a picture [H, W, 3], from its nearest (dark blue) to its farthest value (yellow)."""
    low, high = float(depth_HW.min()), float(depth_HW.max())
    return colormaps["viridis"]((depth_HW - low) / max(high - low, 1e-12), bytes=True)[..., :3]
