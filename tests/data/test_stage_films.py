"""Clips of the stage: reproducible, what the example's camera saw, and the same when filmed again."""

import dataclasses
import functools

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.data.stage_films import film_clip
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.stage.casting import scene_from_screenplay
from shotverse_jax.stage.preview import preview_frames

clip_of = functools.cache(functools.partial(film_clip, frames=17, height=32, width=48))


def test_a_clip_is_a_function_of_its_seed_and_split():
    clip = clip_of(3)
    assert clip.video_THWC.shape == (17, 32, 48, 3) and clip.video_THWC.dtype == np.uint8
    again = film_clip(3, frames=17, height=32, width=48)
    np.testing.assert_array_equal(again.video_THWC, clip.video_THWC)
    for other in (clip_of(4), clip_of(3, "test"), clip_of(3, num_shots=1)):
        assert (other.video_THWC != clip.video_THWC).mean() > 0.05
    assert clip_of(3, num_shots=4).trajectory.num_shots == 4


@pytest.mark.parametrize("shots", [1, 2, 3, 4])
def test_the_screenplay_has_the_layout_of_the_video(shots):
    clip = clip_of(5, num_shots=shots, fps=6.0)
    layout = clip.screenplay.layout()
    assert layout.num_frames == 17 and list(layout.spans) == clip.trajectory.spans
    assert (clip.screenplay.fps, clip.screenplay.width, clip.screenplay.height) == (6.0, 48, 32)
    assert (clip.trajectory.fps, clip.trajectory.width, clip.trajectory.height) == (6.0, 48, 32)
    assert tuple(shot.caption for shot in clip.screenplay.shots) == clip.trajectory.captions


def test_every_shot_runs_from_its_first_to_its_last_pose():
    example, clip = sample_example(5, num_shots=3), clip_of(5, num_shots=3)
    for (first, end), (start, stop) in zip(example.trajectory.spans, clip.trajectory.spans, strict=True):
        for there, here in ((first, start), (end - 1, stop - 1)):
            np.testing.assert_allclose(
                clip.trajectory.pose_T34[here], example.trajectory.pose_T34[there], atol=1e-9, err_msg=f"frame {here}"
            )
            assert clip.trajectory.stage_time_T[here] == pytest.approx(there / 16)


def test_the_scene_is_the_words_but_for_the_subjects():
    clip = clip_of(7)
    cast = scene_from_screenplay([clip.screenplay.caption, *clip.trajectory.captions])
    assert clip.scene.subjects == sample_example(7).scene.subjects
    assert (clip.scene.sky, clip.scene.floor, clip.scene.sun) == (cast.sky, cast.floor, cast.sun)
    assert set(clip.scene.props) <= set(cast.props)


def test_subjects_are_where_their_colour_shows():
    clip = clip_of(1)
    other = {"black": "white"}
    recoloured = tuple(dataclasses.replace(s, color=other.get(s.color, "black")) for s in clip.scene.subjects)
    film = preview_frames(clip.trajectory, dataclasses.replace(clip.scene, subjects=recoloured), 48, 32)
    changed_THW = np.abs(np.stack(list(film)).astype(int) - clip.video_THWC).max(-1) > 24
    assert changed_THW[clip.subject_THW].mean() > 0.5 and changed_THW[~clip.subject_THW].mean() < 0.01


def test_the_same_film_comes_from_any_world_and_at_the_stage_s_own_pace():
    walker = next(seed for seed in range(50) if sample_example(seed).scene.subjects[0].action == "walk")
    clip = clip_of(walker)
    world = se3.make(se3.so3_exp(np.array([0.4, -1.0, 0.3])), np.array([3.0, -8.0, 5.0]))
    film = np.stack(list(preview_frames(clip.trajectory.moved(world), clip.scene, 48, 32)))
    assert np.abs(film.astype(int) - clip.video_THWC).mean() < 0.5
    since_some_epoch = clip.trajectory.stage_time_T + 1e6
    later = dataclasses.replace(clip.trajectory, stage_time_T=since_some_epoch)
    film = np.stack(list(preview_frames(later, clip.scene, 48, 32)))
    assert np.abs(film.astype(int) - clip.video_THWC).mean() < 0.5
    unclocked = dataclasses.replace(clip.trajectory, stage_time_T=None)
    film = np.stack(list(preview_frames(unclocked, clip.scene, 48, 32)))
    assert np.abs(film.astype(int) - clip.video_THWC).mean() > 1


def test_a_film_too_short_for_its_shots_is_refused():
    with pytest.raises(ValueError, match="4 shots need at least 17 frames"):
        film_clip(0, frames=13, num_shots=4)
