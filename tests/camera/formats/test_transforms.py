"""trajectory.json and transforms.json."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from camera_paths import QUICK, assert_same, round_trip, trajectories
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.trajectory import Trajectory


@QUICK
@given(trajectories())
def test_shotverse_keeps_everything(tmp_path, trajectory):
    got = round_trip(trajectory, tmp_path, "shotverse")
    assert_same(
        got, trajectory, " ".join(f.name for f in dataclasses.fields(Trajectory) if f.name != "notes"), atol=1e-14
    )
    np.testing.assert_array_equal(got.intrinsics_T4, trajectory.intrinsics_T4)


@QUICK
@given(trajectories())
def test_nerfstudio_keeps_poses_and_lens(tmp_path, trajectory):
    for write in ({}, {"monst3r_im_id": True}):
        got = round_trip(trajectory, tmp_path, "nerfstudio", write)
        assert_same(got, trajectory, "intrinsics_T4 width height", atol=1e-14)
        assert got.num_shots == 1


def test_datadop_example_starts_near_the_identity(reference):
    path = reference / "data/gendop/assets/examples/text_rgbd/case1_transforms_cleaning.json"
    got = read_trajectory(path)
    assert (len(got), got.width, got.height, got.num_shots) == (120, 512, 208, 1)
    np.testing.assert_allclose(got.intrinsics_T4[0], [642.345337, 642.345337, 256, 104])
    assert np.degrees(se3.rotation_angle(got.pose_T34[0, :, :3])) < 6
    np.testing.assert_allclose(got.pose_T34[0, :, 3], [0.023155368864536285, -0.000292155339, 0.225754425], atol=1e-9)


def scene(folder, frames, **head):
    """transforms.json with the given values in its frames, which move right by a tenth."""
    for t, frame in enumerate(frames):
        frame |= {"transform_matrix": [[1, 0, 0, t / 10], [0, -1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]]}
        frame.setdefault("file_path", f"images/{t:03}.jpg")
    path = folder / "transforms.json"
    path.write_text(json.dumps(head | {"frames": frames}))
    return path


def test_a_size_that_is_missing_is_given_or_found_or_assumed(tmp_path):
    path = scene(tmp_path, [{"file_path": "./train/r_0"}, {"file_path": "./train/r_1"}], camera_angle_x=1.2)
    assumed = read_trajectory(path)
    assert (assumed.width, assumed.height) == (832, 480)
    assert any("assumed, as the file does not say: 832x480" in note for note in assumed.notes)
    given = read_trajectory(path, width=400, height=300)
    np.testing.assert_allclose(given.intrinsics_T4[0], [200 / np.tan(0.6)] * 2 + [200, 150])
    (tmp_path / "train").mkdir()
    Image.new("RGB", (100, 80)).save(tmp_path / "train" / "r_0.png")
    found = read_trajectory(path)
    assert (found.width, found.height) == (100, 80) and "the size is that of the first image, 100x80" in found.notes
    centre = read_trajectory(scene(tmp_path, [{"fl_x": 300}], cx=320.0, cy=180.5))
    assert (centre.width, centre.height) == (640, 361)
    np.testing.assert_allclose(centre.intrinsics_T4[0], [300, 300, 320, 180.5])


def test_a_size_that_is_there_is_brought_to_that_of_the_options(tmp_path):
    path = scene(tmp_path, [{}], w=1200, h=800, fl_x=900, fl_y=880, cx=610, cy=380)
    half = read_trajectory(path, width=600)
    assert (half.width, half.height) == (600, 400) and "images of 1200x800 were brought to 600x400" in half.notes
    np.testing.assert_allclose(half.intrinsics_T4[0], [450, 440, 305, 190])


def test_a_frame_s_own_lens_goes_before_the_file_s(tmp_path):
    frames = [{"w": 640, "h": 480, "fl_x": 500 + t, "fl_y": 510 + t, "cx": 300, "cy": 200} for t in range(3)]
    got = read_trajectory(scene(tmp_path, frames))
    np.testing.assert_allclose(got.intrinsics_T4, [[500 + t, 510 + t, 300, 200] for t in range(3)])
    angles = read_trajectory(scene(tmp_path, [{"camera_angle_x": 0.8}, {}], w=640, h=480, fl_x=700, fl_y=710))
    np.testing.assert_allclose(angles.intrinsics_T4[:, :2], [[320 / np.tan(0.4)] * 2, [700, 710]])
    both = read_trajectory(scene(tmp_path, [{}], w=640, h=480, camera_angle_x=0.8, camera_angle_y=0.7))
    np.testing.assert_allclose(both.intrinsics_T4[0, :2], [320 / np.tan(0.4), 240 / np.tan(0.35)])
    upright = read_trajectory(scene(tmp_path, [{}], w=640, h=480, camera_angle_y=0.7))
    np.testing.assert_allclose(upright.intrinsics_T4[0, :2], [240 / np.tan(0.35)] * 2)


def test_images_of_several_sizes_are_brought_to_the_first(tmp_path):
    frames = [{}, {"w": 320, "h": 240, "fl_x": 250}, {"w": 480, "h": 640, "fl_x": 500}]
    got = read_trajectory(scene(tmp_path, frames, w=640, h=480, fl_x=500, cx=310, cy=230))
    assert (got.width, got.height) == (640, 480)
    # A smaller image is enlarged whole; of one of another shape the width of the view stays.
    want = [[500, 500, 310, 230], [500, 500, 320, 240], [500 * 4 / 3] * 2 + [320, 240]]
    np.testing.assert_allclose(got.intrinsics_T4, want)
    assert "images of several sizes (640x480, 320x240, 480x640) were brought to 640x480" in got.notes


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"camera_model": "OPENCV_FISHEYE"}, r"fisheye \(OPENCV_FISHEYE\)"),
        ({"camera_model": "EQUIRECTANGULAR"}, r"equirectangular \(EQUIRECTANGULAR\)"),
        ({"is_fisheye": True}, r"fisheye \(is_fisheye\)"),
        ({"camera_model": "holo"}, r"unknown \(HOLO\)"),
    ],
)
def test_lenses_that_are_no_pinholes_are_read_when_asked(tmp_path, values, kind):
    path = scene(tmp_path, [{}], w=640, h=480, fl_x=500, k1=0.1, **values)
    with pytest.raises(ValueError, match=f"the lens is {kind}.*lens=pinhole"):
        read_trajectory(path)
    notes = read_trajectory(path, lens="pinhole").notes
    assert "the distortion of the lens was left out" in notes and any("as a pinhole's" in note for note in notes)


def test_per_frame_lens_cases(reference):
    cases = reference / "cases"
    got = read_trajectory(cases / "01-nerf-no-image-size/transforms_train.json", width=800, height=800)
    np.testing.assert_allclose(got.intrinsics_T4[:, :2], 828.06, atol=0.005)
    np.testing.assert_allclose(np.diff(got.pose_T34[:, 0, 3]), 0.1)
    got = read_trajectory(cases / "02-per-frame-intrinsics/transforms.json")
    assert (len(got), got.width, got.height) == (20, 1280, 720)
    np.testing.assert_allclose(got.intrinsics_T4[:, :2], np.arange(20)[:, None] + [1000, 1001])
    folder = cases / "02b-mixed-sizes"
    mixed = read_trajectory(folder / "mixed_transforms.json")
    np.testing.assert_allclose(mixed.intrinsics_T4[:, 2:], [[640, 360]] * 6)
    assert any("720x1280" in note for note in mixed.notes)
    got = read_trajectory(folder / "angle_per_frame_transforms.json")
    np.testing.assert_allclose(got.intrinsics_T4[[0, 5], 0], [2506.44, 1171.51], atol=0.005)
    got = read_trajectory(folder / "angle_y_transforms.json", lens="pinhole")
    np.testing.assert_allclose(got.intrinsics_T4[0, :2], [1171.51, 851.48], atol=0.005)
