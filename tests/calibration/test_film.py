"""`shotverse calibrate` from a video to the files of its folder, with cameras that are known."""

import json
import subprocess

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

import rooms
from shotverse_jax import cli
from shotverse_jax.calibration import kept, outputs, sources
from shotverse_jax.calibration.film import calibrate_film, chosen, reduced
from shotverse_jax.calibration.outputs import spans, worlds, write
from shotverse_jax.calibration.shots import Box, Shots, Transition
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.config import CalibrationConfig
from shotverse_jax.views.video import VideoInfo, probe_video, write_video

WIDTH, HEIGHT, COUNT = 96, 64, 6


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A film of two shots, its cameras as an .npz, and both as arrays."""
    folder = tmp_path_factory.mktemp("room")
    pose_T34 = np.concatenate([rooms.path("truck", COUNT), rooms.path("arc", COUNT)])
    color_THWC, depth_THW = rooms.pictures(pose_T34, WIDTH, HEIGHT)
    write_video(folder / "film.mp4", color_THWC, 24.0)
    cameras = {"poses_c2w": pose_T34, "intrinsics": rooms.lens(WIDTH, HEIGHT), "depth": depth_THW.astype(np.float32)}
    np.savez(folder / "cameras.npz", **cameras)
    return folder, pose_T34, cameras


@pytest.fixture
def no_plots(monkeypatch):
    """Plots are empty files: one test looks at them, and they take most of the time."""
    monkeypatch.setattr(outputs, "plot_three_views", lambda trajectory, path, title: path.touch())


def command(folder, out, *more, cameras="cameras.npz"):
    known = f"file:{folder / cameras}"
    words = ["--cuts", str(COUNT), "--reconstruct", known, "--out", str(out), *more]
    return cli.main(["calibrate", str(folder / "film.mp4"), *words])


def points_of(path):
    """The places and colours in a .ply."""
    head, _, data = path.read_bytes().partition(b"end_header\n")
    vertex_M = np.frombuffer(data, [("place", "<f4", 3), ("color", "u1", 3)])
    assert f"element vertex {len(vertex_M)}\n".encode() in head
    return vertex_M["place"], vertex_M["color"]


@pytest.fixture(scope="module")
def calibrated(room, tmp_path_factory):
    folder, *_ = room
    out = tmp_path_factory.mktemp("out") / "film"
    assert command(folder, out, "--size", "48", "--quiet") == 0
    return out


def test_the_files_of_a_film(room, calibrated):
    _, pose_T34, _ = room
    names = {"trajectory.json", "points.ply", "plot.png", "overlay.mp4", "calibration.json", "stages"}
    assert {path.name for path in calibrated.iterdir()} == names
    path = read_trajectory(calibrated / "trajectory.json")
    np.testing.assert_allclose(path.pose_T34, se3.relative(pose_T34[0], pose_T34), atol=1e-6)
    np.testing.assert_allclose(path.intrinsics_T4, np.tile(rooms.lens(WIDTH, HEIGHT), (2 * COUNT, 1)))
    assert path.spans == [(0, COUNT), (COUNT, 2 * COUNT)] and (path.width, path.height, path.fps) == (WIDTH, HEIGHT, 24)
    info = probe_video(calibrated / "overlay.mp4")
    assert (info.frames, info.width, info.height) == (2 * COUNT, WIDTH, HEIGHT)
    place_M3, color_M3 = points_of(calibrated / "points.ply")
    in_room_M3 = se3.transform_points(pose_T34[0], place_M3)
    assert np.abs(np.abs(in_room_M3 / rooms.HALF).max(1) - 1).max() < 0.05  # all points are on walls
    assert np.ptp(color_M3.astype(float)) > 20 and np.abs(np.ptp(color_M3.astype(float), axis=1)).max() < 40  # grey
    summary = json.loads((calibrated / "calibration.json").read_text())
    assert summary["cuts"] == [COUNT] and summary["worlds"][0]["shots"] == [1, 2]
    assert summary["reconstructed"] == {"frames": 2 * COUNT, "width": 48, "height": 32}
    assert [shot["accepted"] for shot in summary["shots"]] == [True, True]
    assert summary["shots"][1]["frames"] == [COUNT, 2 * COUNT]
    assert summary["shots"][1]["focal"] == [WIDTH, WIDTH]  # in pixels of the film


def test_what_is_done_is_not_done_again(room, calibrated, capsys, no_plots):
    folder, *_ = room
    before = {path: path.stat().st_mtime_ns for path in calibrated.rglob("*")}
    assert command(folder, calibrated, "--size", "48") == 0
    assert "already" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in calibrated.rglob("*")}
    assert command(folder, calibrated, "--size", "48", "--align", "paper") == 0
    said = capsys.readouterr().err
    assert "shots: done before" in said and "reconstruction: done before" in said
    assert json.loads((calibrated / "calibration.json").read_text())["settings"]["method"] == "paper"
    assert command(folder, calibrated, "--size", "48", "--masks", "file:" + str(masks(folder))) == 0
    said = capsys.readouterr().err
    assert "shots: done before" in said and "reconstruction: done before" not in said
    assert json.loads((calibrated / "calibration.json").read_text())["shots"][0]["quality"]["static"] == 0.75


def masks(folder):
    """A folder of masks whose left quarter moves."""
    from PIL import Image

    (folder / "masks").mkdir(exist_ok=True)
    mask_HW = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask_HW[:, : WIDTH // 4 - 2] = 255  # they grow by a pixel of the reduced frames
    for number in range(2 * COUNT):
        Image.fromarray(mask_HW).save(folder / "masks" / f"{number}.png")
    return folder / "masks"


def test_shots_of_other_worlds_and_rejected_ones(room, tmp_path, capsys, no_plots):
    folder, pose_T34, cameras = room
    away_T34 = pose_T34.copy()
    away_T34[COUNT:, :, 3] += 100.0  # nothing that both shots see
    np.savez(folder / "apart.npz", **cameras | {"poses_c2w": away_T34, "joint": False})
    assert command(folder, tmp_path / "out", cameras="apart.npz") == 0
    said = capsys.readouterr()
    assert "disconnected: shot 2" in said.err and said.out.count("trajectory") == 2
    summary = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert [world["shots"] for world in summary["worlds"]] == [[1], [2]]
    second = read_trajectory(tmp_path / "out" / "trajectory_2.json")
    np.testing.assert_allclose(second.pose_T34, se3.relative(pose_T34[COUNT], pose_T34[COUNT:]), atol=1e-6)
    # Cameras that are mostly lost are written nowhere, and the files of before are gone.
    registered = np.arange(2 * COUNT) >= COUNT
    np.savez(folder / "lost.npz", **cameras | {"registered": registered})
    assert command(folder, tmp_path / "out", cameras="lost.npz") == 0
    assert not list((tmp_path / "out").glob("*_2*"))
    summary = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert [shot["failed"] for shot in summary["shots"]] == [["registered"], []]
    assert summary["worlds"][0]["shots"] == [2] and len(read_trajectory(tmp_path / "out" / "trajectory.json")) == COUNT
    np.savez(folder / "none.npz", **cameras | {"registered": registered & False})
    capsys.readouterr()
    assert command(folder, tmp_path / "out", cameras="none.npz") == 1
    assert "no shot has cameras that can be believed (registered)" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"calibration.json", "stages"}


def test_gradual_transitions_and_uneven_times(room, tmp_path, no_plots):
    folder, pose_T34, _ = room
    made = calibrate_film(
        folder / "film.mp4", tmp_path, CalibrationConfig(cuts=str(COUNT), reconstruct=f"file:{folder / 'cameras.npz'}")
    )
    # The same film as if a dissolve took frames 5 to 7, and later frames were shown for longer.
    seconds_T = np.cumsum(np.where(np.arange(2 * COUNT) < 8, 1 / 24, 2 / 24))
    shots = Shots(made.shots.info, made.shots.picture, (Transition(5, 8, "dissolve", 1.0),), seconds_T - seconds_T[0])
    number_N, shot_N = chosen(shots.spans, 300)
    assert number_N.tolist() == [*range(5), *range(8, 12)] and shot_N.tolist() == [0] * 5 + [1] * 4
    pick = dict(pose_T34=pose_T34[number_N], lens_T4=made.cameras.lens_T4[number_N], found_T=np.ones(9, bool))
    none = made.cameras.points[np.zeros(len(made.cameras.points), bool)]
    footage = type(made.footage)(made.footage.frame_THWC[number_N], shot_N)
    replace = lambda value, **changes: type(value)(**{**vars(value), **changes})  # noqa: E731
    film = replace(
        made, shots=shots, number_N=number_N, footage=footage, cameras=replace(made.cameras, points=none, **pick)
    )
    assert spans(film) == [(0, 6), (6, 12)]
    [world] = worlds(film)
    held_T34 = se3.relative(pose_T34[0], pose_T34[[*range(5), 4, 8, 8, *range(8, 12)]])  # the nearest camera
    np.testing.assert_allclose(world.trajectory.pose_T34, held_T34, atol=1e-6)
    np.testing.assert_allclose(world.trajectory.time_T, shots.seconds_T)
    assert write(film, tmp_path)["worlds"][0]["points"] is None and not (tmp_path / "points.ply").exists()


def test_which_frames_are_reconstructed():
    info = VideoInfo(1000, 24.0, 1920, 1080)
    shots = Shots(info, Box(0, 0, 1920, 1080), (Transition(3, 3, "cut", 1.0),), np.arange(1000) / 24)
    number_N, shot_N = chosen(shots.spans, 300)
    assert number_N[:3].tolist() == [0, 2, 3] and number_N[-1] == 999 and len(number_N) < 310
    assert np.diff(number_N).max() == 4 and (shot_N == (number_N >= 3)).all()
    assert reduced(Box(0, 140, 1920, 800), 640) == (640, 267) and reduced(Box(0, 0, 60, 100), 640) == (60, 100)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("cuts", "sometimes", "frames like 30,76"),
        ("cuts", "7,3", "rising"),
        ("cuts", "missing.json", "does not exist"),
        ("masks", "people", "masks are none, motion"),
        ("masks", "file:", "masks are none, motion"),
        ("masks", "file:nowhere", "nowhere"),
        ("reconstruct", "magic", "reconstructions are colmap, pi3"),
        ("reconstruct", "file:nowhere.npz", "nowhere.npz"),
        ("lens", "wide", "35mm"),
        ("lens", "35mm,50mm,70mm", "3 lenses and the film 2 shots"),
        ("lens", "1,2,-3,4", "35mm"),
        ("size", "8", "size"),
    ],
)
def test_settings_that_are_none_end_in_one_sentence(room, tmp_path, capsys, setting, value, words):
    folder, *_ = room
    given = {"cuts": str(COUNT), "reconstruct": f"file:{folder / 'cameras.npz'}", setting: value}
    arguments = [part for name, text in given.items() for part in (f"--{name}", text)]
    try:
        code = cli.main(["calibrate", str(folder / "film.mp4"), "--quiet", "--out", str(tmp_path / "out"), *arguments])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and words in said[-1] and not (tmp_path / "out" / "calibration.json").exists()


def test_hostile_videos_end_in_one_sentence(room, tmp_path, capsys):
    pytest.importorskip("pycolmap")
    folder, *_ = room
    data = (folder / "film.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 2])
    sound = ["-f", "lavfi", "-i", "sine=d=0.1"]
    first = ["-i", str(folder / "film.mp4"), "-frames:v", "1"]
    for name, made in (("sound.mp4", sound), ("first.mp4", first)):
        subprocess.run([get_ffmpeg_exe(), "-v", "error", *made, str(tmp_path / name)], check=True)
    for name, code, words in (
        ("half.mp4", 2, "cannot be read"),
        ("sound.mp4", 2, "no video"),
        ("first.mp4", 1, "no shot has cameras that can be believed (registered)"),
    ):
        assert cli.main(["calibrate", str(tmp_path / name), "--quiet", "--out", str(tmp_path / "out")]) == code
        [sentence] = "".join(capsys.readouterr()).splitlines()
        assert words in sentence
        assert (tmp_path / "out").exists() == (code == 1)


def test_lenses_of_a_film(room):
    info = VideoInfo(10, 24.0, 720, 400)
    shots = Shots(info, Box(0, 0, 720, 400), (Transition(3, 3, "cut", 1.0),), np.arange(10) / 24)
    assert sources.lenses("estimated", shots) is None
    assert sources.lenses("36mm, 50mm", shots).tolist() == [[720, 720, 360, 200], [1000, 1000, 360, 200]]
    assert sources.lenses("700,690,355,202", shots).tolist() == [[700, 690, 355, 202]] * 2


def test_a_damaged_stage_is_made_again(tmp_path):
    file = tmp_path / "stages" / "a.npz"
    make = lambda: {"x": np.arange(3)}  # noqa: E731
    assert kept.once(file, "key", make)[1] is False and kept.once(file, "key", make)[1] is True
    assert kept.once(file, "other", make)[1] is False
    file.write_bytes(file.read_bytes()[:100])
    arrays, there = kept.once(file, "other", make)
    assert not there and arrays["x"].tolist() == [0, 1, 2] and kept.once(file, "other", make)[1]
