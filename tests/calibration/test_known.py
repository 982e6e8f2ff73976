"""Cameras of other programs are read, and what is none is refused in one sentence."""

import numpy as np
import pytest

import rooms
from shotverse_jax.calibration import known
from shotverse_jax.calibration.known import read_cameras
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.stage.raycast import SUBJECT, Frames
from shotverse_jax.stage.scene import Scene, Subject

POSE = rooms.path("arc", 3)


def written(tmp_path, **arrays):
    path = tmp_path / "cameras.npz"
    np.savez(path, **arrays)
    return path


def test_the_arrays_of_an_npz(tmp_path):
    depth = np.full((3, 10, 16), 2.0, np.float32)
    depth[1, 0, 0] = np.nan
    arrays = {"poses_c2w": se3.to_44(POSE).astype(np.float32), "fov_y": 90.0, "depth": depth, "size": [32, 20]}
    found = np.array([True, True, False])
    path = written(tmp_path, **arrays, confidence=np.full((3, 10, 16), 0.5), registered=found, colors=np.zeros(3))
    cameras = read_cameras(path)
    made = cameras.reconstruct(np.array([0, 1, 2]))
    np.testing.assert_allclose(made.pose_N34[:2], POSE[:2], atol=1e-6)
    np.testing.assert_allclose(made.lens_N4[0], [10, 10, 16, 10])
    assert made.found_N.tolist() == found.tolist() and made.joint
    assert cameras.notes == ("arrays that are not read: colors",)
    assert set(made.points.frame_M) == {0, 1} and len(made.points) == 2 * 160 - 1
    assert (made.points.weight_M == 0.5).all() and (made.points.depth_M == 2).all()
    np.testing.assert_allclose(made.points.pixel_M2.max(0), [31, 19])  # centres of the depth's pixels, in the picture's
    np.testing.assert_allclose(np.linalg.det(made.pose_N34[:, :, :3]), 1, atol=1e-12)


def test_other_camera_files(tmp_path):
    film = Trajectory(POSE, rooms.lens(64, 40), 64, 40, np.zeros(3))
    write_trajectory(film, tmp_path / "path.json", "nerfstudio")
    made = read_cameras(tmp_path / "path.json").reconstruct(np.arange(3))
    np.testing.assert_allclose(made.pose_N34, POSE, atol=1e-6)
    assert not len(made.points)
    with pytest.raises(ValueError, match="cameras of 3 frames"):
        read_cameras(tmp_path / "path.json").reconstruct(np.arange(4))


GOOD = {"poses_c2w": POSE, "intrinsics": rooms.lens(64, 40), "size": [64, 40]}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"poses_c2w": None}, "no array poses_c2w"),
        ({"poses_c2w": np.zeros((3, 4))}, r"\[T, 3, 4\]"),
        ({"poses_c2w": POSE * 2}, "not rigid"),
        ({"poses_c2w": np.full((3, 3, 4), np.nan)}, "NaN"),
        ({"intrinsics": None}, "neither an array intrinsics nor fov_y"),
        ({"intrinsics": np.zeros(4)}, "positive"),
        ({"intrinsics": np.ones((2, 4))}, r"\[3, 4\]"),
        ({"intrinsics": None, "fov_y": 180.0}, "0 to 180"),
        ({"size": None}, "no array size"),
        ({"size": [0, 40]}, "a side of the pictures"),
        ({"depth": np.ones((2, 5, 8))}, r"\[3, h, w\]"),
        ({"depth": np.ones((3, 5, 8)), "confidence": np.ones((3, 5, 9))}, r"\[3, 5, 8\]"),
        ({"registered": np.array(["yes", "no", "yes"])}, "finite numbers"),
    ],
)
def test_damaged_arrays_are_one_sentence(tmp_path, change, words):
    arrays = {name: value for name, value in (GOOD | change).items() if value is not None}
    with pytest.raises(ValueError, match=words) as error:
        read_cameras(written(tmp_path, **arrays))
    assert "cameras.npz" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY\x01\x00"])
def test_damaged_files_are_one_sentence(tmp_path, content):
    path = tmp_path / "cameras.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cameras.npz cannot be read as an .npz file of cameras"):
        read_cameras(path)
    with pytest.raises(ValueError, match="does not exist"):
        read_cameras(tmp_path / "none.npz")


def test_a_film_of_the_stage(monkeypatch):
    # The ray caster has its own tests; compiling it here would take longer than all the others.
    color, depth = rooms.pictures(POSE, 16, 10)
    body = np.zeros((3, 10, 16), np.int32)
    body[:, 4:6], body[:, 6:8], body[:, 8:] = SUBJECT, SUBJECT + 1, 1  # a man, a prop behind him, the floor
    monkeypatch.setattr(known, "render", lambda *_: Frames(color, depth, body))
    monkeypatch.setattr(known, "primitives", lambda *_: {})
    scene = Scene((Subject("man", "red"),))
    lens_T4 = np.tile(rooms.lens(16, 10), (3, 1))
    footage, cameras = known.film_stage(scene, POSE, lens_T4, np.zeros(3), (16, 10), np.zeros(3))
    assert (footage.static_THW == (body != SUBJECT)).all() and not footage.static_THW[0, 4].any()
    made = cameras.reconstruct(np.arange(3))
    np.testing.assert_allclose(made.pose_N34, POSE)
    np.testing.assert_array_equal(made.depth_NHW, depth)
    assert len(made.points) == footage.static_THW.sum()  # nothing of the man is measured
    # Every point is on a wall, the floor or the ceiling.
    assert np.abs(np.abs(made.world() / rooms.HALF).max(1) - 1).max() < 1e-6
