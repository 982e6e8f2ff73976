"""Motion-tag F1 against the original metric's record and a class-by-class count."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shotverse_jax.camera import motion_tags, se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.evaluation.metrics.caption_f1 import axis_f1, caption_f1, trajectory_caption_f1


def test_record(reference):
    """Tags of six trajectories scaled to unit extent, against their tags as they are."""
    record = json.loads((reference / "golden/metrics.json").read_text())
    pred, ref = (np.stack([record["segments"][name][key] for name in record["files"]]) for key in ("scale1", "raw"))
    got = caption_f1(pred, ref)
    expected = record["caption_scale1_vs_raw_precision_recall_f1"]
    np.testing.assert_allclose([got["precision"], got["recall"], got["f1"]], expected, atol=1e-6)


labels = st.lists(
    st.tuples(st.sampled_from([0, 7, 18, 188]), st.sampled_from([0, 7, 18, 130])), min_size=1, max_size=60
)


@settings(max_examples=60, deadline=None)
@given(labels)
def test_equals_counting_by_class(pairs):
    precision = f1 = right = 0.0
    for c in {r for _, r in pairs}:
        tp = sum(p == r == c for p, r in pairs)
        fp = sum(p == c != r for p, r in pairs)
        support = sum(r == c for _, r in pairs)
        precision += support * (tp / (tp + fp) if tp + fp else 0.0)
        f1 += support * (2 * tp / (tp + support + fp))
        right += tp
    got = caption_f1(*(np.asarray(side) for side in zip(*pairs, strict=True)))
    expected = np.asarray([precision, right, f1]) / len(pairs)
    np.testing.assert_allclose([got["precision"], got["recall"], got["f1"]], expected, atol=1e-12)


def test_mask_leaves_frames_out():
    pred, ref = np.asarray([[3, 3, 9], [5, 5, 5]]), np.asarray([[3, 3, 3], [5, 5, 7]])
    assert caption_f1(pred, ref)["recall"] == pytest.approx(4 / 6)
    mask = np.asarray([[True, True, False], [True, True, False]])
    assert caption_f1(pred, ref, mask) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}


def label(x=0, y=0, z=0, turn=0):
    """The label of signs in OpenGL axes and a class of rotation."""
    return 7 * (9 * (x % 3) + 3 * (y % 3) + z % 3) + turn


def test_axes_are_scored_alone():
    ref = np.asarray([label(x=1, z=-1, turn=3), label(y=-1)])
    pred = np.asarray([label(x=1, z=1, turn=3), label(y=-1, x=1)])
    assert caption_f1(pred, ref)["recall"] == 0
    got = {name: values["recall"] for name, values in axis_f1(pred, ref).items()}
    assert got == {"right/left": 0.5, "up/down": 1, "forward/backward": 0.5, "turn": 1, "mean": 0.75}
    # Of the frames that go right or not, half have class "right" in the reference, and all are predicted so.
    assert axis_f1(pred, ref)["right/left"]["precision"] == 0.25
    assert {v["f1"] for v in axis_f1(ref, ref).values()} == {1.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [1, 2, 3]), "one shape"),
        (([1, 2], [1, 189]), "0 to 188"),
        (([], []), "no frame"),
        (([1], [1], [False]), "no frame"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        caption_f1(*(np.asarray(a, int) for a in arguments))


def path(*moves, frames=33):
    """Shots that go by `moves` (OpenCV axes), one after the other."""
    u = np.linspace(0, 1, frames)[:, None]
    poses = [se3.make(np.tile(np.eye(3), (frames, 1, 1)), u * np.asarray(m, float)) for m in moves]
    shot_T = np.repeat(np.arange(len(moves)), frames)
    return Trajectory(np.concatenate(poses), [100, 100, 50, 50], 100, 100, shot_T)


def test_multi_shot_trajectories():
    """Shots count equally whatever their length in frames, and each is tagged for itself."""
    ref = path((1, 0, 0), (0, 0, 1))
    assert trajectory_caption_f1([ref], [ref])["f1"] == 1.0
    half_right = trajectory_caption_f1([path((1, 0, 0), (0, 1, 0), frames=80)], [ref])
    assert half_right["recall"] == 0.5
    assert trajectory_caption_f1([ref, path((0, 0, 1))], [ref, path((0, 0, 1), frames=5)])["f1"] == 1.0


def test_scale_of_the_prediction():
    """A prediction a hundred times too small looks static unless it is brought to the reference's extent."""
    ref = path((1, 0, 0), (0, 0, 1))
    small = dataclasses.replace(ref, pose_T34=ref.pose_T34 * [1, 1, 1, 0.01])
    assert trajectory_caption_f1([small], [ref], scale="none")["recall"] == 0.0
    assert trajectory_caption_f1([small], [ref], scale="match")["recall"] == 1.0
    assert trajectory_caption_f1([small], [small], scale="none")["recall"] == 1.0
    # Both small: only "unit" sees that one goes right and the other left.
    other = dataclasses.replace(small, pose_T34=small.pose_T34 * [1, 1, 1, -1.0])
    assert trajectory_caption_f1([other], [small], scale="none")["recall"] == 1.0
    assert trajectory_caption_f1([other], [small], scale="unit")["recall"] == 0.0
    still = path((0, 0, 0))
    assert trajectory_caption_f1([still], [still])["f1"] == 1.0


def test_shots_must_match():
    with pytest.raises(ValueError, match="scene 0: predicted 1 shots"):
        trajectory_caption_f1([path((1, 0, 0))], [path((1, 0, 0), (1, 0, 0))])
    with pytest.raises(ValueError, match="2 predictions"):
        trajectory_caption_f1([path((1, 0, 0))] * 2, [path((1, 0, 0))])
    with pytest.raises(ValueError, match="no trajectory"):
        trajectory_caption_f1([], [])
    with pytest.raises(ValueError, match="scale"):
        trajectory_caption_f1([path((1, 0, 0))], [path((1, 0, 0))], scale="both")


def test_labels_are_those_of_the_shots():
    ref = path((1, 0, 0), (0, 0, 1))
    pooled = np.concatenate([motion_tags.shot_labels(ref.pose_T34[a:b]) for a, b in ref.spans])
    assert pooled.shape == (238,) and set(pooled.tolist()) == {9 * 7, 2 * 7}
