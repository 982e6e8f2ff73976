"""Batches of a captioner: clips of the stage and their variants, clips of a folder, and what is refused."""

import dataclasses
import pickle

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.config import captioner_nano
from shotverse_jax.data.captioner_source import CaptionerSource, FolderClips, StageClips, stage_shot
from shotverse_jax.data.view_targets import MIRROR, MOVE, TURN, VALUES, view_targets
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.inputs.chat import SPECIAL_TOKENS, Chat
from shotverse_jax.inputs.tokenizer import load_text_tokenizer, train_text_tokenizer
from shotverse_jax.views.video import write_video

CLIPS = StageClips("train", 4, 16, 24)


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_text_tokenizer(CLIPS.captions(20), 300, SPECIAL_TOKENS).save(str(path))
    return str(path)


def source(tokenizer_file, clips=CLIPS, **changes):
    values = dict(length=192, answer=96, patches=24, pairs=2, seed=3, global_batch=4, num_steps=100)
    return CaptionerSource(captioner_nano(), tokenizer_file, clips, **values | changes)


def test_a_batch_and_its_parts(tokenizer_file):
    whole = source(tokenizer_file)
    _, batch = whole[7]
    assert {name: (array.shape, array.dtype.name) for name, array in batch.items()} == {
        "pixels_BFSP": ((4, 2, 24, 96), "float32"),
        "size_BF2": ((4, 2, 2), "int32"),
        "ids_BT": ((4, 192), "int32"),
        "real_BT": ((4, 192), "bool"),
        "feature_BT": ((4, 192), "int32"),
        "positions_B3T": ((4, 3, 192), "int32"),
        "places_BN": ((4, 96), "int32"),
        "targets_BN": ((4, 96), "int32"),
    }
    # The token after each place is the target there.
    real_BN = batch["targets_BN"] >= 0
    following_BN = np.take_along_axis(batch["ids_BT"], np.minimum(batch["places_BN"] + 1, 191), axis=1)
    np.testing.assert_array_equal(following_BN[real_BN], batch["targets_BN"][real_BN])
    assert (batch["targets_BN"][np.arange(4), real_BN.sum(1) - 1] == 2).all()  # all answers end
    np.testing.assert_array_equal((batch["feature_BT"] >= 0).sum(1), 12)
    chat = Chat(load_text_tokenizer(tokenizer_file), captioner_nano())
    assert all(chat.text(row[row >= 0]).startswith("the camera ") for row in batch["targets_BN"])
    halves = [pickle.loads(pickle.dumps(source(tokenizer_file, host=i, num_hosts=2)))[7][1] for i in (0, 1)]
    for name, array in batch.items():
        np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), array)


def test_what_the_cameras_do_between_two_frames():
    """A camera that turns and moves alike in all frames, past a person; and the same in a mirror."""
    example = sample_example(0, num_shots=1)
    shot, scene = stage_shot(example.trajectory, example.scene, 0)
    turn_33, count = se3.so3_exp(np.array([0.0, TURN, 0.0])), len(shot)
    pose_34 = se3.look_at(np.array([0.0, -1.0, 4.0]), scene.subjects[0].position(0) - [0, 1, 0])
    poses = [pose_34]
    for _ in range(count - 1):
        poses.append(se3.compose(poses[-1], se3.make(turn_33, np.array([0.0, MOVE, -MOVE]))))
    shot = dataclasses.replace(shot, pose_T34=np.stack(poses))
    at_N = np.arange(5)
    view_FY = view_targets(shot, scene, at_N)
    assert view_FY.shape == (3, VALUES)
    np.testing.assert_allclose(view_FY[:2, :6], np.tile([0, 1, 0, 0, 1, -1], (2, 1)), atol=1e-5)
    np.testing.assert_allclose(view_FY[2, :6], 0, atol=1e-6)  # the last frame is paired with itself
    # The camera looks at the person's middle: it is there, and then leaves to the left, upwards.
    assert view_FY[0, 9] == 1 and abs(view_FY[0, 6]) < 0.2 and view_FY[1, 6] < view_FY[0, 6] - 0.1
    other_way = np.diag([-1.0, 1, 1])
    mirrored_T34 = np.concatenate(
        [other_way @ shot.pose_T34[:, :, :3] @ other_way, shot.pose_T34[:, :, 3:] * [[-1], [1], [1]]], axis=2
    )
    mirrored_FY = view_targets(dataclasses.replace(shot, pose_T34=mirrored_T34), scene, at_N)
    np.testing.assert_allclose((MIRROR * view_FY)[:, :6], mirrored_FY[:, :6], atol=1e-5)


def test_variants_are_the_same_shot_mirrored_and_backwards():
    plain, mirrored, backwards, both = (CLIPS._rendered(3, 5, variant) for variant in range(4))
    np.testing.assert_array_equal(mirrored.frames_THWC, plain.frames_THWC[:, :, ::-1])
    np.testing.assert_array_equal(backwards.frames_THWC, plain.frames_THWC[::-1])
    np.testing.assert_array_equal(both.frames_THWC, plain.frames_THWC[::-1, :, ::-1])
    swap = lambda text: text.replace("left", "\0").replace("right", "left").replace("\0", "right")  # noqa: E731
    assert mirrored.caption == swap(plain.caption) and both.caption == swap(backwards.caption)


def test_every_shot_comes_in_all_its_variants():
    shots = StageClips("train", 4, 16, 24)
    asked = []
    object.__setattr__(shots, "_rendered", lambda seed, number, variant: asked.append((number, variant)))
    shots.pick(0, range(512))
    assert len(set(asked)) == 512 and {number for number, _ in asked} == set(range(128))
    assert {variant for _, variant in asked[:4]} == set(range(4))


def test_a_backwards_dolly_goes_the_other_way():
    opposite = {"moves forward": "moves back", "moves back": "moves forward", "holds still": "holds still"}
    found = 0
    for number in range(40):
        plain = CLIPS._rendered(3, number, 0).caption.split(".")[0].removeprefix("The camera ")
        if plain in opposite:
            found += 1
            assert CLIPS._rendered(3, number, 2).caption.startswith(f"The camera {opposite[plain]}.")
    assert found > 2


def test_clips_of_a_folder(tmp_path, tokenizer_file):
    with pytest.raises(ValueError, match="has no videos"):
        FolderClips(str(tmp_path), captioner_nano(), 480).all  # noqa: B018
    frames = np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mp4", frames, 8.0)
    with pytest.raises(ValueError, match="a.mp4 has no caption"):
        FolderClips(str(tmp_path), captioner_nano(), 480).all  # noqa: B018
    (tmp_path / "a.txt").write_text("The camera\nholds still.\n")
    clips = FolderClips(str(tmp_path), captioner_nano(), 16)
    [clip] = clips.pick(0, [5])
    assert clip.frames_THWC.shape == (4, 16, 24, 3) and clip.caption == "The camera holds still."
    np.testing.assert_allclose(clip.seconds_T, [0, 0.5, 0.875, 1.375])
    _, batch = source(tokenizer_file, clips, global_batch=1)[0]
    assert batch["pixels_BFSP"].shape == (1, 2, 24, 96)


def test_a_caption_that_is_too_long_says_so(tokenizer_file):
    with pytest.raises(ValueError, match="raise them"):
        source(tokenizer_file, answer=8)[0]
    with pytest.raises(ValueError, match="do not fit into"):
        source(tokenizer_file, dataclasses.replace(CLIPS, height=8), patches=4)[0]
