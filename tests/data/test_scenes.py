"""Scenes of people's own become records: which frames are shown, where the camera is then, and what is refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.data.scenes import CHANGES, SceneFiles, SceneRecords, find_scenes
from shotverse_jax.screenplay import Screenplay, Shot, parse_text, to_text, write_screenplay
from shotverse_jax.views.video import probe_video, read_video, write_video

FRAMES, RATE = 60, 24.0  # of the source: 2.5 s
FILM = {"frames": 17, "height": 32, "width": 48, "fps": 8.0}  # every third frame
PLAY = Screenplay("A man in a red coat.", (Shot("The camera pushes in."), Shot("The camera pans left.")))
ALONE = Screenplay("A dog.", (Shot("The camera rises."),))


def video(path: Path, frames=FRAMES, height=48, width=64, fps=RATE) -> Path:
    """The greys of the upper and of the lower half tell the frame's number; a white left and a black right border."""

    def frame(i):
        picture = np.empty((height, width, 3), np.uint8)
        picture[: height // 2], picture[height // 2 :] = 30 * (i // 8), 30 * (i % 8)
        picture[:, :4], picture[:, -4:] = 255, 0
        return picture

    write_video(path, (frame(i) for i in range(frames)), fps)
    return path


def shown(video_THWC) -> list[int]:
    """Which frame of the source each frame is."""
    upper_T, lower_T = (
        np.round(half[:, :, 16:32].mean((1, 2, 3)) / 30) for half in (video_THWC[:, 4:12], video_THWC[:, 20:28])
    )
    return (8 * upper_T + lower_T).astype(int).tolist()


def path_of(frames=FRAMES, fps=RATE, shots=(), stage=None) -> Trajectory:
    """Pose i is i metres to the right of the first, turned by i degrees."""
    turn = Rotation.from_rotvec(np.arange(frames)[:, None] * [0, 1, 0], degrees=True).as_matrix()
    place = np.stack([np.arange(frames), np.zeros(frames), np.full(frames, 2)], axis=1)
    shot_T = np.searchsorted(shots, np.arange(frames), side="right")
    return Trajectory(se3.make(turn, place), [60, 60, 32, 24], 64, 48, shot_T, fps=fps, stage_34=stage)


def metres(record) -> np.ndarray:
    return np.round(np.linalg.norm(record["pose_T34"][:, :, 3], axis=-1), 4)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    video(folder / "film.mp4")
    write_screenplay(PLAY, folder / "two.yaml")
    write_screenplay(ALONE, folder / "one.txt")
    write_trajectory(path_of(), folder / "path.json")
    return folder


def scene(parts, screenplay="two.yaml", trajectory="path.json", cuts=None, video="film.mp4"):
    return SceneFiles("it", str(parts / screenplay), str(parts / trajectory), parts / video if video else None, cuts)


def test_names_that_no_file_can_have(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train_valid.txt").write_text("v/" + "x" * 5000)
    with pytest.raises(ValueError, match="cannot be read as a list of scenes: .*too long"):
        find_scenes(tmp_path)
    (tmp_path / "s.jsonl").write_text(json.dumps({"screenplay": "a", "trajectory": "b", "video": "x" * 5000}))
    with pytest.raises(ValueError, match="row 1"):
        SceneRecords(find_scenes(tmp_path / "s.jsonl"), 17)[0]


def test_what_ffmpeg_says_of_a_video(parts):
    assert probe_video(parts / "film.mp4") == (FRAMES, RATE, 64, 48)
    pictures = read_video(parts / "film.mp4", np.array([0, 3, 3, 59]), 48, 32)
    assert shown(pictures) == [0, 3, 3, 59] and pictures.shape == (4, 32, 48, 3)
    assert pictures[0, :, 0].min() > 150 and pictures[0, :, -1].max() < 100  # 64x48 keeps its whole width in 48x36
    with pytest.raises(ValueError, match="frame 60 of 62 cannot be read"):
        read_video(parts / "film.mp4", np.array([0, 61]), 48, 32)


@pytest.mark.parametrize(
    "cut, expected",
    [
        (25, [*range(0, 25, 3), *range(27, 49, 3)]),  # 8.3 frames of the film: 9
        (22, [*range(0, 22, 3), 21, *range(27, 49, 3)]),  # 7.3: frame 8 would be the next shot's
        (31, [*range(0, 25, 3), 31, 31, *range(33, 49, 3)]),  # 10.3: frames 9 and 10 would be the last shot's
    ],
)
def test_cuts_are_snapped_and_no_latent_frame_sees_two_shots(parts, cut, expected):
    record = SceneRecords([scene(parts, cuts=(cut,))], **FILM)[0]
    assert shown(record["video"]) == expected
    assert record["shot_T"].tolist() == [0, 0, 0, 1, 1] and record["shot_T"].dtype == np.int32
    np.testing.assert_allclose(metres(record), np.array(expected)[::4], atol=1e-3)  # the pose of the frame shown
    angle = Rotation.from_matrix(record["pose_T34"][:, :, :3]).magnitude()
    np.testing.assert_allclose(np.degrees(angle), np.array(expected)[::4], atol=1e-3)
    assert record["prompt"] == to_text(PLAY, "holocine") and record["world"] == "first camera"
    np.testing.assert_allclose(record["intrinsics"], [45, 45, 24, 16], atol=1e-4)  # 64x48 to 48x36, cut to 48x32
    assert (
        "resized and cropped from 64x48 to 48x32; resampled from 24 to 8 fps; cut short by 0.46 s" in record["changes"]
    )
    assert ("cuts moved to frames 9" in record["changes"]) == (cut != 25)


def test_shots_of_the_path_and_durations_are_cuts_too(parts):
    write_trajectory(path_of(shots=[25]), parts / "shots.json")
    told = SceneRecords([scene(parts, cuts=(25,))], **FILM)[0]
    timed = Screenplay(PLAY.caption, (Shot(PLAY.shots[0].caption, 1.0417), Shot(PLAY.shots[1].caption, 1.4583)), 24)
    write_screenplay(timed, parts / "timed.json")
    for other in (scene(parts, trajectory="shots.json"), scene(parts, "timed.json")):
        record = SceneRecords([other], **FILM)[0]
        for name in ("video", "shot_T", "pose_T34"):
            np.testing.assert_array_equal(record[name], told[name])


def test_a_zoom_and_a_focus_that_are_left_out_are_said(parts):
    still = path_of()
    lens_T4 = still.intrinsics_T4 * np.linspace(1, 1.5, len(still))[:, None] * [1, 1, 0, 0] + [0, 0, 32, 24]
    write_trajectory(dataclasses.replace(still, intrinsics_T4=lens_T4, focus_T2=[2, 2.8]), parts / "zoom.json")
    record = SceneRecords([scene(parts, trajectory="zoom.json", cuts=(25,))], **FILM)[0]
    changes = record["changes"].split("; ")
    assert all(change.startswith(CHANGES) for change in changes)
    assert (
        "lens of the first frame for all: a zoom of 1.5 was left out" in changes and "lens without its focus" in changes
    )
    np.testing.assert_allclose(record["intrinsics"], [45, 45, 24, 16], atol=1e-4)


def test_shots_after_the_end_are_left_out(parts):
    record = SceneRecords([scene(parts, cuts=(50,))], **FILM)[0]
    assert set(record["shot_T"]) == {0} and "shots left out that begin after its end: 1" in record["changes"]
    assert parse_text(record["prompt"], "holocine").shots == PLAY.shots[:1]


def test_a_path_of_another_rate_is_laid_beside_by_time(parts):
    write_trajectory(path_of(25, 10.0), parts / "slow.json")  # 2.5 s too
    record = SceneRecords([scene(parts, "one.txt", "slow.json")], **FILM)[0]
    np.testing.assert_allclose(record["pose_T34"][:, 0, 3], np.arange(5) * 4 / FILM["fps"] * 10, atol=1e-3)


def test_a_path_that_knows_its_stage_is_told_on_it(parts):
    stage = se3.make(np.eye(3), np.array([0.0, 1.5, 5.0]))
    write_trajectory(path_of(stage=stage), parts / "stage.json")
    record = SceneRecords([scene(parts, "one.txt", "stage.json")], **FILM)[0]
    assert record["world"] == "stage"
    np.testing.assert_allclose(record["pose_T34"][0, :, 3], [0, -1.5, -3], atol=1e-5)


def test_a_path_over_a_cut_is_not_interpolated(parts):
    write_trajectory(path_of(21, 8.4), parts / "few.json")  # 20 steps in 59 frames: pose 8.5 at frame 25
    record = SceneRecords([scene(parts, trajectory="few.json", cuts=(25,))], **FILM | {"frames": 9})[0]
    assert record["pose_T34"][2, 0, 3] == pytest.approx(8, abs=1e-3)  # 8.4 would be half way into the next shot


@pytest.mark.parametrize(
    "words, change",
    [
        ("no such file", {"video": "none.mp4"}),
        ("no video that can be read", {"video": "broken.mp4"}),
        ("no video;", {"video": None}),
        ("NaN", {"trajectory": "nan.json"}),
        ("lengths do not match: 40 poses", {"trajectory": "short.json"}),
        ("no caption", {"screenplay": "silent.json"}),
        ("no cuts are known", {"cuts": None}),
        ("2 cuts are known", {"cuts": (3, 9)}),
        ("do not rise", {"cuts": (60,)}),
        ("2 shots and the camera path 3", {"trajectory": "three.json"}),
        ("durations add up to 9", {"screenplay": "long.json", "cuts": None}),
    ],
)
def test_what_cannot_be_used_says_why(parts, words, change):
    (parts / "broken.mp4").write_bytes((parts / "film.mp4").read_bytes()[:500])
    doc = json.loads((parts / "path.json").read_text())
    doc["frames"][7]["transform_matrix"][0][3] = float("nan")
    (parts / "nan.json").write_text(json.dumps(doc))
    write_trajectory(path_of(40), parts / "short.json")
    write_trajectory(path_of(shots=[20, 40]), parts / "three.json")
    (parts / "silent.json").write_text('{"caption": "A man.", "shots": ["", "He turns."]}')
    write_screenplay(Screenplay("", [Shot("a", 4.0), Shot("b", 5.0)]), parts / "long.json")
    with pytest.raises(ValueError, match=words) as caught:
        SceneRecords([scene(parts, **{"cuts": (25,)} | change)], **FILM)[0]
    assert str(caught.value).startswith("it: ") and "\n" not in str(caught.value)


def test_a_film_is_never_shorter_than_asked(parts):
    with pytest.raises(ValueError, match=r"too short: 2.50 s, and the films have 2.62 s"):
        SceneRecords([scene(parts, "one.txt")], **FILM | {"frames": 21})[0]
    for frames in (16, 1):
        with pytest.raises(ValueError, match="4t\\+1 frames"):
            SceneRecords([], **FILM | {"frames": frames})


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_table(parts, suffix):
    prompt = to_text(PLAY, "holocine")
    rows = [
        {"video": "film.mp4", "screenplay": "two.yaml", "trajectory": "path.json", "cuts": "25"},
        {"video": "film.mp4", "screenplay": prompt, "trajectory": "path.json", "cuts": "22 31"},
        {"video": "", "screenplay": "one.txt", "trajectory": "path.json", "cuts": ""},
    ]
    table = parts / f"table{suffix}"
    if suffix == ".csv":
        quoted = [",".join(f'"{cell}"' for cell in row.values()) for row in rows]
        table.write_text("\n".join([",".join(rows[0]), *quoted]))
    else:
        rows[1]["cuts"], rows[2]["cuts"] = [22, 31], None
        table.write_text("\n".join(map(json.dumps, rows)))
    found = find_scenes(table)
    assert [one.cuts for one in found] == [(25,), (22, 31), None]
    assert [one.video for one in found] == [parts / "film.mp4"] * 2 + [None]
    assert found[1].screenplay == prompt and "row 2, film.mp4" in found[1].name
    assert SceneRecords(found, **FILM)[0]["prompt"] == prompt
    table.write_text(table.read_text().replace("trajectory", "camera"))
    with pytest.raises(ValueError, match="row 1: expected the columns"):
        find_scenes(table)


def test_tables_of_spreadsheets_and_what_a_screenplay_is_read_as(parts):
    (parts / "styled.txt").write_text("A room.\n\nStyle: noir; soft.\n\n[1s] Pan left.")
    for name, text in (("semicolon.csv", "\ufeffscreenplay;trajectory\r\nstyled.txt;path.json\r\n"),
                       ("upper.csv", "Screenplay, Trajectory\nstyled.txt, path.json\n"),
                       ("tab.csv", "VIDEO\tscreenplay\ttrajectory\n\tstyled.txt\tpath.json\n")):  # fmt: skip
        (parts / name).write_text(text)
        [found] = find_scenes(parts / name)
        assert (Path(found.screenplay).name, Path(found.trajectory).name) == ("styled.txt", "path.json")
    record = SceneRecords([found], videos=False)[0]
    assert "soft. This scene contains 1 shots." in record["prompt"]
    [change] = record["changes"].split("; ")
    assert change.startswith(CHANGES) and "“Style:”" in change


def test_recorded_tables(reference):
    folder = reference / "cases" / "28-encode-tables"
    if not folder.is_dir():
        pytest.skip("the reference has no cases")
    expected = find_scenes(folder / "comma.csv")
    for name in ("semicolon.csv", "upper.csv", "excel_bom.csv"):
        assert find_scenes(folder / name) == expected
    assert len(SceneRecords(expected, videos=False)[0]["pose_T34"]) > 1


def test_a_folder_of_scenes(parts, tmp_path):
    for name in ("b.mp4", "a.x.mp4", "sub/film.mp4", "lonely.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((parts / "film.mp4").read_bytes())
    write_screenplay(PLAY, tmp_path / "a.x.json")
    write_trajectory(path_of(), tmp_path / "a.x.trajectory.json")
    write_screenplay(ALONE, tmp_path / "b.txt")
    write_trajectory(path_of(), tmp_path / "b.tum.txt")
    write_screenplay(ALONE, tmp_path / "sub" / "words.yaml")
    write_trajectory(path_of(), tmp_path / "sub" / "camera.csv")
    (tmp_path / "README.txt").write_text("Not a scene.")
    (tmp_path / "c.yaml").write_text(to_text(ALONE, "yaml"))
    (tmp_path / "c.json").write_text((parts / "path.json").read_text())
    found = [(Path(one.screenplay).name, Path(one.trajectory).name, one.video) for one in find_scenes(tmp_path)]
    assert found == [
        ("a.x.json", "a.x.trajectory.json", tmp_path / "a.x.mp4"),
        ("b.txt", "b.tum.txt", tmp_path / "b.mp4"),
        ("c.yaml", "c.json", None),
        ("words.yaml", "camera.csv", tmp_path / "sub" / "film.mp4"),
    ]
    assert metres(SceneRecords(find_scenes(tmp_path), **FILM)[1])[-1] == pytest.approx(48, abs=1e-3)
    (tmp_path / "b.yaml").write_text(to_text(ALONE, "yaml"))
    with pytest.raises(ValueError, match="2 screenplay files, keep one"):
        SceneRecords(find_scenes(tmp_path), **FILM)[1]
    with pytest.raises(ValueError, match="holds no scenes"):
        (tmp_path / "empty").mkdir()
        find_scenes(tmp_path / "empty")


def write_datadop(folder: Path, split: str, names: tuple[str, ...], poses=120) -> None:
    for name in names:
        stem = folder / split / name
        stem.parent.mkdir(parents=True, exist_ok=True)
        write_trajectory(path_of(poses), Path(f"{stem}_transforms_cleaning.json"))
        captions = {"Movement": f"Right in {name}.", "Detailed Interaction": "Long.", "Concise Interaction": "A walk."}
        Path(f"{stem}_caption.json").write_text(json.dumps(captions))


def test_datadop_by_split_list_and_caption(tmp_path):
    write_datadop(tmp_path, "train", ("1_0000/shot_0070", "1_0000/shot_0071", "0_1/shot_0001"))
    write_datadop(tmp_path, "test", ("1_0002/shot_0003",))
    (tmp_path / "train_valid.txt").write_text("1_0000/shot_0070\n0_1/shot_0001\n")
    assert [one.name for one in find_scenes(tmp_path)] == ["1_0000/shot_0070", "0_1/shot_0001"]
    assert [one.name for one in find_scenes(tmp_path, "test")] == ["1_0002/shot_0003"]
    records = SceneRecords(find_scenes(tmp_path, caption="movement"), videos=False)
    assert parse_text(records[0]["prompt"], "holocine").shots == (Shot("Right in 1_0000/shot_0070."),)
    assert records[0]["pose_T34"].shape == (21, 3, 4) and "video" not in records[0]  # 81 frames, as one shot has
    np.testing.assert_allclose(metres(records[0]), np.arange(21) * 119 / 20, atol=1e-3)
    Path(find_scenes(tmp_path)[1].screenplay).write_text('{"Movement": "Only this."}')
    with pytest.raises(ValueError, match="no caption called 'Concise Interaction'"):
        SceneRecords(find_scenes(tmp_path), videos=False)[1]
    with pytest.raises(ValueError, match="movement, detailed, concise"):
        find_scenes(tmp_path, caption="long")


def test_datadop_with_videos_spreads_its_poses_over_them(tmp_path):
    write_datadop(tmp_path, "train", ("1/shot_1",), poses=30)
    video(tmp_path / "train" / "1" / "shot_1.mp4")
    record = SceneRecords(find_scenes(tmp_path), **FILM)[0]
    np.testing.assert_allclose(metres(record), np.arange(0, 49, 12) * 29 / 59, atol=1e-3)


def test_datadop_as_it_is_published(reference):
    folder = reference / "data" / "gendop" / "assets" / "examples" / "text_rgbd"
    found = find_scenes(folder)
    assert [one.name for one in found] == ["case1", "case2"]
    records = SceneRecords(found, frames=81, videos=False)
    for i, one in enumerate(found):
        doc = json.loads(Path(one.trajectory).read_text())
        matrices = np.array([frame["transform_matrix"] for frame in doc["frames"]]) @ np.diag([1, -1, -1, 1])
        relative = np.linalg.inv(matrices[0]) @ matrices
        np.testing.assert_allclose(records[i]["pose_T34"][[0, -1]], relative[[0, 119], :3], atol=1e-5)
        inside = np.abs(records[i]["pose_T34"][1:-1, None] - relative[None, :, :3]).max((2, 3)).min(1)
        assert inside.max() < 0.02  # every other pose is near one of the path's
        caption = json.loads(Path(one.screenplay).read_text())["Concise Interaction"]
        assert parse_text(records[i]["prompt"], "holocine").shots == (Shot(caption),)
