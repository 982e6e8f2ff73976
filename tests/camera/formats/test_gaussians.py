"""cameras.json of 3D Gaussian splatting."""

import json

import numpy as np
import pytest
from hypothesis import given

from camera_paths import QUICK, assert_same, round_trip, trajectories
from shotverse_jax.camera.formats import read_trajectory, write_trajectory


def camera(name: str, x: float, **more) -> dict:
    turn = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]  # looks along the world's x axis
    return {"id": 0, "img_name": name, "width": 640, "height": 360, "position": [x, 1, 2], "rotation": turn} | {
        "fy": 510.0,
        "fx": 500.0,
        **more,
    }


@pytest.mark.parametrize("names", [["f_9", "f_10", "f_2"], ["9.png", "10.png", "2.png"]])
def test_cameras_come_in_the_order_of_their_numbers(tmp_path, names):
    path = tmp_path / "anything.json"
    path.write_text(json.dumps([camera(name, float(x)) for name, x in zip(names, (1, 2, 0), strict=True)]))
    got = read_trajectory(path)
    np.testing.assert_allclose(got.pose_T34[:, :, 3], [[0, 1, 2], [1, 1, 2], [2, 1, 2]])
    np.testing.assert_allclose(got.pose_T34[:, :, 2], np.tile([1, 0, 0], (3, 1)))
    np.testing.assert_allclose(got.intrinsics_T4, np.tile([500, 510, 320, 180], (3, 1)))
    assert (got.width, got.height) == (640, 360)


def test_missing_frames_leave_their_time(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([camera(f"f_{k:03d}", float(k)) for k in (4, 7, 5)]))
    got = read_trajectory(tmp_path / "a.json", fps=10)
    np.testing.assert_allclose(got.pose_T34[:, 0, 3], [4, 5, 7])
    np.testing.assert_allclose(got.time_T, [0, 0.1, 0.3])


def test_cameras_of_one_name_keep_the_order_of_the_file(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([camera("view", 3.0), camera("view", 1.0)]))
    np.testing.assert_allclose(read_trajectory(tmp_path / "a.json").pose_T34[:, 0, 3], [3, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rotation": [1, 2, 3]}, "camera 0: 'rotation' should be 3x3 numbers"),
        ({"fx": None}, "camera 0: 'fx' should be a number"),
        ({"position": [0, float("nan"), 0]}, "NaN"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, message):
    (tmp_path / "a.json").write_text(json.dumps([camera("1", 0.0, **change)]))
    with pytest.raises(ValueError, match=message):
        read_trajectory(tmp_path / "a.json")


@QUICK
@given(trajectories())
def test_poses_and_focal_lengths_are_kept(tmp_path, trajectory):
    trajectory = trajectory.evenly()
    got = round_trip(trajectory, tmp_path, "3dgs")
    assert_same(got, trajectory, "width height")
    np.testing.assert_allclose(got.intrinsics_T4[:, :2], trajectory.intrinsics_T4[:, :2])


def test_the_usual_name_means_this_format(tmp_path, film):
    write_trajectory(film, tmp_path / "cameras.json")
    doc = json.loads((tmp_path / "cameras.json").read_text())
    assert set(doc[0]) == {"id", "img_name", "width", "height", "position", "rotation", "fx", "fy"}
    np.testing.assert_allclose(doc[4]["position"], film.pose_T34[4, :, 3])


def test_case(reference):
    got = read_trajectory(reference / "cases/25-3dgs-cameras-json/cameras.json")
    assert (len(got), got.width, got.height) == (20, 1280, 720)
    np.testing.assert_allclose(got.intrinsics_T4[:, 0], 1000)
    np.testing.assert_allclose(np.diff(got.pose_T34[:, :, 3], axis=0), np.tile([0.1, 0, 0], (19, 1)), atol=1e-9)
