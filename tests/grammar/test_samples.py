"""The film grammar: reproducible, exact in its frames, true to its words, and kept apart between splits."""

import collections
import math

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.camera.motion_tags import dominant_motion, tag_shot
from shotverse_jax.camera.tokens.shotverse import PoseTokenizer
from shotverse_jax.camera.vocabulary import motion_parts
from shotverse_jax.config import PlannerTrainConfig, planner_small
from shotverse_jax.grammar import moves, phrases
from shotverse_jax.grammar import samples as grammar
from shotverse_jax.grammar.moves import Framing, Mark, Move, Segment

SINGLE = {
    "move left": {"move left"}, "move right": {"move right"}, "move up": {"move up"}, "move down": {"move down"},
    "move forward": {"move forward"}, "move backward": {"move backward"},
    "yaw left": {"yaw left"}, "yaw right": {"yaw right"},
    "pitch up": {"pitch up"}, "pitch down": {"pitch down"}, "roll left": {"roll left"}, "roll right": {"roll right"},
    "arc left": {"move left", "yaw right"},  "arc right": {"move right", "yaw left"}, "whip left": {"yaw left"},
    "whip right": {"yaw right"}, "crane up": {"move up", "move backward"}, "crane down": {"move down", "move forward"},
    "lead": {"move backward"}, "follow": {"move forward"}, "track left": {"move left"}, "track right": {"move right"},
}  # fmt: skip
SIDES = {"lead": "front", "follow": "back", "track left": "left", "track right": "right"}


def film(segments, framing=None, frames=120):
    mark = Mark(np.zeros(3), height=1.7, facing=0.0, travel=np.array([0.0, 0.0, grammar.WALK_PER_SHOT]))
    return moves.shot_poses(framing or Framing("medium", "eye", "front right"), segments, mark, frames)


@pytest.mark.parametrize("name", sorted(phrases.VERBS))
@pytest.mark.parametrize("width", [0.0, 1.0])
def test_every_named_move_is_tagged_as_it_is_named(name, width):
    if name == "static":
        poses, expected = film((Segment(()),)), {"static"}
    else:
        poses, expected = (
            film((Segment((Move(name, width),)),), Framing("medium wide", "eye", SIDES.get(name, "front right"))),
            SINGLE[name],
        )
    assert motion_parts(*dominant_motion(tag_shot(poses))) == expected


@pytest.mark.parametrize("size", sorted(moves.DISTANCES))
@pytest.mark.parametrize("side", sorted(moves.AZIMUTHS))
def test_framing_looks_at_the_subject_from_the_side_it_says(size, side):
    pose = film((Segment(()),), Framing(size, "eye", side))[0]
    head_to_feet = se3.transform_points(se3.inverse(pose), np.array([[0.0, -1.7 * moves.AIM[size], 0.0]]))[0]
    np.testing.assert_allclose(head_to_feet[:2], 0, atol=1e-9)
    assert head_to_feet[2] == pytest.approx(moves.DISTANCES[size])
    if side == "right":
        assert pose[0, 3] > 0, "the subject faces +z, so its right is +x"
    if side == "front":
        assert pose[2, 3] > 0


def test_sequences_share_the_shot():
    poses = film((Segment((), 1.0), Segment((Move("yaw left"),), 3.0)))
    first, second = tag_shot(poses)
    assert (first.name, second.name) == ("static", "static + yaw left")
    assert 25 <= first.end <= 40


def test_examples_are_functions_of_their_number():
    a, b = grammar.sample_example(5), grammar.sample_example(5)
    np.testing.assert_array_equal(a.trajectory.pose_T34, b.trajectory.pose_T34)
    assert a.screenplay == b.screenplay and a.scene == b.scene
    assert a.screenplay != grammar.sample_example(6).screenplay
    assert a.screenplay != grammar.sample_example(5, "test").screenplay


def test_screenplay_and_trajectory_agree_frame_by_frame():
    tokenizer = PoseTokenizer(planner_small().tokens)
    for seed in range(60):
        example = grammar.sample_example(seed)
        layout = example.screenplay.layout()
        assert list(layout.spans) == example.trajectory.spans
        assert layout.num_frames == len(example.trajectory) and all(cut % 4 == 1 for cut in layout.cuts)
        assert example.trajectory.captions == tuple(shot.caption for shot in example.screenplay.shots)
        np.testing.assert_allclose(example.trajectory.pose_T34[0], np.eye(3, 4), atol=1e-9)
        tokenizer.parse(tokenizer.encode(example.trajectory))


def test_cameras_stay_above_the_floor():
    for seed in range(60):
        trajectory = grammar.sample_example(seed).trajectory
        height = -se3.compose(se3.inverse(trajectory.stage_34), trajectory.pose_T34)[:, 1, 3]
        assert height.min() > 0.05


@pytest.fixture
def drawn(monkeypatch):
    """drawn(count, **options) → framing and segments of every shot of the examples 0 to count - 1."""
    shots, shot_poses = [], moves.shot_poses

    def recorded(framing, segments, *rest, **options):
        shots.append((framing, segments))
        return shot_poses(framing, segments, *rest, **options)

    def draw(count, **options):
        monkeypatch.setattr(moves, "shot_poses", recorded)
        for seed in range(count):
            grammar.sample_example(seed, **options)
        return shots

    return draw


@pytest.mark.parametrize(("in_a_row", "low", "high"), [(0.0, 0, 0), (0.22, 0.1, 0.25), (1.17, 0.4, 0.6)])
def test_sequences_are_as_frequent_as_asked(drawn, in_a_row, low, high):
    shots = drawn(100, move_weights=(0.10, 0.52, 0.16, in_a_row))
    sequences = [len(segments) > 1 for _, segments in shots]
    assert low <= np.mean(sequences) <= high, "those with the same move twice are drawn as one"


@pytest.mark.parametrize("weights", [tuple(grammar.MOVE_RATIO.values()), (0, 1, 0, 0), (0.3, 0, 2, 0.7), (0, 0, 0, 5)])
def test_kinds_of_moves_are_as_frequent_as_asked(weights):
    rng, counts = np.random.default_rng(0), collections.Counter()
    for _ in range(2000):
        segments = grammar._draw(rng, Framing("medium", "eye", "front"), weights)
        counts[3 if len(segments) > 1 else len(segments[0].moves)] += 1
    found, asked = np.array([counts[kind] for kind in range(4)]) / 2000, np.array(weights) / sum(weights)
    repeats = asked[3] - found[3]  # the same move twice in a row is drawn as one
    assert 0 <= repeats <= 0.15 * asked[3] and not found[[0, 2, 3]][asked[[0, 2, 3]] == 0].any()
    np.testing.assert_allclose(found[:3], asked[:3] + [0, repeats, 0], atol=0.03)


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, -1, 1, 1), (0, 0, 0, 0), (1, 1, 1, math.inf), (1, math.nan, 1, 1)])
def test_weights_that_are_no_ratio_are_refused(weights):
    with pytest.raises(ValueError, match="one number for each of static, one move, two at once, in a row"):
        grammar.sample_example(0, move_weights=weights)


def test_angles_are_as_even_as_asked(drawn):
    tracks = lambda segments: any(move.name in moves.TRACKS for move in segments[0].moves)  # noqa: E731
    shots = drawn(150, even_angles=1.0)
    counts = collections.Counter(framing.angle for framing, segments in shots if not tracks(segments))
    assert set(counts) == {"low", "eye", "high"}
    np.testing.assert_allclose([n / counts.total() for n in counts.values()], 1 / 3, atol=0.1)
    with pytest.raises(ValueError, match="a share of the shots"):
        grammar.sample_example(0, even_angles=1.5)


def test_a_run_draws_what_the_grammar_does_unless_told():
    assert PlannerTrainConfig().move_weights == tuple(grammar.MOVE_RATIO.values())


def test_shot_counts_follow_the_ratio():
    counts = collections.Counter(len(grammar.sample_example(seed).screenplay.shots) for seed in range(800))
    for shots, share in grammar.SHOT_RATIO.items():
        assert counts[shots] / 800 == pytest.approx(share, abs=0.06)


def test_dialogue_keeps_to_one_side_of_the_line():
    """Both subjects stand on the z axis; every camera of a dialogue has the same sign of x, whoever it shows."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        framings = grammar._framings(rng, "reverse", 4)
        facing = [0.0, np.pi, 0.0, np.pi]
        x = [np.sin(f + np.radians(moves.AZIMUTHS[framing.side])) for f, framing in zip(facing, framings, strict=True)]
        assert (np.sign(x) == np.sign(x[0])).all()


def test_held_out_combinations_never_appear_in_training(monkeypatch):
    drawn = {"train": [], "test": []}
    original = grammar._moves
    for split in drawn:
        monkeypatch.setattr(
            grammar, "_moves", lambda *a, split=split, **k: drawn[split].append(original(*a, **k)) or drawn[split][-1]
        )
        for seed in range(150):
            grammar.sample_example(seed, split)
    tracked = lambda segments: any(m.name in moves.TRACKS for s in segments for m in s.moves)  # noqa: E731
    held = {
        split: np.mean([grammar.is_held_out(f.size, s) for f, s in shots if not tracked(s)])
        for split, shots in drawn.items()
    }
    assert held["train"] < 0.01 and held["test"] > 0.3


def test_held_out_sentences_never_appear_in_training():
    text = " ".join(s.caption for seed in range(300) for s in grammar.sample_example(seed).screenplay.shots).lower()
    for marker in ("framed as a", "here the camera", "have the camera", "the operator", "followed by", "throughout"):
        assert marker not in text
