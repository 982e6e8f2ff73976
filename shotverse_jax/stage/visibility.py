"""How much of a subject is hidden: instance masks of the whole stage beside those of the subject alone."""

import dataclasses

import numpy as np

from shotverse_jax.stage.raycast import SUBJECT, primitives, render
from shotverse_jax.stage.scene import Scene


def visibility(
    scene: Scene, time_T: np.ndarray, pose_T34: np.ndarray, lens_T4: np.ndarray, size: tuple[int, int], subject: int = 0
) -> np.ndarray:
    """Returns the share [T] of a subject's pixels in the picture that nothing hides; 0 where it has none.

    It is the number of its pixels on the stage over the number of its pixels were it alone there.

    Args:
        scene: the stage.
        time_T: seconds of every frame.
        pose_T34: cameras in stage coordinates.
        lens_T4: fx, fy, cx, cy in pixels of `size`.
        size: (width, height) of the masks in pixels; 64 x 36 are enough for most.
        subject: which one; default 0, the first.
    """
    alone = dataclasses.replace(scene, subjects=(scene.subjects[subject],), props=())
    counts = []
    for stage, number in ((scene, SUBJECT + subject), (alone, SUBJECT)):
        frames = render(primitives(stage, time_T), pose_T34, lens_T4, *size)
        counts.append(np.asarray(frames.instance_THW == number).sum((1, 2)))
    return counts[0] / np.maximum(counts[1], 1)
