"""ShotVerse's pose tokens: layout, precision, grammar errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shotverse_jax.camera import se3
from shotverse_jax.camera.tokens.shotverse import BOS, EOS, FIRST_BIN, PoseTokenizer, header_length, sequence_length
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import PoseTokenConfig

EVERY = PoseTokenConfig(poses="every", every=4, origin="none")
COUNT = PoseTokenConfig(poses="count", count=5, origin="header")
WORLD = PoseTokenConfig(poses="count", count=5, origin="world")
LOCAL = PoseTokenConfig(poses="count", count=5, origin="world", path="shot")
STEPS = PoseTokenConfig(poses="count", count=5, origin="world", path="step")


def walk(seed, lengths, still=False):
    rng = np.random.default_rng(seed)
    poses = []
    for length in lengths:
        turn = np.linspace(0, 0 if still else 1, length)[:, None] * rng.normal(size=3)
        base = se3.make(se3.so3_exp(rng.normal(size=3)), rng.normal(size=3) * 5)
        move = np.linspace(0, 0 if still else 1, length)[:, None] * rng.normal(size=3)
        poses.append(se3.compose(base, se3.make(se3.so3_exp(turn), move)))
    return Trajectory(
        pose_T34=np.concatenate(poses),
        intrinsics_T4=np.array([800.0, 800, 416, 240]),
        width=832,
        height=480,
        shot_T=np.repeat(np.arange(len(lengths)), lengths),
        stage_34=se3.make(se3.so3_exp(rng.normal(size=3)), rng.normal(size=3)),
    )


lengths = st.lists(st.integers(4, 60), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), lengths, st.sampled_from([EVERY, COUNT, WORLD, LOCAL, STEPS]), st.booleans())
def test_round_trip_stays_within_a_cell(seed, lengths, config, still):
    trajectory, tokenizer = walk(seed, lengths, still), PoseTokenizer(config)
    ids = tokenizer.encode(trajectory)
    counts = tokenizer.pose_counts(trajectory.spans)
    assert ids[0] == BOS and ids[-1] == EOS and len(ids) == sequence_length(config, counts)
    tokens = tokenizer.parse(ids)
    assert [len(shot) for shot in tokens.shots] == counts
    origin = trajectory.stage_34 if config.origin == "world" else trajectory.pose_T34[0]
    anchored = trajectory.moved(se3.inverse(origin))
    for (start, end), shot in zip(trajectory.spans, tokens.shots, strict=True):
        truth = se3.resample(anchored.pose_T34, tokenizer.pose_frames(start, end))
        cells = 1 if config.path == "world" else 5  # the errors of the shot's first pose add to those of the others
        assert np.abs(shot[:, :, 3] - truth[:, :, 3]).max() <= tokens.scale * (cells / 256 + 1e-6)
        angle = se3.rotation_angle(se3.make(shot[:, :, :3].swapaxes(1, 2) @ truth[:, :, :3], truth[:, :, 3])[:, :, :3])
        assert np.degrees(angle).max() < (1.0 if config.path == "world" else 2.0)
        assert (np.linalg.det(shot[:, :, :3]) > 0).all()


def test_tokens_by_hand():
    """One frame: first camera at the identity, so every value is known; the scale is the way to the stage."""
    scale_bin = 147
    scale = 10 ** ((scale_bin + 0.5) / 256 * 4 - 2)
    stage = se3.make(np.eye(3), np.array([0.0, 0.0, scale - 2e-5]))
    one = Trajectory(np.eye(3, 4)[None], np.array([1.0, 1, 0, 0]), 2, 2, np.zeros(1), stage_34=stage)
    ids = PoseTokenizer(PoseTokenConfig(poses="every", every=4, origin="header")).encode(one)
    identity = [255, 128, 128, 128, 255, 128, 128, 128, 255]
    expected = [scale_bin, 128, 128, 255, *identity, 128, 128, 128, *identity]
    assert ids.tolist() == [BOS, *(FIRST_BIN + np.array(expected)), EOS]


@pytest.mark.parametrize("config", [COUNT, WORLD, LOCAL, STEPS], ids=lambda config: f"{config.origin}-{config.path}")
def test_decode_gives_every_frame_and_starts_at_the_first_camera(config):
    trajectory, tokenizer = walk(3, [21, 16]), PoseTokenizer(config)
    decoded = tokenizer.decode(
        tokenizer.encode(trajectory), trajectory.spans, intrinsics_T4=trajectory.intrinsics_T4, width=832, height=480
    )
    assert len(decoded) == 37 and decoded.spans == trajectory.spans
    np.testing.assert_allclose(decoded.pose_T34[0], np.eye(3, 4), atol=1e-12)
    error = np.linalg.norm(decoded.pose_T34[:, :, 3] - trajectory.from_first_camera().pose_T34[:, :, 3], axis=1)
    assert error.max() < 0.05 * decoded.scale
    stage_error = decoded.stage_34 - trajectory.from_first_camera().stage_34
    assert np.abs(stage_error).max() < 0.05 * max(decoded.scale, 1)


def test_every_fourth_frame_is_the_last_of_its_latent_frame():
    tokenizer = PoseTokenizer(EVERY)
    assert tokenizer.pose_frames(0, 249).tolist() == list(range(0, 249, 4)) and len(tokenizer.pose_frames(0, 249)) == 63
    assert tokenizer.pose_frames(125, 249)[0] == 128
    assert sequence_length(EVERY, [63]) == 1 + 1 + 756 + 1
    assert header_length(COUNT) == 13


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda ids: ids[1:], "BOS"),
        (lambda ids: ids[:-1], "EOS"),
        (lambda ids: np.delete(ids, 20), "poses of 12"),
        (lambda ids: np.insert(ids, 14, 259), "poses of 12"),
        (lambda ids: np.where(np.arange(len(ids)) == 16, 0, ids), "token 16 has id 0"),
    ],
)
def test_broken_sequences_are_named(edit, message):
    tokenizer = PoseTokenizer(COUNT)
    ids = tokenizer.encode(walk(0, [9, 8]))
    with pytest.raises(ValueError, match=message):
        tokenizer.parse(edit(ids))


def test_wrong_shots_and_missing_stage_are_refused():
    tokenizer, trajectory = PoseTokenizer(COUNT), walk(0, [9, 8])
    with pytest.raises(ValueError, match="expected shots of"):
        tokenizer.decode(tokenizer.encode(trajectory), [(0, 17)], intrinsics_T4=np.ones(4), width=8, height=8)
    without = Trajectory(trajectory.pose_T34, trajectory.intrinsics_T4, 8, 8, trajectory.shot_T)
    with pytest.raises(ValueError, match="stage pose"):
        tokenizer.encode(without)


def test_a_move_told_in_its_shot_has_the_same_tokens_from_everywhere():
    pose_T34 = np.tile(np.eye(3, 4), (18, 1, 1))
    pose_T34[:, 0, 3] = np.tile(np.linspace(0, 1, 9), 2)
    turn = se3.make(se3.so3_exp(np.array([0.0, 1.2, 0.0])), np.array([2.0, 0.0, -1.0]))
    pose_T34[9:] = se3.compose(turn, pose_T34[9:])
    trajectory = Trajectory(pose_T34, np.array([90.0, 90, 48, 32]), 96, 64, np.repeat([0, 1], 9), stage_34=np.eye(3, 4))
    ids = PoseTokenizer(LOCAL).encode(trajectory)
    first, second = ids[2:62].reshape(5, 12), ids[63:123].reshape(5, 12)
    assert (first[0] != second[0]).any()
    np.testing.assert_array_equal(first[1:], second[1:])
