"""Lenses and edges of point maps whose scene is known."""

import numpy as np
import pytest

from shotverse_jax.camera.pointmap import focal_of, normals, sure_points


def seen(depth_THW, focal=(40.0, 50.0)):
    """Points in the camera of maps of depth, by a pinhole in the middle of the frame."""
    height, width = depth_THW.shape[1:]
    v, u = np.indices((height, width)) + 0.5
    rays = np.stack([(u - width / 2) / focal[0], (v - height / 2) / focal[1], np.ones_like(u)], axis=-1)
    return (rays * depth_THW[..., None]).astype(np.float32)


@pytest.fixture
def depth():
    return 2 + np.random.default_rng(0).random((2, 12, 20))


def test_the_focal_length_is_found(depth):
    np.testing.assert_allclose(focal_of(seen(depth)), [[40, 50]] * 2, rtol=1e-5)


def test_points_that_do_not_count(depth):
    local = seen(depth)
    local[0, :, :5, 0] += 1
    weight = np.ones(depth.shape)
    weight[0, :, :5] = 0
    local[1, 2, 3], local[1, 4, 5, 2] = np.nan, -1
    assert abs(focal_of(local)[0, 0] - 40) > 1
    np.testing.assert_allclose(focal_of(local, weight), [[40, 50]] * 2, rtol=1e-5)
    assert np.isnan(focal_of(local, 0 * weight)).all()


def test_a_jump_is_an_edge_and_a_slanted_floor_is_none():
    wall = np.full((1, 12, 20), 4.0)
    wall[:, :, 8:] = 2.0
    sure = sure_points(seen(wall), np.ones(wall.shape))
    assert not sure[:, :, 7:9].any() and sure[:, :, :6].all() and sure[:, :, 10:].all()
    rows = np.arange(12) + 0.5 - 6
    floor = np.broadcast_to(np.where(rows > 0, 50 / np.maximum(rows, 0.5), 100)[:, None], (1, 12, 20))
    local = seen(floor)
    lower = np.s_[:, 8:-1, 1:-1]  # the plane y = 1, away from the horizon
    np.testing.assert_allclose(np.abs(normals(local)[lower]), np.broadcast_to([0, 1, 0], (1, 3, 18, 3)), atol=1e-2)
    assert sure_points(local, np.ones(floor.shape))[lower].all()
    assert not sure_points(local, np.ones(floor.shape), turn=0)[lower].any()


def test_what_is_not_confident_or_not_finite_goes():
    local, confidence = seen(np.full((1, 4, 5), 3.0)), np.full((1, 4, 5), 0.9)
    confidence[0, 0, 0] = 0.1
    local[0, 3, 4] = np.inf
    with np.errstate(invalid="ignore"):
        sure = sure_points(local, confidence)
    assert not sure[0, 0, 0] and not sure[0, 3, 4] and sure[0, 1, 1]
