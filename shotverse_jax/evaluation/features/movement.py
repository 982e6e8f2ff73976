"""The movement that a film shows, by a network that estimates its cameras: a pose net on the stage, else Pi3."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax.cinematic.estimates import OF_LENSES, OF_POSES, Motion, motion_of
from shotverse_jax.cinematic.measures import USUAL_DISTANCE
from shotverse_jax.evaluation.features.stage_camera import StageCamera
from shotverse_jax.infer.pi3 import Reconstructor
from shotverse_jax.inputs.camera_clip import spread
from shotverse_jax.weights.folder import CONFIG, digest, find, kind_of

FRAMES = 16
"""Frames of a film that Pi3 sees at most, spread evenly: a chunk of its authors'."""


@dataclasses.dataclass(frozen=True)
class Mover:
    """An estimator that is ready.

    Attributes:
        motion: (frames [T, H, W, 3] uint8 of one shot) -> its motion. Raises ValueError for frames that it cannot read.
        tells: the classes of movement that it can tell.
        record: which network it is, JSON values.
        size: (height, width), whose proportions its frames must have; None for any.
    """

    motion: Callable[[np.ndarray], Motion]
    tells: tuple[str, ...]
    record: dict[str, Any]
    size: tuple[int, int] | None = None

    def check(self, height: int, width: int) -> None:
        """Raises ValueError where films of a size cannot be read."""
        if self.size is not None and height * self.size[1] != width * self.size[0]:
            raise ValueError(
                f"{self.record['name']} reads films of the proportions {self.size[0]} x {self.size[1]}, these are "
                f"{height} x {width}; estimate cameras with a Pi3, `--poses pi3`, or not at all, `--poses none`"
            )

    @classmethod
    def load(cls, name_or_folder: str | Path) -> "Mover":
        """Loads a pose net, which knows the stage and one lens, or a Pi3, which estimates the lens too.

        Raises:
            ValueError: there is no such network, or it is broken.
        """
        folder = find(("pose_net", "pi3"), name_or_folder, (CONFIG,))
        record = {"name": Path(name_or_folder).name, "digest": digest(folder)}
        if kind_of(folder) == "pi3":
            return cls(_PointMotion(Reconstructor.load(folder)), OF_POSES + OF_LENSES, record)
        camera = StageCamera.load(folder)
        return cls(_StageMotion(camera), OF_POSES, record, (camera.config.height, camera.config.width))


@dataclasses.dataclass(frozen=True)
class _StageMotion:
    camera: StageCamera

    def __call__(self, frames_THWC: np.ndarray) -> Motion:
        return motion_of(self.camera(frames_THWC), USUAL_DISTANCE)


@dataclasses.dataclass(frozen=True)
class _PointMotion:
    reconstructor: Reconstructor

    def __call__(self, frames_THWC: np.ndarray) -> Motion:
        at = np.unique(spread(len(frames_THWC), min(FRAMES, len(frames_THWC))))
        seen = self.reconstructor(frames_THWC[at])
        depth = seen.local_THWC[..., 2]
        sure = seen.sure()
        distance = float(np.median(depth[sure] if sure.any() else depth))
        return motion_of(seen.pose_T34, max(distance, 1e-6), seen.focal_T2[:, 0])
