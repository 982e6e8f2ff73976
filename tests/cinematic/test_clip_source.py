"""What CameraCLIP is trained on: clips played backwards and mirrored, what is true of them, folders."""

import dataclasses
import pickle

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.cinematic import facts
from shotverse_jax.cinematic.clip_source import (
    PAIRS,
    ROUND,
    SINGLE,
    CameraClipSource,
    FolderSamples,
    StageSamples,
    motion,
)
from shotverse_jax.cinematic.clips import stage_clip
from shotverse_jax.cinematic.measures import measure
from shotverse_jax.cinematic.phrases import CLASSES, MIRRORED, OPPOSITES, classes_of
from shotverse_jax.data.cinematic2k import SPLITS, ClipFile, write_captions
from shotverse_jax.inputs.clip import SPECIAL_TOKENS
from shotverse_jax.inputs.tokenizer import train_text_tokenizer
from shotverse_jax.stage.bodies import subject_joints
from shotverse_jax.views.video import write_video


def of(**said):
    return facts.numbers(said)


def test_a_text_is_right_where_all_that_it_says_is_true():
    clips = np.stack([of(who="a man", movement="pan-left"), of(who="a man", movement="still", framing="close-up")])
    texts = np.stack(
        [of(who="a man"), of(movement="pan-left"), of(who="a child", framing="close-up"), of(framing="close-up")]
    )
    right, unknown = facts.agreement(clips, texts)
    assert right.tolist() == [[True, True, False, False], [True, False, False, True]]
    # Of the first clip no framing is known; of a text that is wrong anyway it does not matter.
    assert unknown.tolist() == [[False, False, False, True], [False] * 4]


@pytest.mark.parametrize("name", OPPOSITES)
def test_a_clip_played_backwards_is_of_the_opposite_class(name):
    for number in range(3):
        clip = stage_clip(name, number)
        path, subject = clip.trajectory, clip.scene.subjects[0]
        joints = subject_joints(subject, np.arange(len(path)) / path.fps)[::-1]
        back = dataclasses.replace(path, pose_T34=path.pose_T34[::-1], intrinsics_T4=path.intrinsics_T4[::-1])
        assert classes_of(measure(back, joints, subject.height))["movement"] == OPPOSITES[name]


@pytest.fixture(scope="module")
def samples():
    # As many frames as previews have, so that their program serves; two visits of the first round, 16 rounds apart.
    source = StageSamples("train", 16, 32, 48, phrases=0.5)
    pan = [name for name, _ in PAIRS].index("pan-left") * 2
    still = 2 * len(PAIRS) + SINGLE.index("still")
    return source, source.pick(0, [pan, pan + 1, 16 * ROUND + pan, 16 * ROUND + pan + 1, still])


def test_every_class_comes_once_in_a_round():
    assert sorted([*SINGLE, *(name for pair in PAIRS for name in pair)]) == sorted(CLASSES) and len(CLASSES) == ROUND
    assert all(other[other[name]] == name for other in (OPPOSITES, MIRRORED) for name in other)


def test_backwards_and_mirrored_clips_have_their_own_class_and_motion(samples):
    there, back, mirrored, both, still = samples[1]
    assert [s.name for s in samples[1]] == ["pan-left", "pan-right", "pan-right", "pan-left", "still"]
    assert all(s.facts["movement"] == s.name for s in samples[1])
    np.testing.assert_array_equal(back.frames_THWC, there.frames_THWC[::-1])
    np.testing.assert_array_equal(mirrored.frames_THWC, there.frames_THWC[:, :, ::-1])
    np.testing.assert_array_equal(both.frames_THWC, there.frames_THWC[::-1, :, ::-1])
    # A positive turn about y is one to the right; forgotten units would be far from 1.
    yaw = [s.motion_FY[:, 1].mean() for s in (there, back, mirrored, both)]
    assert yaw[0] < -0.1 and np.allclose(yaw, np.array([1, -1, -1, 1]) * yaw[0], atol=1e-5)
    assert np.abs(still.motion_FY).max() < 1e-5 and still.motion_FY.shape == (15, 8)
    for sample in samples[1]:
        assert sample.said.items() <= sample.facts.items()
    again = pickle.loads(pickle.dumps(samples[0])).pick(0, [2 * len(PAIRS) + SINGLE.index("still")])[0]
    assert again.caption == still.caption


def test_batches_do_not_depend_on_the_hosts(samples, tmp_path):
    train_text_tokenizer(["a man"], 300, special=SPECIAL_TOKENS).save(str(tmp_path / "t.json"))
    values = {"length": 40, "clips": samples[0], "probe": True, "seed": 0, "global_batch": 8, "num_steps": 2}
    _, whole = CameraClipSource(str(tmp_path / "t.json"), **values)[0]
    assert whole["frames_BTHWC"].shape == (8, 16, 32, 48, 3) and whole["motion_BFY"].shape == (8, 15, 8)
    assert whole["facts_BK"].shape == whole["said_BK"].shape == (8, 7)
    halves = [CameraClipSource(str(tmp_path / "t.json"), **values, host=host, num_hosts=2)[0][1] for host in range(2)]
    for name, array in whole.items():
        np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), array)


def test_motion_of_each_sort():
    pose_T34 = np.tile(np.eye(3, 4), (3, 1, 1))
    pose_T34[:, 2, 3] = [0.0, 0.16, 0.32]
    pose_T34[2, :, :3] = se3.so3_exp(np.array([0.05, 0.0, 0.0]))
    rows = motion(pose_T34, np.array([0.0, 0.1, 0.1]), np.array([0.0, 0.0, 0.008]), distance=2.0)
    np.testing.assert_allclose(rows[0], [0, 0, 0, 0, 0, 1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(rows[1], [1, 0, 0, 0, 0, 1, 0, 2], atol=1e-6)


def test_clips_of_a_folder_have_their_caption_or_a_phrase(tmp_path):
    clips = []
    for number, (split, name) in enumerate(zip(SPLITS, ("pan-left", "orbit", "still"), strict=True)):
        path = tmp_path / split / name / "a.mp4"
        path.parent.mkdir(parents=True)
        write_video(path, np.full((3, 16, 32, 3), 60 * number, np.uint8), 8)
        clips.append(ClipFile(path, split, name, f"A {name}  shot.", f"film {number}"))
    write_captions(tmp_path, clips)
    [sample] = FolderSamples(str(tmp_path), "train", 4, 8, 12).pick(0, [0])
    assert sample.frames_THWC.shape == (4, 8, 12, 3) and sample.caption == "A pan-left  shot."
    assert sample.facts == {"text": "a pan-left shot.", "movement": "pan-left"} and sample.said.keys() == {"text"}
    phrase = FolderSamples(str(tmp_path), "train", 4, 8, 12, phrases=1.0).worded(0)
    assert phrase.caption in CLASSES["pan-left"].phrases and phrase.said == {"movement": "pan-left"}
    # A class of one's own has no phrases here.
    own = FolderSamples(str(tmp_path), "val", 4, 8, 12, phrases=1.0, targets="class").worded(0)
    assert own.caption == "A orbit  shot." and own.facts == own.said == {"text": "orbit"}
