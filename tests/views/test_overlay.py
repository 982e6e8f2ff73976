"""The ground that is drawn into a film lies where the ground is."""

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.views import overlay

LENS = np.array([100.0, 100.0, 80.0, 50.0])


@pytest.fixture(scope="module")
def world():
    """Cameras that look down at a floor 2 below the first, in the first camera's axes, and points of floor and wall."""
    rng = np.random.default_rng(0)
    eye_T3 = np.stack([np.linspace(0, 1, 5), np.zeros(5), np.zeros(5)], axis=1)
    pose_T34 = np.stack([se3.look_at(eye, np.array([0.0, 2.0, 5.0])) for eye in eye_T3])
    floor_M3 = np.stack([rng.uniform(-4, 4, 300), np.full(300, 2.0), rng.uniform(2, 8, 300)], axis=1)
    wall_M3 = np.stack([rng.uniform(-4, 4, 200), rng.uniform(-3, 2, 200), np.full(200, 8.0)], axis=1)
    place = se3.inverse(pose_T34[0])
    point_M3 = np.concatenate([floor_M3, wall_M3]) + 0.005 * rng.normal(size=(500, 3))
    return se3.compose(place, pose_T34), se3.transform_points(place, point_M3), pose_T34[0]


def test_the_ground_is_the_plane_below_the_cameras(world):
    pose_T34, point_M3, back_34 = world
    ground = overlay.find_ground(pose_T34, point_M3)
    in_room = se3.compose(back_34, ground.pose_34)
    assert ground.measured and in_room[1, 1] > np.cos(np.radians(0.5)) and in_room[1, 3] == pytest.approx(2, abs=0.01)
    assert np.linalg.det(ground.pose_34[:, :3]) == pytest.approx(1)
    grid_S23 = se3.transform_points(back_34, overlay.segments(ground)[0][0])
    np.testing.assert_allclose(grid_S23[..., 1], 2, atol=0.1)


def test_without_points_the_ground_is_assumed(world):
    pose_T34, _, _ = world
    ground = overlay.find_ground(pose_T34, np.zeros((0, 3)))
    assert not ground.measured and np.isfinite(ground.pose_34).all()
    still = overlay.find_ground(pose_T34[:1], np.zeros((0, 3)))
    assert still.pose_34[1, 3] > 0  # below


def test_lines_are_where_the_camera_sees_them():
    ground = overlay.Ground(se3.make(np.eye(3), np.array([0.0, 1.0, 5.0])), 1.0, True)
    black = np.zeros((100, 160, 3), np.uint8)
    drawn = overlay.draw(black, np.eye(3, 4), LENS, ground, "")
    assert drawn[70, 80 + 20, 0] > 100 > drawn[70, 80 + 20, 1]  # red goes right from (0, 1, 5)
    assert (
        drawn[70 - 20, 80, 1] > 100 and drawn[:45, :70].max() == 0
    )  # green goes up; there is no ground above the horizon
    moved = overlay.draw(black, se3.make(np.eye(3), np.array([0.5, 0.0, 0.0])), LENS, ground, "")
    assert moved[70 - 20, 80 - 10, 1] > 100
    behind = overlay.Ground(se3.make(np.eye(3), np.array([0.0, 1.0, -30.0])), 1.0, True)
    assert overlay.draw(black, np.eye(3, 4), LENS, behind, "").max() == 0
    assert overlay.draw(black, np.eye(3, 4), LENS, behind, "shot 1")[:40, :80].max() > 200
