"""Masks of films of the stage, which knows what every pixel shows: for measurements and tests of the others."""

from collections.abc import Sequence

import numpy as np

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.stage.preview import described_scene, subject_masks
from shotverse_jax.stage.scene import Scene


class Stage:
    """The masker "stage": its subjects, whether they move or not.

    trajectory: the cameras of the film.
    scene: the stage; by default the one that the trajectory's captions describe.
    """

    def __init__(self, trajectory: Trajectory, scene: Scene | None = None):
        self._trajectory, self._scene = trajectory, scene or described_scene(trajectory)

    def __call__(self, frames_THWC: np.ndarray, number_T: Sequence[int]) -> np.ndarray:
        """Returns the masks of frames; see `masks.Masker`.

        Raises:
            ValueError: the trajectory does not have these frames.
        """
        number_T, (height, width) = np.asarray(number_T), frames_THWC.shape[1:3]
        if number_T.max(initial=0) >= len(self._trajectory):
            raise ValueError(
                f"the trajectory has {len(self._trajectory)} frames, and frame {number_T.max()} was asked for"
            )
        return subject_masks(self._trajectory, self._scene, number_T, width, height)
