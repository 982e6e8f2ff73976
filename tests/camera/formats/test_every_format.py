"""What holds for every format: its name, its errors, its place in the documentation."""

import json
from pathlib import Path

import numpy as np
import pytest

from camera_paths import edited, motion
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import FEATURES, FORMATS, read_trajectory, write_trajectory
from shotverse_jax.camera.motion_tags import segments, tag_labels
from shotverse_jax.camera.trajectory import Trajectory

STILL = {"shotdirector": 81, "multishotmaster": 5}
"""Formats with no more than one camera a shot → frames that are read."""


@pytest.mark.parametrize("fmt", [name for name, form in FORMATS.items() if form.read])
def test_reading_recognises_what_writing_made(tmp_path, film, fmt):
    path = tmp_path / ("model" if FORMATS[fmt].folder else f"path.{fmt}{FORMATS[fmt].extension}")
    write_trajectory(film, path, fmt, **({"frames": 4} if fmt == "recammaster" else {}))
    if not FORMATS[fmt].folder:
        again = tmp_path / f"again.{fmt}{FORMATS[fmt].extension}"
        write_trajectory(film, again, **({"frames": 4} if fmt == "recammaster" else {}))
        assert again.read_bytes() == path.read_bytes()
    got = read_trajectory(path)
    assert len(got) == STILL.get(fmt, 4 if fmt == "recammaster" else 5)
    first = np.eye(3, 4) if fmt in ("motionctrl", *STILL) else film.pose_T34[0]
    if fmt in ("omnicam", "chan"):  # their world is the stage
        first = se3.relative(film.stage_34, film.pose_T34[0])
    np.testing.assert_allclose(got.pose_T34[0], first, atol=1e-6 if fmt == "gltf" else 1e-9)  # of float32 numbers


def test_suffixes(tmp_path, film):
    for name in ("a.json", "transforms.json", "x_transforms_cleaning.json", "camera_path.json", "a.csv", "a.tum"):
        write_trajectory(film, tmp_path / name)
    assert "shots" in json.loads((tmp_path / "a.json").read_text())
    assert "shots" not in json.loads((tmp_path / "x_transforms_cleaning.json").read_text())
    with pytest.raises(ValueError, match="realestate10k or tum or kitti"):
        write_trajectory(film, tmp_path / "a.txt")
    with pytest.raises(ValueError, match="no format goes with 'a.fbx'"):
        write_trajectory(film, tmp_path / "a.fbx")
    with pytest.raises(ValueError, match="unknown trajectory format 'fbx'; known: shotverse, nerfstudio"):
        write_trajectory(film, tmp_path / "a.fbx", "fbx")
    (tmp_path / "a.edl").write_text("TITLE: X")
    with pytest.raises(ValueError, match="edl files can be written but not read"):
        read_trajectory(tmp_path / "a.edl")
    with pytest.raises(ValueError, match="tum has no option 'camera'; it has: quaternion, up, width"):
        read_trajectory(tmp_path / "a.tum", camera="cam01")
    with pytest.raises(ValueError, match="the option fps must be a number from 0.1 to 1000, got 0"):
        read_trajectory(tmp_path / "a.tum", fps=0)
    for missing in ("none.json", "none.txt", "none.csv", "none"):
        with pytest.raises(ValueError, match=missing):
            read_trajectory(tmp_path / missing)


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, film):
    path = tmp_path / "camera_extrinsics.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="one clock"):
        write_trajectory(film, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    (tmp_path / "taken").mkdir()
    with pytest.raises(ValueError, match="the format csv is a file, but this is a folder"):
        write_trajectory(film, tmp_path / "taken", "csv")


@pytest.mark.parametrize(
    ("name", "fmt", "old", "new", "message"),
    [
        ("a.tum", "tum", "\n0.0625 ", "\nnan ", r"a.tum: line 3: holds NaN"),
        ("a.tum", "tum", "\n0.0625 ", "\n", r"a.tum: line 3: expected 8 numbers .*got 7 words"),
        ("a.tum", "tum", "\n0.125 ", "\n-3 ", r"a.tum: time runs backwards at pose 2"),
        ("a.kitti", "kitti", " ", " x", r"a.kitti: line 1: 'x.*' is not a number"),
        ("a.csv", "csv", "\n1,", "\n7,", r"the column 'frame' should count"),
        ("a.json", "shotverse", '"shot": 1', '"shot": 0', r"a.json: frame 3: its 'shot' disagrees"),
        ("a.json", "shotverse", '"end": 3', '"end": 2', r"'shots' should cover frames 0 to 5"),
        ("a.json", "shotverse", '"w": 832', '"w": 0', r"'w' \(image size\) should be positive"),
        ("a.json", "shotverse", '"w": 832,', "", r"'w' \(image size\) should be a number, got null"),
        ("a.json", "shotverse", '[[', '[["a", ', r"'stage'|frame 0: the matrix should be 4x4 numbers"),
        ("a.json", "shotverse", '{\n', '{\n,', r"a.json: not valid JSON: .*line 2"),
    ],
)  # fmt: skip
def test_errors_name_file_and_place(tmp_path, film, name, fmt, old, new, message):
    write_trajectory(film, tmp_path / name, fmt)
    with pytest.raises(ValueError, match=message):
        read_trajectory(edited(tmp_path / name, old, new), fmt)


@pytest.mark.parametrize("fmt", ["shotverse", "kitti", "motionctrl"])
@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (np.diag([1.0, 1, -1]), "every pose is a reflection"),
        (np.diag([1.0, 1, 1.01]), "pose 0 is not rigid"),
        (1e200 * np.ones((3, 3)), "pose 0 is not rigid"),
        (np.zeros((3, 3)), "pose 0 is not rigid"),
    ],
)
def test_matrices_that_are_no_rotations_are_refused(tmp_path, fmt, turn, message):
    rows = np.concatenate([turn, np.zeros((3, 1))], -1)
    path = tmp_path / ("bad" + FORMATS[fmt].extension)
    if fmt == "kitti":
        path.write_text(" ".join(map(repr, rows.ravel().tolist())))
    elif fmt == "motionctrl":
        path.write_text(json.dumps([rows.ravel().tolist()]))
    else:
        frame = {"transform_matrix": [*rows.tolist(), [0, 0, 0, 1]]}
        path.write_text(json.dumps({"w": 8, "h": 8, "fl_x": 8, "frames": [frame]}))
    with pytest.raises(ValueError, match=rf"bad\.\w+: {message}"):
        read_trajectory(path, fmt)


def read_named(root: Path, name: str) -> tuple[Trajectory, int]:
    source, rest = name.split("/", 1)
    if source == "CamI2V":
        path = root / "cami2v/camera_pose_files" / rest
        try:
            return read_trajectory(path), 1
        except ValueError as error:
            assert "mirror_world" in str(error)
            return read_trajectory(path, mirror_world=True), 1
    if source == "CameraCtrl":
        return read_trajectory(root / "cameractrl/pose_files" / rest), 1
    if source == "MotionCtrl":
        return read_trajectory(root / "motionctrl" / rest), 1
    camera, stride = rest.split("/stride")
    return read_trajectory(root / "recammaster/camera_extrinsics.json", camera=camera), int(stride)


def test_named_camera_files_move_as_recorded(reference):
    records = json.loads((reference / "golden/named_tags.json").read_text())
    wanted = [name for name in records if name.split("/")[0] in ("CamI2V", "CameraCtrl", "MotionCtrl", "ReCamMaster")]
    assert len(wanted) > 50
    for name in wanted:
        trajectory, stride = read_named(reference / "data/trajectories", name)
        pose_T34 = trajectory.pose_T34[::stride]
        assert len(pose_T34) == records[name]["n_frames"], name
        tags = [segment.name for segment in segments(tag_labels(pose_T34))]
        assert tags == [chunk[4] for chunk in records[name]["chunks"]], name


def test_the_documentation_has_a_row_per_format():
    page = (Path(__file__).parents[3] / "docs/formats.md").read_text(encoding="utf-8")
    for name, form in FORMATS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert ("read" in row.split("|")[2]) == (form.read is not None), name
        assert ("write" in row.split("|")[2]) == (form.write is not None), name


def test_the_documentation_says_what_formats_do_not_hold():
    page = (Path(__file__).parents[3] / "docs/formats.md").read_text(encoding="utf-8")
    table = page.split("| format | does not hold |")[1].split("\n\n")[0]
    told = dict(line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `"))
    lost = {f"`{name}`": [f for f in FEATURES if f not in form.keeps] for name, form in FORMATS.items() if form.write}
    assert told == {name: ", ".join(features) or "nothing" for name, features in lost.items()}


@pytest.mark.parametrize("fmt", [name for name, form in FORMATS.items() if form.read and form.write])
def test_formats_hold_what_they_say(tmp_path, fmt):
    """A zooming path of two shots at uneven times, with an off-centre lens and pixels that are not square."""
    keeps, frames = FORMATS[fmt].keeps, 12
    zoom = np.linspace(1, 1.5, frames)[:, None]
    path = Trajectory(
        pose_T34=motion("loop", frames, np.random.default_rng(1)),
        intrinsics_T4=np.array([700.0, 770.0, 0, 0]) * zoom + [0, 0, 400, 250],
        width=832,
        height=480,
        shot_T=np.repeat([0, 1], frames // 2),
        fps=24.0,
        captions=("a", "b"),
        time_T=np.cumsum([0, *([0.25, 0.125] * frames)][:frames]),
        focus_T2=np.stack([np.linspace(1, 3, frames), np.repeat([2.8, 0], frames // 2)], axis=1),
    )
    file = tmp_path / ("model" if FORMATS[fmt].folder else f"a.{fmt}{FORMATS[fmt].extension}")
    notes = write_trajectory(path, file, fmt)
    got = read_trajectory(file, fmt)
    lost = {name for name, has in FEATURES.items() if has(path) and name not in keeps}
    assert not lost or any(all(name in note for name in lost - {"times"}) for note in notes)
    if "times" in keeps:
        np.testing.assert_allclose(got.seconds_T, path.seconds_T, atol=1e-5)
    if FORMATS[fmt].steady or "poses" not in keeps:
        return
    if {"lens", "zoom"} <= keeps:
        size = {} if "size" in keeps else {"width": 832, "height": 480}
        focal = read_trajectory(file, fmt, **size).intrinsics_T4
        np.testing.assert_allclose(focal[:, 1], path.intrinsics_T4[:, 1], rtol=1e-6)
        if "principal point" in keeps:
            np.testing.assert_allclose(focal[:, 2:], path.intrinsics_T4[:, 2:], rtol=1e-6)
        if "pixel aspect" in keeps:
            np.testing.assert_allclose(focal[:, 0], path.intrinsics_T4[:, 0], rtol=1e-6)
    if "focus" in keeps:
        np.testing.assert_allclose(got.focus_T2, path.focus_T2, rtol=1e-6)
    if "cuts" in keeps and fmt != "recammaster":  # whose shots are read with camera=all
        np.testing.assert_array_equal(got.shot_T, path.shot_T)
    if "captions" in keeps:
        assert got.captions == path.captions
