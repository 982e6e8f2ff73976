"""Rotary tables of the video transformer against float64 numpy, and the rotation against complex numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.nn.rope import rotate_pairs, shotverse4d_table, wan3d_table

WAN_128 = (44, 42, 42)
SHOTVERSE_128 = (22, 22, 42, 42)


def positions(frames=70, rows=3, columns=5):
    """(frame, row, column) of every token, columns fastest."""
    return [p.reshape(1, -1) for p in np.indices((frames, rows, columns))]


def angles(positions, sizes, theta=10000.0):
    """[1, N, H/2] in float64, one axis after the other."""
    parts = [p[..., None] * theta ** (-2.0 * np.arange(d // 2) / d) for p, d in zip(positions, sizes, strict=True)]
    return np.concatenate(parts, axis=-1)


def check(table, expected):
    for got, want in zip(table, (np.cos(expected), np.sin(expected)), strict=True):
        assert got.shape == (*expected.shape[:2], 1, expected.shape[2]) and got.dtype == jnp.float32
        np.testing.assert_allclose(got[:, :, 0], want, atol=8e-6)  # an angle of 70 has steps of 7.6e-6


@pytest.mark.parametrize("head_dim, sizes", [(128, WAN_128), (24, (8, 8, 8)), (32, (12, 10, 10))])
def test_wan3d(head_dim, sizes):
    check(wan3d_table(*positions(), head_dim), angles(positions(), sizes))


@pytest.mark.parametrize("head_dim, sizes", [(128, SHOTVERSE_128), (24, (4, 4, 8, 8)), (32, (6, 6, 10, 10))])
def test_shotverse4d_with_traced_shots_that_differ_in_the_batch(head_dim, sizes):
    frame, row, column = positions()
    shot = np.stack([(frame[0] > 20).astype(int) + (frame[0] > 41), frame[0] // 5])
    table = jax.jit(lambda shot: shotverse4d_table(shot, frame, row, column, head_dim))(shot)
    others = [np.broadcast_to(p, shot.shape) for p in (frame, row, column)]
    check(table, angles([shot, *others], sizes))


def test_one_shot_leaves_the_shot_pairs_alone():
    cos, sin = shotverse4d_table(np.zeros((1, 1), int), *positions(), 128)
    assert (cos[..., :11] == 1).all() and (sin[..., :11] == 0).all()
    assert (cos[0, -1, 0, 11:] != 1).all()


def test_the_frame_frequencies_are_every_other_one_of_wan():
    still = np.zeros((1, 70), int)
    frame = np.arange(70)[None]
    wan = wan3d_table(frame, still, still, 128)
    ours = shotverse4d_table(still, frame, still, still, 128)
    for a, b in zip(ours, wan, strict=True):
        np.testing.assert_allclose(a[..., 11:22], b[..., 0:22:2], atol=8e-6)
        np.testing.assert_array_equal(a[..., 22:], b[..., 22:])


def test_rotation_multiplies_neighbouring_pairs_as_complex_numbers():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 1050, 3, 24)).astype(np.float32)
    turned = rotate_pairs(x, wan3d_table(*positions(), 24))
    z = x[..., 0::2].astype(np.float64) + 1j * x[..., 1::2]
    z = z * np.exp(1j * angles(positions(), (8, 8, 8)))[:, :, None]
    np.testing.assert_allclose(turned[..., 0::2], z.real, atol=5e-5)
    np.testing.assert_allclose(turned[..., 1::2], z.imag, atol=5e-5)


def test_rotation_is_float32_inside():
    """A bfloat16 head comes back rounded once."""
    x = jax.random.normal(jax.random.key(0), (1, 1050, 1, 24)).astype(jnp.bfloat16)
    table = wan3d_table(*positions(), 24)
    expected = rotate_pairs(x.astype(jnp.float32), table).astype(jnp.bfloat16)
    assert rotate_pairs(x, table).dtype == jnp.bfloat16
    np.testing.assert_array_equal(rotate_pairs(x, table), expected)


def test_heads_that_do_not_split_into_pairs():
    with pytest.raises(ValueError, match="not made of pairs"):
        wan3d_table(*positions(), 25)
    with pytest.raises(ValueError, match=r"\(3, 3, 6, 6\) channels are not made of pairs"):
        shotverse4d_table(np.zeros((1, 1)), *positions(), 18)
