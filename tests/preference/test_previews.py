"""Preview clips: the stage's are its frames, those of a folder are what is there, and what is missing is named."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.preference.previews import FolderRenderer, StageRenderer, frames_of_shot, scene_of
from shotverse_jax.stage.preview import preview_frames, stage_poses
from shotverse_jax.views.video import write_video


def test_frames_of_a_shot():
    np.testing.assert_array_equal(frames_of_shot(10, 26, 16), np.arange(10, 26))
    np.testing.assert_array_equal(frames_of_shot(0, 3, 5), [0, 0, 1, 2, 2])
    assert frames_of_shot(5, 49, 16)[[0, -1]].tolist() == [5, 48]


def test_clips_of_the_stage_are_its_frames():
    """Also where blocks of the program are filled with frames of several candidates."""
    example = sample_example(3, num_shots=2)
    play, first = example.screenplay, example.trajectory
    turned = dataclasses.replace(first, pose_T34=first.pose_T34 + 0.0)
    turned.pose_T34[:, :, 3] += [0.3, 0.0, 0.1]
    candidates = [first, turned, first, turned, first]
    renderer = StageRenderer(frames=8, height=12, width=20)
    clips = renderer.clips("a", play, candidates)
    assert [[clip.shape for clip in own] for own in clips] == [[(8, 12, 20, 3)] * 2] * 5
    scene = scene_of(play).clear_views(np.concatenate([stage_poses(path) for path in (first, turned)])[:, :, 3])
    for number, path in ((0, first), (1, turned), (4, first)):
        frames = np.stack(list(preview_frames(path, scene, 20, 12)))
        for shot, (start, end) in enumerate(path.spans):
            np.testing.assert_array_equal(clips[number][shot], frames[frames_of_shot(start, end, 8)])


@pytest.fixture
def rendered(tmp_path):
    """(trajectory, a folder with frames of it: frame i has the shade i)."""
    path = sample_example(3, num_shots=2).trajectory
    for sample in range(2):
        (tmp_path / f"a/sample_{sample}").mkdir(parents=True)
        for i in range(len(path)):
            Image.new("RGB", (40, 24), (i, i, i)).save(tmp_path / f"a/sample_{sample}/frame_{i:04}.png")
    return path, tmp_path


def test_clips_of_a_folder(rendered):
    path, folder = rendered
    renderer = FolderRenderer(str(folder), frames=4, height=12, width=20)
    clips = renderer.clips("a", None, [path, path])
    for shot, (start, end) in enumerate(path.spans):
        np.testing.assert_array_equal(clips[1][shot][:, 5, 5, 0], frames_of_shot(start, end, 4))
    assert clips[0][0].shape == (4, 12, 20, 3)
    with pytest.raises(ValueError, match="there is no preview .*b/sample_0.mp4"):
        renderer.clips("b", None, [path])
    (folder / "a/sample_1/frame_0000.png").unlink()
    with pytest.raises(ValueError, match=f"has {len(path) - 1} frames, and its plan {len(path)}"):
        renderer.clips("a", None, [path, path])
    (folder / "a/sample_0/frame_0003.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="frame_0003.png cannot be read as a picture"):
        FolderRenderer(str(folder), frames=len(path)).clips("a", None, [path])


def test_clips_of_a_video(tmp_path):
    path = sample_example(3, num_shots=2).trajectory
    (tmp_path / "a").mkdir()
    shades = np.linspace(20, 230, len(path)).astype(np.uint8)
    write_video(tmp_path / "a/sample_0.mp4", (np.full((24, 40, 3), shade, np.uint8) for shade in shades), 16.0)
    [clips] = FolderRenderer(str(tmp_path), frames=4, height=12, width=20).clips("a", None, [path])
    for shot, (start, end) in enumerate(path.spans):
        np.testing.assert_allclose(clips[shot][:, 5, 5, 0], shades[frames_of_shot(start, end, 4)], atol=4)
