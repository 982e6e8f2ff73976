"""Clips of the stage: each is of its class, and folders of them are read as they were written."""

import json

import numpy as np
import pytest

from shotverse_jax import cli
from shotverse_jax.cinematic.clips import describe, stage_clip
from shotverse_jax.cinematic.measures import measure
from shotverse_jax.cinematic.phrases import CLASSES
from shotverse_jax.data.cinematic2k import counts, read_clips, split_of
from shotverse_jax.stage.bodies import subject_joints
from shotverse_jax.stage.preview import BATCH
from shotverse_jax.stage.raycast import SUBJECT, primitives, render
from shotverse_jax.stage.scene import Subject
from shotverse_jax.views.video import probe_video, read_video

MAN = Subject("man", "blue")


@pytest.mark.parametrize("name", CLASSES)
def test_a_clip_passes_the_test_of_its_class_alone(name):
    for number in range(4):
        clip = stage_clip(name, number, ("train", "val", "test", "train")[number])
        path, subject = clip.trajectory, clip.scene.subjects[0]
        joints = subject_joints(subject, np.arange(len(path)) / path.fps)
        numbers = measure(path, joints, subject.height)
        group = CLASSES[name].group
        assert [each.name for each in CLASSES.values() if each.group == group and each.test(numbers)] == [name]
        assert 2 <= len(path) / path.fps <= 4.2 and len(path) % 4 == 1


def test_a_clip_is_a_function_of_class_number_and_split():
    one, again = (stage_clip("zoom-in", 5) for _ in range(2))
    assert one.scene == again.scene and one.caption == again.caption
    np.testing.assert_array_equal(one.trajectory.pose_T34, again.trajectory.pose_T34)
    still, other = stage_clip("still", 5), stage_clip("zoom-in", 5, "test")
    assert still.source == one.source != other.source and still.scene.floor_colors == one.scene.floor_colors
    assert still.scene.subjects[0].description() == one.scene.subjects[0].description()
    with pytest.raises(ValueError, match="the splits are train, val, test"):
        stage_clip("still", 0, "dev")


def test_a_tenth_of_the_captions_leaves_the_class_out():
    rng, facts = np.random.default_rng(0), {"who": MAN.description(), "action": "standing", "sky": "at night"}
    captions = [describe(rng, "pan-left", facts)[0].lower() for _ in range(400)]
    named = [any(phrase in caption for phrase in CLASSES["pan-left"].phrases) for caption in captions]
    assert 0.86 < np.mean(named) < 0.94 and all("a man in a blue jacket" in caption for caption in captions)


def test_both_subjects_of_a_rack_focus_are_seen():
    for number in range(3):
        clip = stage_clip("rack-focus", number, height=32, width=48)
        path = clip.trajectory
        # As many frames as previews have, so that their program serves.
        prims, first = primitives(clip.scene, np.zeros(BATCH)), np.zeros(BATCH, int)
        instance = np.asarray(render(prims, path.pose_T34[first], path.intrinsics_T4[first], 48, 32).instance_THW[0])
        assert min((instance == SUBJECT + k).mean() for k in (0, 1)) > 0.02


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("clips") / "new"
    line = ["cinematic", "data", "--out", str(out), "--clips", "3", "--classes", "still,pan-left"]
    assert cli.main([*line, "--height", "32", "--width", "48", "--quiet"]) == 0
    return out


def test_a_folder_of_clips_is_read_as_it_was_written(folder):
    clips = read_clips(folder)
    assert [(c.split, c.name) for c in clips] == [
        (split, name) for split in ("train", "val", "test") for name in ("still", "pan-left")
    ]
    assert len({c.source for c in clips}) == 3 and read_clips(folder, "val") == clips[2:4]
    want = stage_clip("pan-left", 0, "val", height=32, width=48)
    assert (clips[3].caption, clips[3].source) == (want.caption, want.source)
    assert probe_video(clips[3].path) == (len(want.trajectory), 8.0, 48, 32)
    [first] = read_video(clips[3].path, np.array([0]), 48, 32)
    assert np.abs(first.astype(int) - want.frames()[0]).mean() < 12  # what the encoder changes


def test_a_call_goes_on_with_what_is_there(folder, capsys):
    gone = read_clips(folder)[1].path
    kept = {clip.path: clip.path.stat().st_mtime_ns for clip in read_clips(folder) if clip.path != gone}
    data = gone.read_bytes()
    gone.unlink()
    line = ["cinematic", "data", "--out", str(folder), "--clips", "3", "--classes", "still,pan-left", "--quiet"]
    assert cli.main([*line, "--height", "32", "--width", "48"]) == 0
    assert gone.read_bytes() == data and all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert cli.main([*line, "--height", "64", "--width", "96"]) == 2
    assert "has clips of other settings" in capsys.readouterr().err
    assert cli.main([*line, "--height", "33", "--width", "48"]) == 2
    assert cli.main(["cinematic", "data", "--out", str(folder / "x"), "--classes", "dutch"]) == 2
    assert not (folder / "x").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": "../../x.mp4"}, "the clip should be CLASS/NAME.mp4"),
        ({"clip": "../x.mp4", "class": ".."}, "there is no video"),
        ({"clip": "still/none.mp4"}, "there is no video 'still/none.mp4'"),
        ({"class": "pan-left"}, "the clip should be CLASS/NAME.mp4, got 'still/000000.mp4'"),
        ({"caption": None}, "expected an object with the texts clip, class, caption, source"),
        ({"source": "stage-test-000000"}, "the source 'stage-test-000000' is in train and in test"),
    ],
)
def test_damaged_lists_are_refused_with_their_line(folder, tmp_path, change, message):
    broken = tmp_path / "broken"
    for clip in read_clips(folder):
        place = broken / clip.path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"")
    for split in ("train", "test"):
        lines = (folder / split / "captions.jsonl").read_text().splitlines()
        said = json.loads(lines[0]) | (change if split == "train" else {})
        (broken / split / "captions.jsonl").write_text(json.dumps(said))
    with pytest.raises(ValueError, match=message):
        read_clips(broken)


def test_an_unfinished_folder_has_no_captions(tmp_path):
    with pytest.raises(ValueError, match="no captions.jsonl in train, val, test; an unfinished folder has none"):
        read_clips(tmp_path)
    with pytest.raises(ValueError, match="the splits are"):
        read_clips(tmp_path, "dev")


def test_sources_are_split_eighty_ten_ten_whatever_their_order():
    names = [f"video {k}" for k in range(100)]
    split = split_of(names)
    assert [list(split.values()).count(name) for name in ("train", "val", "test")] == [80, 10, 10]
    assert split_of(names[::-1] + names[:5]) == split and counts(3) == (1, 1, 1)
    with pytest.raises(ValueError, match="three sources or more"):
        split_of(["a", "b", "a"])
