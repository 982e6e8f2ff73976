"""Preview films, plots, and the stage that a bare path implies."""

import dataclasses
import warnings

import numpy as np
import pytest
from PIL import Image

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.stage.preview import implied_stage, preview_frames
from shotverse_jax.stage.scene import Scene, Subject
from shotverse_jax.views.plot import plot_trajectory
from shotverse_jax.views.preview import render_preview
from shotverse_jax.views.video import probe_video, read_video, write_video

FRAMES = 21
TAGS = ("move right + yaw left", "static")


def _orbit(level: float = 1.5, distance: float = 3.5, frames: int = FRAMES, span: float = 1.0) -> Trajectory:
    """A path around a subject at the stage's origin, in the stage's own coordinates; the second shot is still."""
    angle_T = np.linspace(-0.5, 0.5, frames) * span
    angle_T[frames // 2 :] = angle_T[-1]
    eye_T3 = np.stack([distance * np.sin(angle_T), np.full(frames, -level), distance * np.cos(angle_T)], -1)
    return Trajectory(
        pose_T34=se3.look_at(eye_T3, np.array([0.0, -1.1, 0.0])),
        intrinsics_T4=np.array([800.0, 800.0, 416.0, 240.0]),
        width=832,
        height=480,
        shot_T=np.repeat([0, 1], [frames // 2, frames - frames // 2]),
        fps=16.0,
        captions=("The camera arcs around her for $5.", "It holds."),
        global_caption="A woman in a red coat waits at night.",
        stage_34=se3.identity(),
    )


def _world() -> np.ndarray:
    """Some other world frame, far from upright."""
    return se3.make(se3.so3_exp(np.array([0.7, -1.9, 0.4])), np.array([3.0, -8.0, 5.0]))


def _read(path):
    info = probe_video(path)
    return info, read_video(path, np.arange(info.frames), info.width, info.height)


def test_film_has_every_frame_the_right_length_and_the_burned_in_words(tmp_path):
    trajectory = _orbit().moved(_world())
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # forking beside JAX's threads would warn
        render_preview(trajectory, None, tmp_path / "new" / "film.mp4", tags=TAGS, height=144)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["film.mp4"]
    info, film = _read(tmp_path / "new" / "film.mp4")
    assert film.shape == (FRAMES, 144, 250, 3)
    assert info.fps == 16.0 and info.frames == FRAMES
    assert b"avc1" in (tmp_path / "new" / "film.mp4").read_bytes()  # H.264

    bar = film[:, :14].astype(int)
    assert np.abs(bar[0] - bar[5]).mean() < 12 and bar[0].max() > 200  # the words stay while the shot lasts
    tag_letters = (bar[..., 0] - bar[..., 2] > 60).sum((1, 2))
    assert tag_letters[0] > 2 * tag_letters[-1] > 0  # "static" is shorter
    counter = film[:, -14:, 160:].astype(int)
    assert (np.abs(np.diff(counter, axis=0)).max((1, 2, 3)) > 60).all()  # a new number in every frame

    middle = film[0, 62:82, 120:130].reshape(-1, 3).astype(int).mean(0)
    assert middle[0] > 1.5 * middle[1] and middle[0] > 1.3 * middle[2]  # her red coat, by night


def test_frames_do_not_depend_on_the_world_or_on_batches():
    trajectory, scene = _orbit(), Scene((Subject("robot", "blue", "wave"),))
    here = list(preview_frames(trajectory, scene, 60, 36))
    there = list(preview_frames(trajectory.moved(_world()), scene, 60, 36))
    assert len(here) == FRAMES  # more than one batch, not a multiple of one
    assert np.abs(np.stack(here).astype(int) - np.stack(there).astype(int)).mean() < 0.3
    last = dataclasses.replace(
        trajectory,
        pose_T34=trajectory.pose_T34[-1:],
        intrinsics_T4=trajectory.intrinsics_T4[-1:],
        shot_T=np.zeros(1, np.int32),
        captions=("",),
    )
    still = dataclasses.replace(scene, subjects=(Subject("robot", "blue"),))
    [alone] = preview_frames(last, still, 60, 36)
    together = list(preview_frames(trajectory, still, 60, 36))
    assert np.abs(alone.astype(int) - together[-1].astype(int)).max() <= 1


def test_a_failed_film_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("shotverse_jax.views.preview.preview_frames", lambda *a: iter([np.zeros((36, 62, 3), "u1"), 0]))
    (tmp_path / "film.mp4").write_bytes(b"before")
    with pytest.raises(AttributeError):  # the second frame is no frame
        render_preview(_orbit(), None, tmp_path / "film.mp4", height=72)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("film.mp4", b"before")]


def test_an_encoder_that_fails_says_why(tmp_path, monkeypatch):
    frames = [np.zeros((36, 62, 3), np.uint8)] * FRAMES
    monkeypatch.setattr("shotverse_jax.views.preview.preview_frames", lambda *a: iter(frames))
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho no such codec >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: str(program))
    with pytest.raises(ValueError, match="encoder.*no such codec"):
        render_preview(_orbit(), None, tmp_path / "film.mp4", height=72)
    assert list(tmp_path.iterdir()) == [program]


def test_an_address_is_a_local_path(tmp_path, monkeypatch):
    """FFmpeg would ask the network."""
    monkeypatch.chdir(tmp_path)
    frames = np.zeros((2, 32, 48, 3), np.uint8)
    write_video("http://localhost:1/film.mp4", frames, 8.0)
    assert (tmp_path / "http:" / "localhost:1" / "film.mp4").is_file()
    assert probe_video("http://localhost:1/film.mp4").frames == 2
    with pytest.raises(ValueError, match="no such file"):
        probe_video("concat:film.mp4")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("film.avi", {}, r"\.mp4"),
        ("film.mp4", {"tags": ("one",)}, "2 shots but 1"),
        ("film.mp4", {"height": 16386}, "from 64 to 16384"),
        ("film.mp4", {"height": 20}, "from 64 to 16384, got 20"),
        ("file/film.mp4", {}, "cannot be written"),
    ],
)
def test_wrong_wishes_are_refused(tmp_path, name, options, words):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ValueError, match=words):
        render_preview(_orbit(), None, tmp_path / name, **options)


def test_implied_stage_finds_gravity_subject_and_floor():
    trajectory = dataclasses.replace(_orbit(level=1.6, span=2.0), stage_34=None)
    found = implied_stage(trajectory)
    np.testing.assert_allclose(found[:, 1], [0, 1, 0], atol=0.02)
    np.testing.assert_allclose(found[:, 3], [0, 0, 0], atol=0.15)
    assert np.linalg.det(found[:, :3]) == pytest.approx(1.0)
    to_camera = trajectory.pose_T34[0, :, 3] * [1, 0, 1]
    assert found[:, 2] @ to_camera / np.linalg.norm(to_camera) > 0.999
    world = _world()
    np.testing.assert_allclose(implied_stage(trajectory.moved(world)), se3.compose(world, found), atol=1e-6)


@pytest.mark.parametrize(
    ("eye", "target"),
    [((0, 0, 0), (0, 0, 1)), ((0, 0, 0), (0, 5, 0.001)), ((0, 0, 0), (0.3, -2, 1))],
    ids=["level", "straight down", "up"],
)
def test_implied_stage_of_a_still_camera_is_in_front_of_it(eye, target):
    pose_34 = se3.look_at(np.array(eye, float), np.array(target, float))
    stage = implied_stage(
        Trajectory(np.tile(pose_34, (5, 1, 1)), np.array([50.0, 50, 32, 18]), 64, 36, np.zeros(5, np.int32))
    )
    assert np.isfinite(stage).all()
    np.testing.assert_allclose(stage[:, :3].T @ stage[:, :3], np.eye(3), atol=1e-9)
    camera = se3.transform_points(se3.inverse(stage), pose_34[:, 3])
    assert camera[1] == pytest.approx(-1.6)  # 1.6 m above the floor
    horizontal = pose_34[:, 2] - (pose_34[:, 2] @ stage[:, 1]) * stage[:, 1]
    assert (stage[:, 3] - pose_34[:, 3]) @ horizontal >= -1e-9


@pytest.mark.parametrize("known", [True, False])
def test_plot_is_a_picture_with_path_and_subject(tmp_path, known):
    trajectory = _orbit() if known else dataclasses.replace(_orbit(), stage_34=None)
    plot_trajectory(trajectory, tmp_path / "path.png", TAGS)
    assert [p.name for p in tmp_path.iterdir()] == ["path.png"]
    pixels = np.asarray(Image.open(tmp_path / "path.png").convert("RGB")).astype(int)
    assert pixels.shape[1] == 1400 and 500 < pixels.shape[0] < 900
    subject = (np.abs(pixels - [0xC0, 0x39, 0x2B]).max(-1) < 12).sum((0, 1))
    assert (subject > 300) == known
    saturated = pixels.max(-1) - pixels.min(-1) > 60
    assert saturated[:, :430].sum() > 150  # the coloured path, from above


def test_plot_of_a_still_camera_and_wrong_wishes(tmp_path):
    still = Trajectory(se3.identity((1,)), np.array([50.0, 50, 32, 18]), 64, 36, np.zeros(1, np.int32))
    plot_trajectory(still, tmp_path / "still.png")
    assert Image.open(tmp_path / "still.png").size[0] == 1400
    with pytest.raises(ValueError, match="2 shots but 1"):
        plot_trajectory(_orbit(), tmp_path / "a.png", ["static"])
    with pytest.raises(ValueError, match="a is no picture that can be drawn: its name should end in .png, .svg, .pdf"):
        plot_trajectory(_orbit(), tmp_path / "a")
    with pytest.raises(ValueError, match="docx"):
        plot_trajectory(_orbit(), tmp_path / "a.docx")
    assert [p.name for p in tmp_path.iterdir()] == ["still.png"]
