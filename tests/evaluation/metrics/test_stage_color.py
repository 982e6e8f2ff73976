"""The subject's colour is read from its pixels, under the scene's light and only where it can be seen."""

import dataclasses

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.data.stage_films import FilmClip, film_clip
from shotverse_jax.evaluation.metrics.stage_color import color_accuracy, subject_color
from shotverse_jax.stage.preview import preview_frames, stage_poses


def first_frames(clip: FilmClip) -> FilmClip:
    """The first 5 frames alone, which keeps the tests short."""
    t = clip.trajectory
    part = dataclasses.replace(
        t,
        pose_T34=t.pose_T34[:5],
        intrinsics_T4=t.intrinsics_T4[:5],
        shot_T=t.shot_T[:5],
        captions=t.captions[:1],
        stage_time_T=t.stage_time_T[:5],
    )
    return dataclasses.replace(clip, video_THWC=clip.video_THWC[:5], trajectory=part)


@pytest.fixture(scope="module")
def clips():
    clips = [first_frames(film_clip(seed, "test")) for seed in range(16)]
    assert len({clip.scene.sky for clip in clips}) > 2
    return clips


def test_renders_show_their_color(clips):
    scores = color_accuracy(*zip(*((c.video_THWC, c.trajectory, c.scene) for c in clips), strict=True))
    assert scores["color_accuracy"] >= 0.95
    assert scores["color_judged"] >= 12


def test_soft_grainy_renders(clips):
    rng = np.random.default_rng(0)

    def worn(video):
        soft = sum(np.roll(video.astype(float), (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9
        return np.clip(1.05 * soft + rng.normal(0, 8, soft.shape), 0, 255).astype(np.uint8)

    scores = color_accuracy(*zip(*((worn(c.video_THWC), c.trajectory, c.scene) for c in clips), strict=True))
    assert scores["color_accuracy"] >= 0.9


@pytest.mark.parametrize("color", ["purple", "white", "black"])
def test_the_film_decides_not_the_scene(clips, color):
    clip = next(c for c in clips if c.scene.subjects[0].color not in ("purple", "white", "black"))
    subject = dataclasses.replace(clip.scene.subjects[0], color=color)
    scene = dataclasses.replace(clip.scene, subjects=(subject, *clip.scene.subjects[1:]))
    size = clip.trajectory.width, clip.trajectory.height
    video = np.stack(list(preview_frames(clip.trajectory, scene, *size)))
    assert subject_color(video, clip.trajectory, clip.scene) == color
    scores = color_accuracy([video], [clip.trajectory], [clip.scene])
    assert scores == {"color_accuracy": 0.0, "color_judged": 1.0}


def test_a_subject_out_of_view_is_not_judged(clips):
    clip = clips[0]
    up = np.tile(se3.look_at(np.array([0.0, -1.6, 3.0]), np.array([0.1, -9.0, 3.0])), (5, 1, 1))
    away = dataclasses.replace(clip.trajectory, pose_T34=se3.compose(clip.trajectory.stage_34, up))
    np.testing.assert_allclose(stage_poses(away), up, atol=1e-9)
    assert subject_color(clip.video_THWC, away, clip.scene) is None
    assert np.isnan(color_accuracy([clip.video_THWC], [away], [clip.scene])["color_accuracy"])


def test_what_does_not_fit_is_refused(clips):
    clip = clips[0]
    with pytest.raises(ValueError, match="no stage"):
        subject_color(clip.video_THWC, dataclasses.replace(clip.trajectory, stage_34=None), clip.scene)
    with pytest.raises(ValueError, match="shape"):
        subject_color(clip.video_THWC[:3], clip.trajectory, clip.scene)
