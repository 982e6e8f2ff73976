"""The planner's scores on trajectories whose answer is known."""

import dataclasses

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.camera.vocabulary import motion_parts
from shotverse_jax.evaluation.tracks import stage_plans as scores
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.screenplay import Screenplay, Shot


def straight(direction, frames=60):
    poses = se3.identity((frames,))
    poses[:, :, 3] = np.linspace(0, 1, frames)[:, None] * np.asarray(direction, float)
    return Trajectory(poses, np.array([800.0, 800, 416, 240]), 832, 480, np.zeros(frames))


def prompt(*motions):
    return scores.Prompt(Screenplay("", (Shot("x"),)), frozenset(motions))


def test_parts_of_a_label():
    parts = [motion_parts(t, r) for t in range(27) for r in range(7)]
    assert len(set(parts)) == 189 and parts[0] == {"static"}
    assert motion_parts(14, 3) == {"move right", "move up", "move forward", "yaw left"}


@pytest.mark.parametrize(
    "direction, motions, right",
    [
        ((0, 0, 1), {"move forward"}, True),
        ((0, 0, 1), {"move backward"}, False),
        ((0, 0, 1), {"move forward", "pitch up"}, True),
        ((1, 0, 1), {"move forward"}, False),
        ((1, 0, 1), {"move forward", "move right"}, True),
        ((0, 0, 0), {"static"}, True),
        ((0, 0, 0), {"move up"}, False),
        ((0, -1, 0), {"static"}, False),
    ],
)
def test_answers(direction, motions, right):
    assert scores.answers(prompt(*motions), straight(direction)) is right


def test_scores_of_perfect_and_wrong_plans():
    truth = [sample_example(i, "test").trajectory for i in range(6)]
    perfect = scores.score_scenes(truth, truth)
    assert perfect["tag_f1"] == pytest.approx(1) and perfect["cuts_exact"] == 1 and perfect["scenes"] == 6
    still = [Trajectory(se3.identity((len(t),)), t.intrinsics_T4, 832, 480, t.shot_T) for t in truth]
    assert scores.score_scenes(still, truth)["tag_f1"] < 0.3
    asked = [prompt("move forward"), prompt("move left"), prompt("static")]
    got = scores.score_prompts([straight((0, 0, 1)), straight((0, 0, 1)), straight((0, 0, 0))], asked)
    assert got["prompt_accuracy"] == pytest.approx(2 / 3) and got["prompt_accuracy/move left"] == 0


def test_prompt_files(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("- {caption: '', shot: pan left, motion: yaw left}\n- {shot: go, motion: [move up, move down]}\n")
    first, second = scores.read_prompts(path)
    assert first.motions == {"yaw left"} and second.motions == {"move up", "move down"}
    for text in ("- {shot: x, motion: sideways}", "[]", "- 3", "a: [", "- {shot: x}"):
        path.write_text(text)
        with pytest.raises(ValueError, match="p.yaml"):
            scores.read_prompts(path)
    with pytest.raises(ValueError, match="--prompts"):
        scores.read_prompts(tmp_path / "none.yaml")


def test_framing_scores_of_the_truth_of_a_camera_that_looks_away_and_of_half_a_film():
    examples = [sample_example(seed, "test") for seed in range(4)]
    truth, scenes = [e.trajectory for e in examples], [e.scene for e in examples]
    same = scores.score_framing(truth, truth, scenes)
    assert same["off_screen"] == same["off_screen_true"] < 0.6 and same["off_screen_lost"] == same["misr_lost"] == 0
    assert same["misr_true"] >= same["off_screen_true"]
    turned = se3.make(np.diag([-1.0, 1.0, -1.0]), np.zeros(3))
    away = [dataclasses.replace(t, pose_T34=se3.compose(t.pose_T34, turned)) for t in truth]
    lost = scores.score_framing(away, truth, scenes)
    assert lost["off_screen_lost"] > 0.95 and lost["misr_lost"] > 0.95
    mixed = scores.score_framing([*truth[:2], *away[2:]], truth, scenes)
    assert 0 < mixed["off_screen_lost"] < lost["off_screen_lost"]
