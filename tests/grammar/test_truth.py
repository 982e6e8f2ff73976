"""What shots show in fixed words: read back by the slots, mirrored, and true to framings that are known."""

import dataclasses

import numpy as np
import pytest

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.camera.vocabulary import SIZES
from shotverse_jax.data.captioner_source import stage_shot
from shotverse_jax.grammar.moves import Framing, Mark, Move, Segment, shot_poses
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.grammar.truth import shot_truth, shot_truths
from shotverse_jax.screenplay.slots import read_slots
from shotverse_jax.stage.scene import Scene, Subject

MOTIONS = {"moves": "move", "pans": "yaw", "tilts": "pitch", "rolls": "roll"}


def shot_of(moves, size="medium", angle="eye", side="front"):
    """The truth of a shot of a woman, made by the grammar's own geometry."""
    woman = Subject("woman", "red")
    mark = Mark(np.zeros(3), woman.height, 0.0, np.zeros(3))
    segments = tuple(Segment(tuple(Move(name, 0.5) for name in part)) for part in moves)
    pose_T34 = shot_poses(Framing(size, angle, side), segments, mark, 65)
    shot = Trajectory(
        pose_T34=pose_T34,
        intrinsics_T4=np.array([809.0, 809.0, 416.0, 240.0]),
        width=832,
        height=480,
        shot_T=np.zeros(65, np.int32),
        fps=16.0,
        captions=("",),
        stage_time_T=np.arange(65) / 16,
    )
    return shot_truth(shot, Scene(subjects=(woman,)))


@pytest.mark.parametrize(
    ("moves", "motions"),
    [
        ([()], ["holds still"]),
        ([("yaw left",)], ["pans left"]),
        ([("move right", "pitch up")], ["moves right while tilting up"]),
        ([("arc left",)], ["moves left while panning right"]),
        ([("pitch down",), ("move forward",)], ["tilts down", "moves forward"]),
        ([("crane up",)], ["moves up and back"]),
    ],
)
def test_motions_of_known_shots(moves, motions):
    assert list(shot_of(moves).motions) == motions


@pytest.mark.parametrize("size", [name for name in SIZES if name != "extreme close"])
@pytest.mark.parametrize("angle", ["eye", "low", "high"])
def test_framings_of_known_shots(size, angle):
    if angle == "low" and "wide" in size:
        pytest.skip("the floor is in the way of a low camera that is far away")
    truth = shot_of([()], size, angle)
    assert (truth.size, truth.last_size, truth.angle, truth.position) == (size, size, angle, "center")
    assert "a woman in a red coat, centred." in truth.caption


def test_sizes_change_and_subjects_leave():
    closer = shot_of([("move forward",)], "close")
    assert closer.caption.endswith("It ends as a close-up.") and closer.size != "close"
    assert shot_of([("yaw left",)]).caption.endswith("It ends without the subject.")
    away = shot_of([()])
    assert dataclasses.replace(away, subject="").caption == "The camera holds still. Nobody is in the frame."


def test_slots_read_the_captions_back():
    wrong, count = [], 0
    for seed in range(60):
        example = sample_example(seed)
        for truth in shot_truths(example.trajectory, example.scene):
            slots, count = read_slots(truth.caption), count + 1
            if truth.subject:
                assert slots.sizes == {truth.size} | ({truth.last_size} if not truth.leaves else set()), truth.caption
                assert slots.angles == {truth.angle} and slots.positions == {truth.position}
            verbs = {f"{MOTIONS[phrase.split()[0]]}" for phrase in truth.motions if phrase != "holds still"}
            if not verbs <= {motion.split()[0] for motion in slots.motions}:
                wrong.append(truth.caption)
    assert count > 100 and not wrong


def test_a_mirrored_stage_has_the_mirrored_words():
    mirror = np.diag([-1.0, 1.0, 1.0])
    for seed in range(12):
        example = sample_example(seed)
        shot, scene = stage_shot(example.trajectory, example.scene, 0)
        turned = [dataclasses.replace(s, x=-s.x, yaw=-s.yaw) for s in scene.subjects if s.action != "turn"]
        if len(turned) < len(scene.subjects):
            continue
        pose_T34 = np.concatenate([mirror @ shot.pose_T34[:, :, :3] @ mirror, mirror @ shot.pose_T34[:, :, 3:]], axis=2)
        other = shot_truth(dataclasses.replace(shot, pose_T34=pose_T34), dataclasses.replace(scene, subjects=turned))
        caption = shot_truth(shot, scene).caption
        swapped = caption.replace("left", "\0").replace("right", "left").replace("\0", "right")
        # Directions that are said together keep the order of their axes.
        assert other.caption == swapped
