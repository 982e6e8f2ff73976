"""Scores of films: an estimator that is right scores 0, cameras are exchanged for the control, errors are as made."""

import dataclasses

import jax
import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.config import PoseNetConfig
from shotverse_jax.data.stage_films import film_clip
from shotverse_jax.evaluation.features.stage_camera import StageCamera
from shotverse_jax.evaluation.metrics.camera_error import camera_errors
from shotverse_jax.evaluation.tracks.stage_films import film_held_out, score_films, shuffled
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.models.pose_net import PoseNet
from shotverse_jax.stage.preview import stage_poses
from shotverse_jax.weights import abstract, export


@pytest.fixture(scope="module")
def clips():
    return [film_clip(seed, "test", frames=17, num_shots=shots) for seed, shots in ((1, 2), (2, 3), (3, 1))]


def known_camera(clips):
    """An estimator that looks up the true poses of a film."""
    table = {clip.video_THWC.tobytes(): stage_poses(clip.trajectory) for clip in clips}
    return lambda video: table[video.tobytes()]


def test_scores_of_renders_and_of_the_control(clips):
    videos, paths, scenes = zip(*((c.video_THWC, c.trajectory, c.scene) for c in clips), strict=True)
    scores = score_films(videos, paths, scenes, known_camera(clips))
    assert scores["films"] == 3 and scores["color_accuracy"] == 1
    assert scores["cut_f1"] >= 0.8 and scores["sca"] > 0.8
    for name in ("rot_deg_mean", "rot_in_shot_deg_median", "position_m_mean"):
        assert scores[name] == pytest.approx(0, abs=1e-4)
    control = score_films(videos, shuffled(paths), scenes, known_camera(clips))
    assert control["rot_deg_mean"] > 20 and control["position_m_mean"] > 0.5
    assert control["cut_f1"] == scores["cut_f1"]


def test_shuffled_takes_the_next_film_shot_by_shot(clips):
    paths = [clip.trajectory for clip in clips]
    out = shuffled(paths)
    assert [t.spans for t in out] == [t.spans for t in paths]
    first = [stage_poses(t) for t in paths]
    ends = [start for start, _ in paths[1].spans]
    np.testing.assert_allclose(stage_poses(out[0])[0], first[1][0], atol=1e-9)  # two shots from three
    np.testing.assert_allclose(stage_poses(out[0])[paths[0].spans[1][0]], first[1][ends[1]], atol=1e-9)
    for start, _ in paths[1].spans:  # three shots from one
        np.testing.assert_allclose(stage_poses(out[1])[start], first[2][0], atol=1e-9)
    with pytest.raises(ValueError, match="two films"):
        shuffled(paths[:1])
    with pytest.raises(ValueError, match="stage"):
        shuffled([dataclasses.replace(paths[0], stage_34=None), paths[1]])


def test_errors_by_hand(clips):
    path = clips[0].trajectory
    turn = se3.make(se3.so3_exp(np.array([0.0, np.radians(10), 0.0])), np.array([0.3, 0.0, 0.4]))
    true = stage_poses(path)
    errors = camera_errors([se3.compose(true, turn)], [path])  # a camera that is always turned by 10 degrees
    assert (errors["rot_deg_mean"], errors["rot_deg_median"]) == pytest.approx((10, 10))
    assert errors["position_m_mean"] == pytest.approx(0.5)
    world = camera_errors([se3.compose(turn, true)], [path])  # a world that is turned: no error within a shot
    assert world["rot_deg_mean"] == pytest.approx(10)
    assert world["rot_in_shot_deg_mean"] == pytest.approx(0, abs=1e-4)
    still = np.concatenate([np.repeat(true[start : start + 1], end - start, 0) for start, end in path.spans])
    moved = camera_errors([still], [path])
    expected = [
        np.degrees(se3.rotation_angle(se3.relative(true[start], true[t])[:, :3]))
        for start, end in path.spans
        for t in range(start + 1, end)
    ]
    assert moved["rot_in_shot_deg_mean"] == pytest.approx(np.mean(expected))
    with pytest.raises(ValueError, match="no films"):
        camera_errors([], [])
    with pytest.raises(ValueError, match="poses"):
        camera_errors([true[:3]], [path])


def test_the_estimator_reads_frames_one_by_one(tmp_path):
    config = PoseNetConfig(height=16, width=24, channels=(8, 8), blocks=1, squeeze=4, hidden_size=8)
    network = PoseNet(config)
    rng = np.random.default_rng(0)
    shapes = abstract("pose_net", config)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)
    export("pose_net", params, config, tmp_path)
    camera = StageCamera.load(tmp_path)
    assert camera.config == config
    video = np.random.default_rng(1).integers(0, 255, (70, 16, 24, 3), np.uint8)
    poses = camera(video)
    expected = jax.jit(network.apply)({"params": camera.params}, video / np.float32(127.5) - 1)[0]
    assert poses.shape == (70, 3, 4)
    np.testing.assert_allclose(poses, expected, atol=1e-4)
    plain = np.broadcast_to(video[:3, :1, :1], (3, 16, 24, 3))
    np.testing.assert_allclose(camera(np.broadcast_to(video[:3, :1, :1], (3, 40, 60, 3))), camera(plain), atol=1e-4)
    with pytest.raises(ValueError, match="proportions 16 x 24"):
        camera(video[:, :8])


@pytest.mark.slow
def test_held_out_films_are_made_and_scored(controller_folder):
    seen = []

    def estimator(video_THWC):
        seen.append(video_THWC)
        return np.tile(np.eye(3, 4), (len(video_THWC), 1, 1))

    scores = film_held_out(Cinematographer.load(controller_folder), estimator, scenes=3, batch=2, steps=2)
    assert scores["films"] == 3 and {video.shape for video in seen} == {(17, 32, 48, 3)}
    assert scores["rot_ratio"] == scores["rot_deg_median"] / scores["control_rot_deg_median"]
    assert scores["render_rot_deg_median"] == scores["rot_deg_median"]  # the estimator looks at nothing
    generated, rendered = seen[:3], seen[-3:]
    assert all((a != b).any() for a, b in zip(generated, rendered, strict=True))
