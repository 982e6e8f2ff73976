"""Exports for programs with a floor: level cameras are level there, and moves stay the same."""

import numpy as np
import pytest
from hypothesis import given, settings

from camera_paths import QUICK, trajectories
from other_programs import exported_poses
from shotverse_jax.camera import se3

GRAVITY = ("usd", "gltf", "blender", "chan")


@pytest.mark.parametrize("fmt", GRAVITY)
def test_the_floor_is_the_floor_in_other_programs(tmp_path, film, fmt, monkeypatch):
    """Camera at eye height in front of the subject, level, looking at it; wherever the plan's own world lies."""
    lost = se3.make(se3.so3_exp(np.array([0.4, -1.1, 2.0])), np.array([5.0, -6, 7]))
    for trajectory in (film, film.moved(lost)):
        poses = exported_poses(fmt, trajectory, tmp_path, monkeypatch)
        up = np.array([0.0, 0, 1]) if fmt == "blender" else np.array([0.0, 1, 0])
        faces = np.array([0.0, 1, 0]) if fmt == "blender" else np.array([0.0, 0, -1])
        np.testing.assert_allclose(poses[:3, :3, 3], [d * faces + 1.6 * up for d in (4, 3.5, 3)], atol=1e-6)
        np.testing.assert_allclose(poses[:3, :3, 2], [faces] * 3, atol=1e-6)  # camera -z looks against it
        np.testing.assert_allclose(poses[:, :3, 1], [up] * 5, atol=1e-6)


@pytest.mark.parametrize("fmt", GRAVITY)
@settings(QUICK, max_examples=8)
@given(trajectory=trajectories())
def test_motion_is_the_same_in_other_programs(tmp_path, fmt, trajectory):
    trajectory = trajectory.evenly()
    with pytest.MonkeyPatch.context() as monkeypatch:
        poses = exported_poses(fmt, trajectory, tmp_path, monkeypatch)
    got = se3.flip_yz(poses[:, :3])
    np.testing.assert_allclose(
        se3.relative(got[:1], got), se3.relative(trajectory.pose_T34[:1], trajectory.pose_T34), atol=2e-5
    )
