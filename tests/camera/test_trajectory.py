"""The Trajectory type: what it accepts, what it refuses, shots and world changes."""

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory


def path(frames=6, **changes):
    rng = np.random.default_rng(0)
    fields = dict(
        pose_T34=se3.make(se3.so3_exp(rng.normal(size=(frames, 3))), rng.normal(size=(frames, 3))),
        intrinsics_T4=np.array([500.0, 500.0, 320.0, 240.0]),
        width=640,
        height=480,
        shot_T=np.array([0] * 4 + [1] * (frames - 4)),
        captions=("first", "second"),
        stage_34=se3.identity(),
    )
    return Trajectory(**(fields | changes))


def with_pose(value, index=(2, 0, 0)):
    poses = path().pose_T34.copy()
    poses[index] = value
    return poses


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"pose_T34": with_pose(np.nan)}, "pose 2 holds NaN"),
        ({"pose_T34": path().pose_T34 * np.array([-1.0, 1, 1, 1])}, "reflection"),
        ({"pose_T34": path().pose_T34 * 2}, "not rigid"),
        ({"pose_T34": np.zeros((0, 3, 4)), "shot_T": np.zeros(0)}, "needs poses"),
        ({"shot_T": np.array([0, 0, 2, 2, 2, 2])}, "contiguous"),
        ({"shot_T": np.array([1, 1, 1, 1, 2, 2])}, "contiguous"),
        ({"captions": ("one",)}, "2 shots but 1 captions"),
        ({"intrinsics_T4": np.array([0.0, 500, 320, 240])}, "focal"),
        ({"fps": 0.0}, "fps"),
        ({"stage_34": np.full((3, 4), np.nan)}, "stage"),
    ],
)
def test_refuses_with_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        path(**changes)


def test_shots():
    trajectory = path()
    assert trajectory.num_shots == 2 and trajectory.spans == [(0, 4), (4, 6)]
    second = trajectory.shot(1)
    assert len(second) == 2 and second.captions == ("second",)
    np.testing.assert_array_equal(second.pose_T34, trajectory.pose_T34[4:])


def test_world_change_keeps_relative_poses():
    trajectory = path()
    anchored = trajectory.from_first_camera()
    np.testing.assert_allclose(anchored.pose_T34[0], np.eye(3, 4), atol=1e-12)
    for a, b in ((0, 5), (3, 4)):
        np.testing.assert_allclose(
            se3.relative(anchored.pose_T34[a], anchored.pose_T34[b]),
            se3.relative(trajectory.pose_T34[a], trajectory.pose_T34[b]),
            atol=1e-12,
        )
    np.testing.assert_allclose(
        se3.relative(anchored.pose_T34[0], anchored.stage_34), se3.relative(trajectory.pose_T34[0], trajectory.stage_34)
    )
