"""Camera paths of nerfstudio."""

import json

import numpy as np
import pytest
from hypothesis import given

from camera_paths import QUICK, assert_same, trajectories
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory, write_trajectory
from shotverse_jax.camera.trajectory import Trajectory


def test_camera_path_as_nerfstudio_reads_it(tmp_path, film):
    write_trajectory(film, tmp_path / "camera_path.json")
    doc = json.loads((tmp_path / "camera_path.json").read_text())
    assert (doc["render_width"], doc["render_height"], doc["seconds"]) == (832, 480, 5 / 16)
    for t, camera in enumerate(doc["camera_path"]):
        matrix = np.array(camera["camera_to_world"]).reshape(4, 4)
        np.testing.assert_allclose(matrix[:3], se3.flip_yz(film.pose_T34[t]))
        focal = doc["render_height"] / 2 / np.tan(np.radians(camera["fov"]) / 2)
        assert focal == pytest.approx(film.intrinsics_T4[t, 1])


@QUICK
@given(trajectories())
def test_camera_path_keeps_poses_and_vertical_lens(tmp_path, trajectory):
    trajectory = trajectory.evenly()
    write_trajectory(trajectory, tmp_path / "camera_path.json")
    got = read_trajectory(tmp_path / "camera_path.json")
    assert_same(got, trajectory, "width height fps", atol=1e-12)
    np.testing.assert_allclose(got.intrinsics_T4[:, 1], trajectory.intrinsics_T4[:, 1])


def test_key_frames_are_those_that_the_viewer_loads(tmp_path):
    """Its "load path" takes the matrix, the seconds since the key before, and the fov unless that is the default."""
    pose = np.tile(np.eye(3, 4), (50, 1, 1))
    pose[:, 0, 3] = np.arange(50)
    film = Trajectory(pose, [700, 700, 416, 240], 832, 480, np.repeat([0, 1], [30, 20]), fps=10)
    write_trajectory(film, tmp_path / "camera_path.json", keyframes=6)
    doc = json.loads((tmp_path / "camera_path.json").read_text())
    keys = doc["keyframes"]
    frames = [int(key["matrix"][3]) for key in keys]
    assert {0, 29, 30, 49} <= set(frames) and len(frames) == 7 and frames == sorted(frames)
    seconds = [key["override_transition_sec"] for key in keys[1:]]
    np.testing.assert_allclose(np.cumsum(seconds), np.array(frames[1:]) / 10)
    assert all(key["override_transition_enabled"] for key in keys[1:])
    assert all(abs(key["fov"] - doc["default_fov"]) > 1e-3 for key in keys)
    assert all(key["matrix"] == doc["camera_path"][t]["camera_to_world"] for t, key in zip(frames, keys, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"camera_type": "fisheye"}, "fisheye .*lens=pinhole"),
        ({"camera_path": []}, "holds no frames"),
        ({"render_width": None}, "'render_width' should be a number"),
        ({"camera_path": [{"camera_to_world": [1, 2], "fov": 50}]}, "frame 0: 'camera_to_world' should be 16 numbers"),
        ({"camera_path": [{"camera_to_world": np.eye(4).ravel().tolist(), "fov": 180}]}, "frame 0: 'fov' .* below 180"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, film, change, message):
    path = tmp_path / "camera_path.json"
    write_trajectory(film, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        read_trajectory(path)


def test_case(reference):
    got = read_trajectory(reference / "cases/05-camera-path-read/camera_path.json")
    assert (len(got), got.fps, got.width, got.height) == (20, 24, 1920, 1080)
    np.testing.assert_allclose(got.intrinsics_T4[:, :2], 540 / np.tan(np.radians(25)))
    np.testing.assert_allclose(np.diff(got.pose_T34[:, :, 3], axis=0), np.tile([0.1, 0, 0], (19, 1)), atol=1e-9)
