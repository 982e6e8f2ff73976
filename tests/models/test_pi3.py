"""Pi3: no frame is the first, padding is not seen, scenes do not mix; its rotations; what is bfloat16."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import Execution, Pi3Config
from shotverse_jax.models.pi3 import Pi3, nearest_rotation
from shotverse_jax.nn.rope import image_table, rotate_halves_by_axis
from shotverse_jax.weights import abstract

CONFIG = Pi3Config(16, 8, 1, 2, 3, 4, 2, 16, 1, 8, 4)


@pytest.fixture(scope="module")
def see(drawn):
    """see(frames_BTHWC, count_B) → geometry, of a small network of random weights."""
    params = drawn(abstract("pi3", CONFIG), 0)
    params["image_mean"], params["image_std"] = np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32)
    run = jax.jit(lambda frames, count: Pi3(CONFIG).apply({"params": params}, frames, count))
    return lambda frames, count: jax.tree.map(np.asarray, run(frames, np.array(count, np.int32)))


@pytest.fixture(scope="module")
def frames():
    """Two scenes of five frames."""
    return np.random.default_rng(0).random((2, 5, 8, 12, 3), np.float32)


def near(ours, theirs, tol=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tol * np.abs(b).max()), ours, theirs)
    return True


def test_permuted_frames_give_permuted_results(see, frames):
    order = np.array([3, 0, 4, 1, 2])
    straight, permuted = see(frames, [5, 5]), see(frames[:, order], [5, 5])
    assert near(permuted, jax.tree.map(lambda x: x[:, order], straight))
    assert np.abs(permuted.pose_BT44 - straight.pose_BT44).max() > 1e-3


def test_padding_and_other_scenes_are_not_seen(see, frames):
    known = see(frames, [3, 5])
    other = frames.copy()
    other[0, 3:], other[1] = 1 - other[0, 3:], 1 - other[1]
    assert near(jax.tree.map(lambda x: x[0, :3], see(other, [3, 5])), jax.tree.map(lambda x: x[0, :3], known))
    # A frame that counts is seen.
    assert np.abs(see(other, [4, 5]).pose_BT44[0, :3] - known.pose_BT44[0, :3]).max() > 1e-3


def test_points_are_those_of_the_camera_in_the_world(see, frames):
    found = see(frames, [5, 5])
    turn, move = found.pose_BT44[..., :3, :3], found.pose_BT44[..., :3, 3]
    np.testing.assert_allclose(turn @ turn.swapaxes(-1, -2), np.broadcast_to(np.eye(3), turn.shape), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-5)
    expected = np.einsum("btij,bthwj->bthwi", turn, found.local_BTHWC) + move[:, :, None, None]
    np.testing.assert_allclose(found.points_BTHWC, expected, rtol=1e-4, atol=1e-5)
    assert (found.local_BTHWC[..., 2] > 0).all() and found.logit_BTHW.shape == (2, 5, 8, 12)


def test_heads_are_float32_where_the_network_is_bfloat16():
    params = abstract("pi3", CONFIG)
    frames = jax.ShapeDtypeStruct((1, 2, 8, 12, 3), np.float32)
    network = Pi3(CONFIG, Execution(dtype="bfloat16"))
    program = str(jax.make_jaxpr(network.apply)({"params": params}, frames))
    products = re.findall(r"\w+:(\w+)\[[\d,]*\] = (?:dot_general|conv_general_dilated)\[", program)
    # The patches; five products of each of six blocks, beside its scores; the first and the last of three towers.
    assert products.count("bf16") == 1 + 5 * 6 + 2 * 3
    # Scores; values of points, of confidence and of cameras (3 + 2 + 2); rotations, points, and positions to a size.
    assert products.count("f32") == len(products) - 37 == 6 + 2 + 7 + 2 + 1 + 1


@pytest.mark.parametrize("shape", [(1, 2, 8, 10, 3), (1, 2, 8, 12, 4), (1, 0, 8, 12, 3)])
def test_frames_that_are_not_whole_patches(shape):
    with pytest.raises(ValueError, match="RGB frames whose sides are multiples of 4, got"):
        jax.eval_shape(lambda x: Pi3(CONFIG).init(jax.random.key(0), x), jax.ShapeDtypeStruct(shape, np.float32))


def test_rotations_of_any_matrix():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(50, 3, 3)).astype(np.float32)
    found = np.asarray(nearest_rotation(jnp.asarray(matrix)))
    for given, ours in zip(matrix, found, strict=True):
        # The rotation nearest to the rows as unit vectors, found by another decomposition, transposed twice.
        unit = (given / np.linalg.norm(given, axis=1, keepdims=True)).astype(np.float64)
        u, _, vt = np.linalg.svd(unit)
        expected = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
        np.testing.assert_allclose(ours, expected, atol=1e-4)
    # A rotation stays what it is.
    np.testing.assert_allclose(np.asarray(nearest_rotation(jnp.asarray(found))), found, atol=1e-5)


def test_rope2d_turns_one_half_by_the_row_and_one_by_the_column():
    """Against the formula, a pair of channels at a time: pair j of half a turns by position_a * 100^(-2j / 8)."""
    x = np.random.default_rng(0).normal(size=(1, 3, 2, 16)).astype(np.float32)
    places = np.array([[0, 0], [2, 5], [7, 1]])
    table = image_table(places[None, :, 0], places[None, :, 1], 16, 100.0)
    ours, expected = np.asarray(rotate_halves_by_axis(jnp.asarray(x), table)), x.astype(np.float64)
    for token, head, axis, j in np.ndindex(3, 2, 2, 4):
        angle = places[token, axis] * 100.0 ** (-2 * j / 8)
        low, high = 8 * axis + j, 8 * axis + j + 4
        a, b = x[0, token, head, low], x[0, token, head, high]
        expected[0, token, head, low] = a * np.cos(angle) - b * np.sin(angle)
        expected[0, token, head, high] = b * np.cos(angle) + a * np.sin(angle)
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    np.testing.assert_array_equal(ours[:, 0], x[:, 0])  # a register is not turned
