"""Shared fixtures of the tests of formats."""

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory


@pytest.fixture
def film() -> Trajectory:
    """Two shots around a person who stands at (1, 2, 3) on the floor and faces +x; the world is y down."""
    facing_x = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    stage = se3.make(facing_x, np.array([1.0, 2, 3]))
    eye = np.array([[1.0, 2 - 1.6, 3]])
    front = eye + [[4.0, 0, 0], [3.5, 0, 0], [3.0, 0, 0]]
    side = eye + [[0.0, 0, -2], [0.5, 0, -2]]
    pose = np.concatenate([se3.look_at(front, np.broadcast_to(eye, (3, 3))), se3.look_at(side, side + [0, 0, 1.0])])
    lens = [[700.0, 700, 416, 240]] * 3 + [[700.0, 700, 416, 240], [800.0, 800, 416, 240]]
    captions = ("A man looks\nat '''us'''", 'He "turns" \\ ☂')
    return Trajectory(pose, lens, 832, 480, [0, 0, 0, 1, 1], 16.0, 1.0, captions, "scene", stage_34=stage)
