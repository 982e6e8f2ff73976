"""Options of reading that all formats share: axes that point up, quaternions, mirrors, tolerances, lost poses."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from camera_paths import motion
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import FORMATS, read_trajectory, write_trajectory
from shotverse_jax.camera.trajectory import Trajectory

AXES = {"x": [1, 0, 0], "y": [0, 1, 0], "z": [0, 0, 1], "-x": [-1, 0, 0], "-y": [0, -1, 0], "-z": [0, 0, -1]}


def path_of(frames=5) -> Trajectory:
    pose = motion("free", frames, np.random.default_rng(3))
    return Trajectory(pose, [700, 700, 416, 240], 832, 480, np.zeros(frames, int))


def transforms(folder, matrices, **head):
    frames = [{"file_path": f"{t:03}.jpg", "transform_matrix": np.asarray(m).tolist()} for t, m in enumerate(matrices)]
    path = folder / "transforms.json"
    path.write_text(json.dumps({"w": 640, "h": 480, "fl_x": 500, **head, "frames": frames}))
    return path


@pytest.mark.parametrize("up", AXES)
def test_a_level_camera_is_level_in_other_programs(tmp_path, up):
    """It stands 1.5 above the floor, in a world with any axis up, and walks ahead."""
    up_3 = np.array(AXES[up], float)
    ahead_3 = np.roll(up_3, 1)
    steps = [1.5 * up_3 + 0.25 * t * ahead_3 for t in range(4)]
    camera = np.stack([np.cross(ahead_3, up_3), up_3, -ahead_3], 1)  # x right, y up, z back
    path = transforms(tmp_path, [np.c_[camera, step] for step in steps])
    trajectory = read_trajectory(path, up=up)
    write_trajectory(trajectory, tmp_path / "a.chan")
    rows = np.loadtxt(tmp_path / "a.chan")
    np.testing.assert_allclose(rows[:, 2], 1.5, atol=1e-9)
    np.testing.assert_allclose(rows[:, [4, 6]], 0, atol=1e-9)
    ahead = Rotation.from_euler("YXZ", rows[:, [5, 4, 6]], degrees=True).as_matrix()[:, :, 2] * -1
    np.testing.assert_allclose(np.diff(rows[:, 1:4], axis=0), 0.25 * ahead[1:], atol=1e-9)
    assert not any("up=" in note for note in trajectory.notes)
    noted = [note for note in read_trajectory(path).notes if f"the option up={up}" in note]
    assert len(noted) == (up in ("z", "y", "-z"))


def test_z_up_case(reference, tmp_path):
    trajectory = read_trajectory(reference / "cases/20-z-up-capture/transforms.json", up="z")
    steps = 0.1 * np.arange(len(trajectory))
    write_trajectory(trajectory, tmp_path / "a.chan")
    want = np.c_[steps, np.full_like(steps, 1.5), np.zeros((len(steps), 4))]
    np.testing.assert_allclose(np.loadtxt(tmp_path / "a.chan")[:, 1:7], want, atol=1e-9)
    write_trajectory(trajectory, tmp_path / "a.py")
    keys = [
        line.strip(" (),").split(", ") for line in (tmp_path / "a.py").read_text().splitlines() if "        (" in line
    ]
    keys = np.array([[float(cell) for cell in key[:8]] for key in keys if key[0].isdigit()])
    np.testing.assert_allclose(keys[:, 1:4], np.c_[steps, 0 * steps, np.full_like(steps, 1.5)], atol=1e-9)
    np.testing.assert_allclose(keys[:, 4:], [[0.5**0.5, 0.5**0.5, 0, 0]] * len(steps), atol=1e-9)


def test_quaternions_in_another_order(tmp_path):
    trajectory = path_of()
    write_trajectory(trajectory, tmp_path / "a.tum")
    rows = np.loadtxt(tmp_path / "a.tum")
    np.savetxt(tmp_path / "b.tum", rows[:, [0, 1, 2, 3, 7, 4, 5, 6]])
    got = read_trajectory(tmp_path / "b.tum", quaternion="wxyz")
    np.testing.assert_allclose(got.pose_T34, trajectory.pose_T34, atol=1e-9)
    (tmp_path / "c.tum").write_text("0 0 0 0 1 0 0 0\n0.1 0 0 1 1 0 0 0\n")
    assert any("quaternion=wxyz" in note for note in read_trajectory(tmp_path / "c.tum").notes)
    assert not any("quaternion" in note for note in read_trajectory(tmp_path / "c.tum", quaternion="wxyz").notes)
    write_trajectory(trajectory, tmp_path / "a.kitti")
    with pytest.raises(ValueError, match=r"a.kitti: the option quaternion does not go with this file"):
        read_trajectory(tmp_path / "a.kitti", quaternion="wxyz")


@pytest.mark.parametrize("fmt", ["kitti", "motionctrl", "shotverse"])
def test_a_left_handed_world_is_mirrored_and_keeps_its_motions(tmp_path, fmt):
    trajectory = path_of()
    mirrored = trajectory.pose_T34 * np.array([[-1.0], [1.0], [1.0]])
    path = tmp_path / f"a.{fmt}{FORMATS[fmt].extension}"
    if fmt == "kitti":
        np.savetxt(path, mirrored.reshape(-1, 12))
    elif fmt == "motionctrl":
        inverse = np.linalg.inv(se3.to_44(mirrored))[:, :3]
        path.write_text(json.dumps(inverse.reshape(-1, 12).tolist()))
    else:
        path = transforms(tmp_path, se3.flip_yz(mirrored))
    with pytest.raises(ValueError, match="every pose is a reflection .*mirror_world=true"):
        read_trajectory(path)
    got = read_trajectory(path, mirror_world=True)
    np.testing.assert_allclose(got.pose_T34, trajectory.pose_T34, atol=1e-9)


@pytest.mark.parametrize("fmt", ["kitti", "motionctrl"])
def test_a_uniform_scale_is_divided_out(tmp_path, fmt):
    """Of a camera object in camera-to-world matrices, and so of the inverse in world-to-camera ones."""
    trajectory = path_of()
    scaled = trajectory.pose_T34 * [2.0, 2.0, 2.0, 1.0]
    path = tmp_path / f"a.{fmt}{FORMATS[fmt].extension}"
    if fmt == "kitti":
        np.savetxt(path, scaled.reshape(-1, 12))
    else:
        path.write_text(json.dumps(np.linalg.inv(se3.to_44(scaled))[:, :3].reshape(-1, 12).tolist()))
    got = read_trajectory(path)
    np.testing.assert_allclose(got.pose_T34, trajectory.pose_T34, atol=1e-9)
    assert f"a uniform scale of {'2' if fmt == 'kitti' else '0.5'}, which was divided out" in "".join(got.notes)


def test_rounded_matrices_are_read_within_the_tolerance(tmp_path):
    turn = Rotation.from_euler("yx", [33, 11], degrees=True).as_matrix()
    (tmp_path / "a.kitti").write_text(" ".join(f"{x:.2f}" for x in np.c_[turn, [1, 2, 3]].ravel()))
    with pytest.raises(ValueError, match=r"pose 0 is not rigid.*tolerance=([\d.]+)") as refused:
        read_trajectory(tmp_path / "a.kitti")
    tolerance = float(str(refused.value).split("tolerance=")[1].split()[0])
    got = read_trajectory(tmp_path / "a.kitti", tolerance=tolerance)
    np.testing.assert_allclose(got.pose_T34[0, :, :3], turn, atol=0.01)
    assert any("replaced by the nearest rotations" in note for note in got.notes)
    (tmp_path / "a.tum").write_text("0 0 0 0 0 0 0 1.2\n")
    with pytest.raises(ValueError, match=r"norm 1.2, expected 1; the option tolerance=0.21 reads it"):
        read_trajectory(tmp_path / "a.tum")
    assert any("normalised" in note for note in read_trajectory(tmp_path / "a.tum", tolerance=0.21).notes)


def test_scaled_and_rounded_cases(reference):
    got = read_trajectory(reference / "cases/19-matrix-with-scale/transforms.json")
    assert any("uniform scale of 2" in note for note in got.notes) and len(got) == 20
    path = reference / "cases/19-matrix-with-scale/two_decimals_transforms.json"
    with pytest.raises(ValueError, match="the option tolerance=0.0"):
        read_trajectory(path)
    assert len(read_trajectory(path, tolerance=0.02)) == 20


def test_lost_poses(tmp_path):
    right = "\n".join(f"{t / 8} {t} 0 0 0 0 0 1" for t in range(8)).split("\n")
    right[3], right[4] = "0.375 nan nan nan nan nan nan nan", "0.5 0 0 0 0 0 0 0"
    (tmp_path / "a.tum").write_text("\n".join(right))
    for options in ({}, {"lost": "refuse"}):
        with pytest.raises(ValueError, match=r"pose 3 is lost.*lost=skip.*lost=interpolate"):
            read_trajectory(tmp_path / "a.tum", **options)
    left_out = read_trajectory(tmp_path / "a.tum", lost="skip")
    np.testing.assert_allclose(left_out.seconds_T * 8, [0, 1, 2, 5, 6, 7])
    np.testing.assert_allclose(left_out.pose_T34[:, 0, 3], [0, 1, 2, 5, 6, 7])
    filled = read_trajectory(tmp_path / "a.tum", lost="interpolate")
    np.testing.assert_allclose(filled.pose_T34[:, 0, 3], np.arange(8), atol=1e-12)
    assert filled.time_T is None and any("2 lost poses, the first of them pose 3" in note for note in filled.notes)
    (tmp_path / "b.tum").write_text("0 nan 0 0 0 0 0 1\n")
    with pytest.raises(ValueError, match="every pose is lost"):
        read_trajectory(tmp_path / "b.tum", lost="skip")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"up": "w"}, "the option up should be one of x, y, z, -x, -y, -z, got 'w'"),
        ({"quaternion": "zyxw"}, "the option quaternion should be one of wxyz, xyzw"),
        ({"lost": True}, "the option lost should be one of refuse, skip, interpolate, got True"),
        ({"lens": "fisheye"}, "the option lens should be one of refuse, pinhole"),
        ({"fov": 180}, "the option fov must be a number from 0.001 to 179.999, got 180"),
        ({"fov": 50, "focal": 500}, "focal and fov say the same"),
        ({"width": 83.5}, "the option width must be a whole number from 1 to 1000000, got 83.5"),
        ({"focal": "wide"}, "the option focal must be a number from 1e-06 to 1e\\+12, got 'wide'"),
        ({"mirror_world": 1}, "mirror_world should be true or false"),
        ({"tolerance": -1}, "the option tolerance must be a number from 1e-09 to 1, got -1"),
        ({"colour": 1}, "has no option 'colour'; it has: quaternion, up, width"),
    ],
)
def test_unknown_options_and_values_get_one_sentence(tmp_path, options, message):
    write_trajectory(path_of(), tmp_path / "a.tum")
    with pytest.raises(ValueError, match=message):
        read_trajectory(tmp_path / "a.tum", **options)


@pytest.mark.parametrize("fmt", [name for name, form in FORMATS.items() if form.read and form.write])
def test_size_lens_and_rate_are_options_of_every_format(tmp_path, fmt):
    path = tmp_path / ("model" if FORMATS[fmt].folder else f"a.{fmt}{FORMATS[fmt].extension}")
    write_trajectory(path_of(), path, fmt)
    got = read_trajectory(path, fmt, width=640, height=360, fov=90, fps=25, up="y")
    assert (got.width, got.height, got.fps, got.time_T) == (640, 360, 25, None)
    np.testing.assert_allclose(got.intrinsics_T4[:, :2], 320)
    np.testing.assert_allclose(read_trajectory(path, fmt, focal=444).intrinsics_T4[:, :2], 444)
