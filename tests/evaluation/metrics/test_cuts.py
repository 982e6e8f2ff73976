"""Cuts are found where the stage has them and matched as the definitions say."""

import itertools

import numpy as np
import pytest

from shotverse_jax.data.stage_films import film_clip
from shotverse_jax.evaluation.metrics.cuts import cut_f1, find_cuts, fit_weights, shot_cut_accuracy


def textured(frames: int, step: int, seed: int) -> np.ndarray:
    """A film that pans over its own wall of coloured squares, `step` pixels a frame."""
    wall = np.random.default_rng(seed).integers(0, 255, (8, 60, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([wall[:, step * t : step * t + 96] for t in range(frames)])


@pytest.mark.parametrize("step", [0, 3, 10])
def test_pans_are_no_cuts(step):
    assert find_cuts(textured(17, step, 0)) == []


@pytest.mark.parametrize("step", [0, 3, 10])
def test_a_cut_within_pans(step):
    film = np.concatenate([textured(13, step, 0), textured(12, step, 1), textured(8, step, 2)])
    assert find_cuts(film) == [13, 25]


def test_short_films():
    assert find_cuts(textured(1, 0, 0)) == []
    assert find_cuts(textured(2, 0, 0)) == []


def test_cuts_of_the_stage():
    clips = [film_clip(seed, "test") for seed in range(500, 560)]
    found = [find_cuts(clip.video_THWC) for clip in clips]
    true = [[start for start, _ in clip.trajectory.spans[1:]] for clip in clips]
    assert cut_f1(found, true) >= 0.9
    assert shot_cut_accuracy(found, true, [33] * 60) >= 0.93
    moved = [[max(t - 4, 1) for t in film] for film in true]
    assert cut_f1(found, moved) < 0.1


def test_f1_by_hand():
    assert cut_f1([[9, 21]], [[9, 21]]) == 1
    assert cut_f1([[11]], [[9]]) == 1
    assert cut_f1([[12]], [[9]]) == 0
    assert cut_f1([[11]], [[9]], tolerance=1) == 0
    assert cut_f1([[8, 10]], [[9]]) == pytest.approx(2 / 3)  # one of the two is extra
    assert cut_f1([[], [5]], [[9], [5]]) == pytest.approx(2 / 3)
    assert cut_f1([[]], [[]]) == 1
    assert cut_f1([[]], [[9]]) == 0


def test_shot_cut_accuracy_by_hand():
    assert shot_cut_accuracy([[9]], [[9]], [33]) == 1
    assert shot_cut_accuracy([[11]], [[9]], [33]) == pytest.approx(np.exp(-2 / 33))
    assert shot_cut_accuracy([[]], [[9]], [33]) == pytest.approx(np.exp(-1 / 2))  # missed: half the film, one shot
    assert shot_cut_accuracy([[9]], [[]], [33]) == pytest.approx(np.exp(-1))
    two_films = shot_cut_accuracy([[9], []], [[9], [9]], [33, 33])
    assert two_films == pytest.approx((1 + np.exp(-1 / 2)) / 2)


def test_matching_is_the_best_of_all():
    rng = np.random.default_rng(0)
    for _ in range(50):
        found, true = (sorted(rng.choice(30, rng.integers(0, 4), replace=False).tolist()) for _ in range(2))
        penalty = 30 / (len(true) + 1)
        costs = [
            sum(abs(f - t) for f, t in zip(kept, chosen, strict=True)) + penalty * (len(found) + len(true) - 2 * count)
            for count in range(min(len(found), len(true)) + 1)
            for kept in itertools.combinations(found, count)
            for chosen in itertools.permutations(true, count)
        ]
        assert shot_cut_accuracy([found], [true], [30]) == pytest.approx(np.exp(-min(costs) / 30))


def test_logistic_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2))
    is_cut = rng.random(4000) < 1 / (1 + np.exp(-(2 * x[:, 0] - x[:, 1] - 1)))
    np.testing.assert_allclose(fit_weights(x, is_cut), [2, -1, -1], atol=0.2)
