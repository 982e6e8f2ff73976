"""Frames of any size to cameras and points: sizes, chunks, lenses in pixels of the film."""

import itertools

import numpy as np
import pytest

from shotverse_jax.config import Pi3Config, pi3
from shotverse_jax.infer.pi3 import Reconstructor, chunks
from shotverse_jax.inputs.pi3 import fit_size, prepare
from shotverse_jax.weights import abstract, export

CONFIG = Pi3Config(16, 8, 1, 2, 3, 2, 2, 16, 1, 8, 4, pixels=100)


@pytest.fixture(scope="module")
def reconstructor(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("pi3")
    params = drawn(abstract("pi3", CONFIG), 0)
    params["image_std"] = np.ones(3, np.float32)
    export("pi3", params, CONFIG, folder)
    return Reconstructor.load(folder)


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (5, 16, 24, 3), np.uint8)


@pytest.mark.parametrize(
    ("given", "fitted"),
    [
        ((480, 640), (434, 574)),
        ((1080, 1920), (378, 672)),
        ((480, 843), (378, 672)),
        ((1920, 1080), (672, 378)),
        ((100, 100), (504, 504)),
        ((14, 14000), (14, 15974)),
        ((1, 1), (504, 504)),
    ],
)
def test_the_size_of_frames(given, fitted):
    assert fit_size(*given, pi3()) == fitted


def test_every_size_fits():
    for height, width in np.random.default_rng(0).integers(200, 3000, (300, 2)):
        high, wide = fit_size(height, width, pi3())
        assert high % 14 == wide % 14 == 0
        assert 0.9 * 255_000 < high * wide <= 255_000
        assert abs(high / wide * width / height - 1) < 0.15


def test_frames_of_other_sizes_and_forms():
    rng = np.random.default_rng(0)
    mixed = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((16, 24), (9, 9), (8, 12))]
    made = prepare(mixed, CONFIG)
    assert made.shape == (3, 8, 12, 3) and made.dtype == np.uint8
    np.testing.assert_array_equal(made[2], mixed[2])  # it has the size already
    for wrong, message in (
        ([], "reads one frame at least"),
        ([mixed[0], mixed[1][..., 0]], r"frame 1 is uint8 \[9, 9\]"),
        ([mixed[0].astype(np.float32)], r"frame 0 is float32 \[16, 24, 3\]"),
        ([np.zeros((1, 900, 3), np.uint8)], "too narrow"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(wrong, CONFIG)


def test_a_run(reconstructor, frames):
    maps = reconstructor(frames)
    assert maps.pose_T34.shape == (5, 3, 4) and maps.pose_T34.dtype == np.float64
    assert maps.points_THWC.shape == maps.local_THWC.shape == (5, 8, 12, 3)
    assert ((maps.confidence_THW > 0) & (maps.confidence_THW < 1)).all()
    # Every point, drawn by the lens that was found, is nearest to its own pixel in the sense of least squares.
    fx = maps.focal_T2[0, 0]
    ray, place = maps.local_THWC[0, ..., 0] / maps.local_THWC[0, ..., 2], np.arange(12) + 0.5 - 6

    def error(focal):
        return (maps.confidence_THW[0] * (focal * ray - place) ** 2).sum()

    assert error(fx) < min(error(1.01 * fx), error(0.99 * fx))
    lens = maps.intrinsics(24, 16)
    np.testing.assert_allclose(lens, np.concatenate([2 * maps.focal_T2, [[12, 8]] * 5], axis=1))
    np.testing.assert_allclose(maps.intrinsics(24, 8)[:, 1], maps.focal_T2[:, 1])
    assert 0 < maps.sure(jump=1e9).sum() < maps.sure(least=0.0, jump=1e9).sum() == 5 * 8 * 12


def test_chunks_are_runs_of_their_frames(reconstructor, frames):
    many = np.concatenate([frames, frames[::-1]])[:8]
    found = list(reconstructor.by_chunks(many, size=5, overlap=2))
    assert [part for part, _ in found] == [range(5), range(3, 8)]
    alone = reconstructor(many[3:8])
    for ours, theirs in zip(found[1][1], alone, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("count", "size", "overlap"), [(249, 16, 6), (17, 16, 6), (16, 16, 6), (1, 16, 6), (40, 8, 0)])
def test_every_frame_is_in_a_chunk_and_neighbours_overlap(count, size, overlap):
    parts = chunks(count, size, overlap)
    assert {i for part in parts for i in part} == set(range(count))
    assert {len(part) for part in parts} == {min(count, size)}
    assert all(one.stop - two.start >= overlap for one, two in itertools.pairwise(parts))
    assert all(two.start > one.start for one, two in itertools.pairwise(parts))


@pytest.mark.parametrize(("count", "size", "overlap"), [(0, 16, 6), (20, 6, 6), (20, 0, 0), (20, 6, -1)])
def test_chunks_that_cannot_be(count, size, overlap):
    with pytest.raises(ValueError, match="cannot be made"):
        chunks(count, size, overlap)
