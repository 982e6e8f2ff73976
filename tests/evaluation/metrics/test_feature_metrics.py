"""PRDC, Fréchet distance, CLaTr score and retrieval against the original metrics' record and slow definitions."""

import json

import numpy as np
import pytest
import scipy.linalg

from shotverse_jax.evaluation.metrics.clatr_score import clatr_score
from shotverse_jax.evaluation.metrics.frechet import frechet
from shotverse_jax.evaluation.metrics.prdc import prdc
from shotverse_jax.evaluation.metrics.retrieval import retrieval


@pytest.fixture
def record(reference):
    features = np.load(reference / "golden/metric_features.npz")
    return features, json.loads((reference / "golden/metrics.json").read_text())


def features(seed, count=43, width=5, shift=0.4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)) * rng.uniform(0.5, 2, width) + shift, rng.normal(size=(count, width))


def test_prdc_record(record):
    data, expected = record
    got = prdc(data["pred"], data["ref"])
    names = ("precision", "recall_upstream", "density", "coverage")
    np.testing.assert_allclose([got[n] for n in names], expected["prdc_ref_pred_k3_5splits"], atol=1e-6)
    swapped = prdc(data["ref"], data["pred"])
    np.testing.assert_allclose([swapped[n] for n in names], expected["prdc_swapped_args"], atol=1e-6)
    # True recall is the precision of the swapped sets.
    assert got["recall"] == pytest.approx(expected["prdc_swapped_args"][0], abs=1e-6)


def test_fcd_record(record):
    data, expected = record
    assert frechet(data["pred"], data["ref"])["fcd"] == pytest.approx(expected["fcd"], abs=1e-5)


def test_clatr_score_record(record):
    data, expected = record
    assert clatr_score(data["pred"], data["text"])["clatr_score"] == pytest.approx(expected["clatr_score"], abs=1e-5)


def slow_prdc(pred, ref, k):
    """One part, pair by pair."""
    n = len(ref)
    between = [[np.linalg.norm(r - p) for p in pred] for r in ref]
    ref_radius = [sorted(np.linalg.norm(r - other) for other in ref)[k] for r in ref]
    pred_radius = [sorted(np.linalg.norm(p - other) for other in pred)[k] for p in pred]
    pairs = [(i, j) for i in range(n) for j in range(n)]
    return {
        "precision": len({j for i, j in pairs if between[i][j] < ref_radius[i]}) / n,
        "recall": len({i for i, j in pairs if between[i][j] < pred_radius[j]}) / n,
        "density": sum(between[i][j] < ref_radius[i] for i, j in pairs) / (k * n),
        "coverage": len({i for i in range(n) if min(between[i]) < ref_radius[i]}) / n,
        "recall_upstream": len({i for i, j in pairs if between[i][j] < pred_radius[i]}) / n,
    }


@pytest.mark.parametrize(
    ("count", "k", "chunks", "parts"), [(43, 3, 1, [43]), (43, 3, 5, [9, 9, 9, 9, 7]), (22, 2, 4, [6, 6, 6, 4])]
)
def test_prdc_equals_definition(count, k, chunks, parts):
    pred, ref = features(0, count)
    edges = np.cumsum([0, *parts])
    values = [slow_prdc(pred[a:b], ref[a:b], k) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    expected = {name: np.mean([value[name] for value in values]) for name in values[0]}
    assert prdc(pred, ref, k=k, chunks=chunks) == pytest.approx(expected)
    assert 0 < expected["recall"] != expected["recall_upstream"]


def test_prdc_far_apart_and_mask():
    pred, ref = features(1)
    assert set(prdc(pred + 100, ref).values()) == {0.0}
    mask = np.arange(43) < 30
    assert prdc(pred, ref, mask) == prdc(pred[:30], ref[:30])


def test_prdc_too_few():
    pred, ref = features(2, 12)
    with pytest.raises(ValueError, match="12 samples in 5 parts"):
        prdc(pred, ref)
    assert prdc(pred, ref, chunks=1)["precision"] > 0
    with pytest.raises(ValueError, match="as many on both sides"):
        prdc(pred[:-1], ref)
    with pytest.raises(ValueError, match="0 samples"):
        prdc(pred, ref, np.zeros(12, bool))


def test_fcd_equals_matrix_square_root():
    pred, ref = features(3)
    s_p, s_r = np.cov(pred.T), np.cov(ref.T)
    gap = pred.mean(0) - ref.mean(0)
    expected = gap @ gap + np.trace(s_p + s_r - 2 * scipy.linalg.sqrtm(s_r @ s_p).real)
    assert frechet(pred, ref)["fcd"] == pytest.approx(expected, rel=1e-9)
    mask = np.arange(43) % 2 == 0
    assert frechet(pred, ref, mask) == frechet(pred[mask], ref[mask])


def test_fcd_degenerate():
    pred, ref = features(4)
    assert 0 <= frechet(ref, ref)["fcd"] < 1e-12
    # Many features, of which a few are far larger than the rest.
    wide = np.random.default_rng(0).normal(size=(600, 256)) * np.logspace(0, 3, 256)
    assert 0 <= frechet(wide, wide[::-1])["fcd"] < 1e-12 * wide.var(0).sum()
    assert frechet(ref + 3, ref)["fcd"] == pytest.approx(9 * 5)
    # Fewer samples than dimensions: covariances without full rank.
    assert frechet(pred[:3], ref[:3])["fcd"] >= 0
    assert np.isfinite(frechet(np.zeros((4, 2)), np.zeros((4, 2)))["fcd"])
    with pytest.raises(ValueError, match="two samples"):
        frechet(pred[:1], ref)
    with pytest.raises(ValueError, match="one D"):
        frechet(pred[:, :3], ref)


def test_clatr_score():
    a = np.asarray([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    assert clatr_score(a, a * 5)["clatr_score"] == pytest.approx(100)
    b = np.asarray([[0.0, 1.0], [0.0, 1.0], [-1.0, -1.0]])
    assert clatr_score(a, b)["clatr_score"] == 0.0  # cosines 0, 1, -1: the mean is clamped, not its parts
    assert clatr_score(a, b, [True, True, False])["clatr_score"] == pytest.approx(50)
    assert clatr_score(a, -a)["clatr_score"] == 0.0
    with pytest.raises(ValueError, match="zeros"):
        clatr_score(a * 0, a)
    with pytest.raises(ValueError, match="no pair"):
        clatr_score(a, b, [False] * 3)
    with pytest.raises(ValueError, match="pairs"):
        clatr_score(a[:2], b)


def test_retrieval_by_hand():
    text = np.eye(4)
    traj = np.asarray([[9.0, 1, 0, 0], [1, 0.5, 0, 0], [0, 0, 2, 1], [0, 0, 5, 1]])
    got = retrieval(traj, text, ranks=(1, 2))
    assert got["text_r1"] == 0.5 and got["text_r2"] == 1.0 and got["text_median_rank"] == 1.5
    # Captions: of 1 the trajectory 1 is nearest (0.45 against 0.11), of 3 the trajectory 2 (0.45 against 0.2).
    assert got["trajectory_r1"] == 0.5 and got["trajectory_r2"] == 1.0
    same = np.zeros((4, 4), bool)
    same[3, 2] = same[2, 3] = True
    assert retrieval(traj, text, same, ranks=(1,))["text_r1"] == 0.75


def test_retrieval_of_latents_that_are_all_the_same():
    same = np.ones((5, 2))
    assert retrieval(same, same)["text_r1"] == 0.0 and retrieval(same, same)["text_median_rank"] == 5
    with pytest.raises(ValueError, match="zeros"):
        retrieval(same * 0, same)
    with pytest.raises(ValueError, match="pairs"):
        retrieval(same, same[:2])
