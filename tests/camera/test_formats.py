"""Trajectory files: round trips, known answers on published files, and what other programs would see in the exports."""

import ast
import dataclasses
import json
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import FORMATS, read_trajectory, write_trajectory
from shotverse_jax.camera.motion_tags import segments, tag_labels
from shotverse_jax.camera.trajectory import Trajectory

QUICK = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
GRAVITY = ("usd", "gltf", "blender", "chan")
LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=3)


def motion(kind: str, frames: int, rng) -> np.ndarray:
    """A shot: standing, turning right, circling once, or wandering."""
    u = np.linspace(0, 1, frames) if frames > 1 else np.zeros(1)
    zero = np.zeros(frames)
    turn = {
        "static": np.zeros((frames, 3)),
        "pan": np.stack([zero, 2.5 * u, zero], -1),
        "loop": np.stack([zero, -2 * np.pi * u, zero], -1),
        "free": np.cumsum(rng.normal(0, 0.6, (frames, 3)), 0),
    }[kind]
    circle = 3 * np.stack([np.sin(2 * np.pi * u), zero, 1 - np.cos(2 * np.pi * u)], -1)
    walk = {"loop": circle, "free": np.cumsum(rng.normal(0, 2, (frames, 3)), 0)}.get(kind, np.zeros((frames, 3)))
    return se3.make(se3.so3_exp(turn), walk)


@st.composite
def trajectories(draw, lengths=LENGTHS, lens_varies=True):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spans = draw(lengths)
    kinds = [draw(st.sampled_from(["static", "pan", "loop", "free"])) for _ in spans]
    world = se3.make(se3.so3_exp(rng.normal(size=(len(spans), 3))), rng.normal(0, 5, (len(spans), 3)))
    poses = [se3.compose(w, motion(kind, n, rng)) for w, kind, n in zip(world, kinds, spans, strict=True)]
    frames = sum(spans)
    lens = np.array([700.0, 710.0, 410.0, 244.0]) * np.ones((frames, 1))
    if lens_varies and draw(st.booleans()):
        lens = lens * np.linspace(1, 1.5, frames)[:, None]
    fps = draw(st.sampled_from([8.0, 16.0, 24.0, 24000 / 1001, 30.0]))
    return Trajectory(
        pose_T34=np.concatenate(poses),
        intrinsics_T4=lens,
        width=832,
        height=480,
        shot_T=np.repeat(np.arange(len(spans)), spans),
        fps=fps,
        scale=draw(st.sampled_from([1.0, 2.5])),
        captions=tuple(draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=12)) for _ in spans),
        global_caption=draw(st.sampled_from(["", 'a "scene", 雨'])),
        stage_34=draw(st.sampled_from([None, se3.make(se3.so3_exp(np.array([0.1, 2.0, -0.3])), np.ones(3))])),
        time_T=100 + np.cumsum(rng.uniform(0.03, 0.1, frames)) if draw(st.booleans()) else None,
    )


def round_trip(trajectory, folder: Path, fmt: str, write=None, **read) -> Trajectory:
    path = folder / ("model" if FORMATS[fmt].folder else "file" + FORMATS[fmt].extension)
    write_trajectory(trajectory, path, fmt, **(write or {}))
    return read_trajectory(path, fmt, **read)


def assert_same(got: Trajectory, want: Trajectory, fields: str, atol=1e-9):
    np.testing.assert_allclose(got.pose_T34, want.pose_T34, rtol=0, atol=atol)
    for name in fields.split():
        a, b = getattr(got, name), getattr(want, name)
        if isinstance(b, str | tuple | int) or b is None or a is None:
            assert a == b, name
        else:
            np.testing.assert_allclose(a, b, rtol=3e-6 if name == "fps" else 1e-9, err_msg=name)


# Round trips ---------------------------------------------------------------------------------------------------------


@QUICK
@given(trajectories())
def test_shotverse_keeps_everything(tmp_path, trajectory):
    got = round_trip(trajectory, tmp_path, "shotverse")
    assert_same(got, trajectory, " ".join(f.name for f in dataclasses.fields(Trajectory)), atol=1e-14)
    np.testing.assert_array_equal(got.intrinsics_T4, trajectory.intrinsics_T4)


@QUICK
@given(trajectories())
def test_nerfstudio_keeps_poses_and_lens(tmp_path, trajectory):
    for write in ({}, {"monst3r_im_id": True}):
        got = round_trip(trajectory, tmp_path, "nerfstudio", write)
        assert_same(got, trajectory, "intrinsics_T4 width height", atol=1e-14)
        assert got.num_shots == 1


@QUICK
@given(trajectories())
def test_realestate10k_keeps_poses_lens_and_time(tmp_path, trajectory):
    got = round_trip(trajectory, tmp_path, "realestate10k", width=832, height=480)
    assert_same(got, trajectory, "intrinsics_T4 width height")
    seconds = np.arange(len(got)) / got.fps if got.time_T is None else got.time_T
    truth = np.arange(len(got)) / trajectory.fps if trajectory.time_T is None else trajectory.time_T
    np.testing.assert_allclose(seconds, truth, rtol=0, atol=1.1e-5)


@QUICK
@given(trajectories())
def test_motionctrl_keeps_poses_relative_to_the_first(tmp_path, trajectory):
    assert_same(round_trip(trajectory, tmp_path, "motionctrl"), trajectory.from_first_camera(), "")
    assert_same(round_trip(trajectory, tmp_path, "motionctrl", {"relative": False}), trajectory, "")


@QUICK
@given(trajectories(lengths=st.sampled_from([[4], [3, 3], [1, 1, 1]])))
def test_recammaster_keeps_one_camera_per_shot(tmp_path, trajectory):
    got = round_trip(trajectory, tmp_path, "recammaster", camera="all")
    assert_same(got, trajectory, "shot_T")
    first = round_trip(trajectory, tmp_path, "recammaster")
    assert_same(first, trajectory.shot(0), "shot_T")


def test_recammaster_asks_for_one_clock(tmp_path):
    pose = motion("free", 5, np.random.default_rng(0))
    trajectory = Trajectory(pose, [700, 700, 416, 240], 832, 480, [0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match=r"\[2, 3\] frames.*option frames"):
        write_trajectory(trajectory, tmp_path / "camera_extrinsics.json")
    got = round_trip(trajectory, tmp_path, "recammaster", {"frames": 81}, camera="cam02")
    assert len(got) == 81
    np.testing.assert_allclose(got.pose_T34[[0, 40, 80]], pose[2:], atol=1e-9)


@QUICK
@given(trajectories())
def test_colmap_keeps_poses_lens_and_cuts(tmp_path, trajectory):
    assert_same(round_trip(trajectory, tmp_path, "colmap"), trajectory, "intrinsics_T4 width height shot_T")


@QUICK
@given(trajectories())
def test_tum_keeps_poses_and_time(tmp_path, trajectory):
    assert_same(round_trip(trajectory, tmp_path, "tum"), trajectory, "time_T" if len(trajectory) > 1 else "")


@QUICK
@given(trajectories())
def test_kitti_keeps_poses(tmp_path, trajectory):
    assert_same(round_trip(trajectory, tmp_path, "kitti"), trajectory, "")


@QUICK
@given(trajectories())
def test_csv_keeps_all_but_texts(tmp_path, trajectory):
    got = round_trip(trajectory, tmp_path, "csv")
    assert_same(got, trajectory, "intrinsics_T4 width height shot_T")
    if len(trajectory) > 1:
        assert_same(got, trajectory, "time_T" if trajectory.time_T is not None else "fps time_T")


# Choice of format, errors, atomic writing ----------------------------------------------------------------------------


@pytest.fixture
def film() -> Trajectory:
    """Two shots around a person who stands at (1, 2, 3) on the floor and faces +x; the world is y down."""
    facing_x = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    stage = se3.make(facing_x, np.array([1.0, 2, 3]))
    eye = np.array([[1.0, 2 - 1.6, 3]])
    front = eye + [[4.0, 0, 0], [3.5, 0, 0], [3.0, 0, 0]]
    side = eye + [[0.0, 0, -2], [0.5, 0, -2]]
    pose = np.concatenate([se3.look_at(front, np.broadcast_to(eye, (3, 3))), se3.look_at(side, side + [0, 0, 1.0])])
    lens = [[700.0, 700, 416, 240]] * 3 + [[700.0, 700, 416, 240], [800.0, 800, 416, 240]]
    captions = ("A man looks\nat '''us'''", 'He "turns" \\ ☂')
    return Trajectory(pose, lens, 832, 480, [0, 0, 0, 1, 1], 16.0, 1.0, captions, "scene", stage_34=stage)


@pytest.mark.parametrize("fmt", [name for name, form in FORMATS.items() if form.read])
def test_reading_recognises_what_writing_made(tmp_path, film, fmt):
    path = tmp_path / ("model" if FORMATS[fmt].folder else f"path.{fmt}{FORMATS[fmt].extension}")
    write_trajectory(film, path, fmt, **({"frames": 4} if fmt == "recammaster" else {}))
    if not FORMATS[fmt].folder:
        again = tmp_path / f"again.{fmt}{FORMATS[fmt].extension}"
        write_trajectory(film, again, **({"frames": 4} if fmt == "recammaster" else {}))
        assert again.read_bytes() == path.read_bytes()
    got = read_trajectory(path)
    assert len(got) == (4 if fmt == "recammaster" else 5)
    np.testing.assert_allclose(got.pose_T34[0], np.eye(3, 4) if fmt == "motionctrl" else film.pose_T34[0], atol=1e-9)


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
    with pytest.raises(ValueError, match="camera_path files can be written but not read"):
        read_trajectory(tmp_path / "camera_path.json")
    with pytest.raises(ValueError, match="tum has no option 'camera'; it has: width, height, focal, fps"):
        read_trajectory(tmp_path / "a.tum", camera="cam01")
    with pytest.raises(ValueError, match="fps should be positive, got 0"):
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


def test_colmap_folder_keeps_foreign_files(tmp_path, film):
    write_trajectory(film, tmp_path / "deep" / "model", "colmap")
    (tmp_path / "deep/model/notes.txt").write_text("mine")
    write_trajectory(film.shot(0), tmp_path / "deep" / "model", "colmap")
    assert (tmp_path / "deep/model/notes.txt").read_text() == "mine"
    assert len(read_trajectory(tmp_path / "deep" / "model")) == 3


def edited(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


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
        (np.diag([1.0, 1, -1]), "reflection"),
        (np.diag([1.0, 1, 1.01]), "not rigid"),
        (1e200 * np.ones((3, 3)), "not rigid"),
        (np.zeros((3, 3)), "not rigid"),
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
    with pytest.raises(ValueError, match=rf"bad\.\w+: pose 0 is .*{message}"):
        read_trajectory(path, fmt)


def test_text_noise_is_rounded_to_rotations(tmp_path):
    turn = se3.so3_exp(np.array([0.3, -0.8, 0.1]))
    path = tmp_path / "a.kitti"
    path.write_text(" ".join(f"{x:.4f}" for x in np.c_[turn, [1, 2, 3]].ravel()))
    got = read_trajectory(path).pose_T34[0]
    np.testing.assert_allclose(got[:, :3] @ got[:, :3].T, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(got[:, :3], turn, atol=1e-4)


def test_colmap_reads_models_of_other_programs(tmp_path):
    (tmp_path / "cameras.txt").write_text("# x\n7 SIMPLE_RADIAL 640 480 500 320 240 0.1\n")
    (tmp_path / "images.txt").write_text(
        "# comment\n2 1 0 0 0 0 0 -1 7 b name.jpg\n\n1 0.5 0.5 0.5 0.5 1 2 3 7 a.jpg\n10.5 20.5 -1 3 4 17\n"
    )
    got = read_trajectory(tmp_path)
    np.testing.assert_allclose(got.intrinsics_T4, [[500, 500, 320, 240]] * 2)
    np.testing.assert_allclose(got.pose_T34[0, :, :3].T, Rotation.from_quat([0.5, 0.5, 0.5, 0.5]).as_matrix())
    np.testing.assert_allclose(got.pose_T34[1], np.eye(3, 4) + [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
    (tmp_path / "images.txt").write_text("1 1 0 0 0 0 0 0 8 a.jpg\n")
    with pytest.raises(ValueError, match="names camera 8"):
        read_trajectory(tmp_path)


def test_evo_reads_tum_and_kitti_alike(tmp_path, film):
    interface = pytest.importorskip("evo.tools.file_interface")
    write_trajectory(film, tmp_path / "a.tum")
    write_trajectory(film, tmp_path / "a.kitti")
    want = se3.to_44(film.pose_T34)
    tum = interface.read_tum_trajectory_file(str(tmp_path / "a.tum"))
    np.testing.assert_allclose(np.array(tum.poses_se3), want, atol=1e-9)
    np.testing.assert_allclose(tum.timestamps, np.arange(5) / 16)
    np.testing.assert_allclose(
        np.array(interface.read_kitti_poses_file(str(tmp_path / "a.kitti")).poses_se3), want, atol=1e-9
    )


# Published files -----------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("name", "axis", "sign"),
    [("I", 2, 1), ("O", 2, -1), ("L", 0, -1), ("R", 0, 1), ("U", 1, -1), ("D", 1, 1)],
)
def test_motionctrl_letters(reference, name, axis, sign):
    """In, out, left, right, up, down as steps of the camera in OpenCV axes (w2c "zoom in" has a falling t_z)."""
    path = reference / f"data/trajectories/motionctrl/dataset_camera_poses_basic/test_camera_{name}.json"
    step = np.diff(read_trajectory(path).pose_T34[:, :, 3], axis=0)
    assert (np.sign(np.round(step, 9)) == sign * np.eye(3)[axis]).all()


def test_datadop_example_starts_near_the_identity(reference):
    path = reference / "data/gendop/assets/examples/text_rgbd/case1_transforms_cleaning.json"
    got = read_trajectory(path)
    assert (len(got), got.width, got.height, got.num_shots) == (120, 512, 208, 1)
    np.testing.assert_allclose(got.intrinsics_T4[0], [642.345337, 642.345337, 256, 104])
    assert np.degrees(se3.rotation_angle(got.pose_T34[0, :, :3])) < 6
    np.testing.assert_allclose(got.pose_T34[0, :, 3], [0.023155368864536285, -0.000292155339, 0.225754425], atol=1e-9)


def test_recammaster_file(reference):
    path = reference / "data/trajectories/recammaster/camera_extrinsics.json"
    takes = read_trajectory(path, camera="all")
    assert (takes.num_shots, len(takes)) == (10, 810)
    assert takes.captions == tuple(f"cam{k:02d}" for k in range(1, 11))
    np.testing.assert_allclose(np.linalg.det(takes.pose_T34[:, :, :3]), 1, atol=1e-12)
    turn = takes.shot(0).from_first_camera().pose_T34[-1]
    assert turn[0, 2] > 0.1  # cam01 pans right: the view direction gains +x
    np.testing.assert_allclose(turn[:, 3], 0, atol=1e-9)
    np.testing.assert_allclose(takes.pose_T34[0], [[1, 0, 0, 13.8], [0, 1, 0, -2.4], [0, 0, 1, 33.9]], atol=1e-9)


def test_tum_and_cameractrl_files(reference):
    tum = read_trajectory(reference / "data/trajectories/tum/freiburg1_xyz-groundtruth.txt")
    assert len(tum) == 3000 and 95 < tum.fps < 105 and tum.time_T[0] == pytest.approx(1305031098.6659)
    clips = sorted((reference / "data/trajectories/cameractrl/pose_files").glob("*.txt"))
    assert len(clips) == 10
    for path in clips:
        clip = read_trajectory(path)
        assert len(clip) == 16
        np.testing.assert_allclose(clip.intrinsics_T4[:, 0], clip.intrinsics_T4[:, 1], rtol=1e-6)  # square pixels


# What other programs see ---------------------------------------------------------------------------------------------


def cameras_in_blender(path: Path, monkeypatch) -> dict:
    """Runs the script against a stand-in for Blender's API; {camera: {frame: (location, rotation, lens)}}."""

    class Block(dict):
        def __init__(self, name, data=None):
            self.name, self.data, self.animation_data, self.keys = name, data, None, {}

        def keyframe_insert(self, channel, frame):
            value = getattr(self, channel)
            self.keys.setdefault(frame, {})[channel] = tuple(value) if hasattr(value, "__len__") else value

    bpy = types.ModuleType("bpy")
    objects, markers = {}, []

    def new_object(name, data):
        objects[name] = Block(name, data)
        return objects[name]

    def new_marker(name, frame):
        markers.append(types.SimpleNamespace(name=name, frame=frame, camera=None))
        return markers[-1]

    link = types.SimpleNamespace(link=lambda block: None)
    collection = types.SimpleNamespace(objects=link, children=link)
    bpy.data = types.SimpleNamespace(
        cameras=types.SimpleNamespace(new=Block),
        objects=types.SimpleNamespace(new=new_object),
        collections=types.SimpleNamespace(new=lambda name: collection),
    )
    scene = types.SimpleNamespace(
        render=types.SimpleNamespace(), collection=collection, frame_set=lambda frame: None,
        timeline_markers=types.SimpleNamespace(new=new_marker),
    )  # fmt: skip
    bpy.context = types.SimpleNamespace(scene=scene)
    monkeypatch.setitem(sys.modules, "bpy", bpy)
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), {})  # the file under test is a program
    return {"scene": scene, "markers": markers, "objects": objects}


def exported_poses(fmt: str, trajectory: Trajectory, folder: Path, monkeypatch) -> np.ndarray:
    """[T, 4, 4] camera-to-world, OpenGL camera axes, as another program would see the exported file."""
    path = folder / f"film{FORMATS[fmt].extension}"
    write_trajectory(trajectory, path, fmt)
    poses = np.tile(np.eye(4), (len(trajectory), 1, 1))
    if fmt == "blender":
        for camera in cameras_in_blender(path, monkeypatch)["objects"].values():
            for frame, key in camera.keys.items():
                poses[frame - 1, :3, 3] = key["location"]
                poses[frame - 1, :3, :3] = Rotation.from_quat(np.roll(key["rotation_quaternion"], -1)).as_matrix()
    elif fmt == "chan":
        rows = np.loadtxt(path, ndmin=2)
        poses[:, :3, 3] = rows[:, 1:4]
        poses[:, :3, :3] = Rotation.from_euler("YXZ", rows[:, [5, 4, 6]], degrees=True).as_matrix()
    elif fmt == "gltf":
        doc, read = load_glb(path)
        for channel in doc["animations"][0]["channels"]:
            sampler = doc["animations"][0]["samplers"][channel["sampler"]]
            frames = np.round(read(sampler["input"])[:, 0] * trajectory.fps).astype(int)
            values = read(sampler["output"])
            if channel["target"]["path"] == "translation":
                poses[frames, :3, 3] = values
            else:
                poses[frames, :3, :3] = Rotation.from_quat(values).as_matrix()
    else:
        pxr = pytest.importorskip("pxr.UsdGeom")
        stage = pytest.importorskip("pxr.Usd").Stage.Open(str(path))
        for k, (start, end) in enumerate(trajectory.spans):
            camera = pxr.Camera(stage.GetPrimAtPath(f"/Film/shot_{k + 1:02d}"))
            for t in range(start, end):
                poses[t] = np.array(camera.GetCamera(t + 1).transform).T
    return poses


def load_glb(path: Path):
    """(JSON document, function accessor number → float array) of a .glb file, checked on the way."""
    data = path.read_bytes()
    magic, version, length = struct.unpack("<4sII", data[:12])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack("<I4s", data[12:20])
    assert kind == b"JSON" and size % 4 == 0
    doc = json.loads(data[20 : 20 + size])
    rest = data[20 + size :]
    binary_size, kind = struct.unpack("<I4s", rest[:8])
    assert kind == b"BIN\0" and binary_size % 4 == 0 and binary_size == len(rest) - 8
    assert 0 <= binary_size - doc["buffers"][0]["byteLength"] < 4

    def read(index):
        accessor = doc["accessors"][index]
        view = doc["bufferViews"][accessor["bufferView"]]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        assert accessor["componentType"] == 5126 and view["byteOffset"] % 4 == 0
        assert view["byteLength"] == 4 * width * accessor["count"]
        raw = rest[8 + view["byteOffset"] :][: view["byteLength"]]
        values = np.frombuffer(raw, "<f4").reshape(-1, width).astype(np.float64)
        np.testing.assert_array_equal(values.min(0), accessor["min"])
        np.testing.assert_array_equal(values.max(0), accessor["max"])
        return values

    return doc, read


@pytest.mark.parametrize("fmt", GRAVITY)
def test_the_floor_is_the_floor_in_other_programs(tmp_path, film, fmt, monkeypatch):
    """Camera at eye height in front of the subject, level, looking at it; wherever the plan's own world lies."""
    lost = se3.make(se3.so3_exp(np.array([0.4, -1.1, 2.0])), np.array([5.0, -6, 7]))
    for trajectory in (film, film.moved(lost)):
        poses = exported_poses(fmt, trajectory, tmp_path, monkeypatch)
        up = np.array([0.0, 0, 1]) if fmt == "blender" else np.array([0.0, 1, 0])
        faces = np.array([0.0, 1, 0]) if fmt == "blender" else np.array([0.0, 0, -1])
        np.testing.assert_allclose(poses[:3, :3, 3], [d * faces + 1.6 * up for d in (4, 3.5, 3)], atol=1e-6)
        np.testing.assert_allclose(poses[:3, :3, 2], [faces] * 3, atol=1e-6)  # camera -z looks against it
        np.testing.assert_allclose(poses[:, :3, 1], [up] * 5, atol=1e-6)


@pytest.mark.parametrize("fmt", GRAVITY)
@settings(QUICK, max_examples=8)
@given(trajectory=trajectories())
def test_motion_is_the_same_in_other_programs(tmp_path, fmt, trajectory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        poses = exported_poses(fmt, trajectory, tmp_path, monkeypatch)
    got = se3.flip_yz(poses[:, :3])
    np.testing.assert_allclose(
        se3.relative(got[:1], got), se3.relative(trajectory.pose_T34[:1], trajectory.pose_T34), atol=2e-5
    )


def test_blender_scene(tmp_path, film, monkeypatch):
    lens = film.intrinsics_T4 * [1, 0.5, 1, 1] + [0, 0, 8, 6]
    write_trajectory(dataclasses.replace(film, intrinsics_T4=lens), tmp_path / "film.py")
    seen = cameras_in_blender(tmp_path / "film.py", monkeypatch)
    assert [(m.name, m.frame, m.camera.name) for m in seen["markers"]] == [
        ("shot_01", 1, "shot_01"),
        ("shot_02", 4, "shot_02"),
    ]
    first, second = seen["objects"].values()
    assert first["caption"] == film.captions[0] and second["caption"] == film.captions[1]
    assert first.data.lens == pytest.approx(700 * 36 / 832) and not first.data.keys
    assert {frame: key["lens"] for frame, key in second.data.keys.items()} == pytest.approx(
        {4: 700 * 36 / 832, 5: 800 * 36 / 832}
    )
    assert first.data.shift_x == pytest.approx(-8 / 832)  # principal point right of the centre
    assert first.data.shift_y == pytest.approx(6 / 832 * 2)  # and below it; pixels twice as high as wide
    scene = seen["scene"]
    assert (scene.frame_start, scene.frame_end, scene.render.fps, scene.render.fps_base) == (1, 5, 16, 1)
    assert scene.render.pixel_aspect_y / scene.render.pixel_aspect_x == pytest.approx(2)
    tree = ast.parse((tmp_path / "film.py").read_text(encoding="utf-8"))
    shots = next(n for n in tree.body if ast.unparse(n).startswith("SHOTS ="))
    assert [len(shot[2]) for shot in ast.literal_eval(shots.value)] == [3, 2]


def test_gltf_lens_and_cuts(tmp_path, film):
    write_trajectory(film, tmp_path / "film.glb")
    doc, read = load_glb(tmp_path / "film.glb")
    for camera, (fx, fy) in zip(doc["cameras"], film.intrinsics_T4[[0, 3], :2], strict=True):
        lens = camera["perspective"]
        assert lens["yfov"] == pytest.approx(2 * np.arctan(240 / fy))
        assert np.tan(lens["yfov"] / 2) * lens["aspectRatio"] == pytest.approx(416 / fx)
    animation = doc["animations"][0]
    clocks = [read(animation["samplers"][channel["sampler"]]["input"])[:, 0] for channel in animation["channels"]]
    assert [len(clock) for clock in clocks] == [3, 3, 2, 2] and clocks[2][0] == 3 / 16
    for channel in animation["channels"]:
        if channel["target"]["path"] == "rotation":
            norm = np.linalg.norm(read(animation["samplers"][channel["sampler"]]["output"]), axis=1)
            np.testing.assert_allclose(norm, 1, atol=1e-6)
    assert [node["extras"]["caption"] for node in doc["nodes"]] == list(film.captions)


@pytest.mark.parametrize("suffix", [".usda", ".usdc", ".usd"])
def test_usd_lens_time_and_axes(tmp_path, film, suffix):
    pxr = pytest.importorskip("pxr.UsdGeom")
    usd = pytest.importorskip("pxr.Usd")
    shifted = dataclasses.replace(film, intrinsics_T4=film.intrinsics_T4 * (35 / 36 * 832 / 700) + [0, 0, 30, 20])
    write_trajectory(shifted, tmp_path / f"film{suffix}")
    stage = usd.Stage.Open(str(tmp_path / f"film{suffix}"))
    assert pxr.GetStageUpAxis(stage) == "Y" and pxr.GetStageMetersPerUnit(stage) == 1
    assert (stage.GetTimeCodesPerSecond(), stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (16, 1, 5)
    camera = pxr.Camera(stage.GetPrimAtPath("/Film/shot_01"))
    assert camera.GetFocalLengthAttr().Get() == pytest.approx(0.35)
    frustum = camera.GetCamera(1).frustum
    view = np.array(frustum.ComputeViewDirection())
    np.testing.assert_allclose(view, [0, 0, 1], atol=1e-6)  # the subject faces -z in the y-up world
    # The picture window at unit distance must be the pinhole's: the corner (0, 0) is left and up.
    fx, fy, cx, cy = shifted.intrinsics_T4[0]
    window = frustum.GetWindow()
    np.testing.assert_allclose(window.GetMin(), [-cx / fx, -(480 - cy) / fy], rtol=1e-5)
    np.testing.assert_allclose(window.GetMax(), [(832 - cx) / fx, cy / fy], rtol=1e-5)
    second = pxr.Camera(stage.GetPrimAtPath("/Film/shot_02"))
    assert second.GetPrim().GetCustomDataByKey("caption") == film.captions[1]
    assert second.GetFocalLengthAttr().GetTimeSamples() == [4, 5]
    assert second.GetOrderedXformOps()[0].GetTimeSamples() == [4, 5]


def test_usd_without_the_package_says_what_to_install(tmp_path, film, monkeypatch):
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(ValueError, match=r"pip install 'shotverse_jax\[usd\]'"):
        write_trajectory(film, tmp_path / "film.usda")
    assert not list(tmp_path.iterdir())


def test_chan_angles_are_continuous_and_zxy(tmp_path):
    spin = np.linspace(0, 4 * np.pi, 50)
    tilt = np.linspace(-1.2, np.pi / 2, 50)
    roll = se3.so3_exp(np.array([0, 0, 0.7]))  # with it, straight up (where the tilt ends) keeps rz = -40 degrees
    for axis in (se3.so3_exp(np.outer(spin, [0, 1.0, 0])), se3.so3_exp(np.outer(tilt, [1.0, 0, 0])) @ roll):
        trajectory = Trajectory(se3.make(axis, np.zeros((50, 3))), [700, 700, 416, 240], 832, 480, np.zeros(50, int))
        write_trajectory(trajectory, tmp_path / "a.chan")
        rows = np.loadtxt(tmp_path / "a.chan")
        assert rows[:, 0].tolist() == list(range(1, 51))
        assert np.abs(np.diff(rows[:, 4:7], axis=0)).max() < 20
        back = Rotation.from_euler("YXZ", rows[:, [5, 4, 6]], degrees=True).as_matrix()
        want = np.diag([1, -1, -1]) @ axis @ np.diag([1, -1, -1])
        np.testing.assert_allclose(back, want, atol=1e-9)
        np.testing.assert_allclose(rows[:, 7], np.degrees(2 * np.arctan(240 / 700)))


def test_camera_path_as_nerfstudio_reads_it(tmp_path, film):
    write_trajectory(film, tmp_path / "camera_path.json")
    doc = json.loads((tmp_path / "camera_path.json").read_text())
    assert (doc["render_width"], doc["render_height"], doc["seconds"]) == (832, 480, 5 / 16)
    for t, camera in enumerate(doc["camera_path"]):
        matrix = np.array(camera["camera_to_world"]).reshape(4, 4)
        np.testing.assert_allclose(matrix[:3], se3.flip_yz(film.pose_T34[t]))
        focal = doc["render_height"] / 2 / np.tan(np.radians(camera["fov"]) / 2)
        assert focal == pytest.approx(film.intrinsics_T4[t, 1])


def test_edl_events_cover_the_film(tmp_path, film):
    cut = dataclasses.replace(
        film.shot(0),
        pose_T34=np.tile(np.eye(3, 4), (2000, 1, 1)), intrinsics_T4=[700, 700, 416, 240],
        shot_T=np.repeat([0, 1, 2], [100, 1, 1899]), captions=("one\ntwo", "", "三"),
    )  # fmt: skip
    write_trajectory(cut, tmp_path / "film.edl", clip="my film.mp4")
    lines = (tmp_path / "film.edl").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["TITLE: SHOTVERSE FILM", "FCM: NON-DROP FRAME"]
    events = [line.split() for line in lines if line[:3].isdigit()]
    assert [event[:4] for event in events] == [[f"00{k}", "AX", "V", "C"] for k in (1, 2, 3)]

    def count(code):
        hours, minutes, seconds, frames = map(int, code.split(":"))
        return ((hours * 60 + minutes) * 60 + seconds) * 16 + frames

    assert [(count(e[4]), count(e[5])) for e in events] == cut.spans
    assert [(count(e[6]) - 57600, count(e[7]) - 57600) for e in events] == cut.spans
    assert lines.count("* FROM CLIP NAME: my film.mp4") == 3 and "* COMMENT: shot_01 one two" in lines


def test_the_documentation_has_a_row_per_format():
    page = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
    for name, form in FORMATS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert ("read" in row.split("|")[2]) == (form.read is not None), name
        assert ("write" in row.split("|")[2]) == (form.write is not None), name
