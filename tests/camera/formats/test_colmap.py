"""COLMAP models."""

import numpy as np
import pytest
from hypothesis import given
from scipy.spatial.transform import Rotation

from camera_paths import QUICK, assert_same, round_trip, trajectories
from shotverse_jax.camera.formats import lens, read_trajectory, write_trajectory


@QUICK
@given(trajectories())
def test_colmap_keeps_poses_lens_and_cuts(tmp_path, trajectory):
    assert_same(round_trip(trajectory, tmp_path, "colmap"), trajectory, "intrinsics_T4 width height shot_T")


def test_colmap_folder_keeps_foreign_files(tmp_path, film):
    write_trajectory(film, tmp_path / "deep" / "model", "colmap")
    (tmp_path / "deep/model/notes.txt").write_text("mine")
    write_trajectory(film.shot(0), tmp_path / "deep" / "model", "colmap")
    assert (tmp_path / "deep/model/notes.txt").read_text() == "mine"
    assert len(read_trajectory(tmp_path / "deep" / "model")) == 3


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


def model(folder, cameras, names, gap="\n"):
    """A model of images that move right by a tenth; `gap` is what stands between them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.txt").write_text("# list\n" + "\n".join(cameras) + "\n")
    lines = [f"{t + 1} 1 0 0 0 {-t / 10} 0 0 {camera} {name}\n" for t, (name, camera) in enumerate(names)]
    (folder / "images.txt").write_text(gap.join(lines))
    return folder


PINHOLE = "1 PINHOLE 640 480 500 510 320 240"


def test_images_need_no_lines_of_points(tmp_path):
    names = [(f"a_{t:02}.png", 1) for t in range(8)]
    for gap in ("", "\n", "  \n", "1 2 -1 3 4 -1\n"):
        got = read_trajectory(model(tmp_path, [PINHOLE], names, gap))
        np.testing.assert_allclose(got.pose_T34[:, 0, 3], np.arange(8) / 10)


def test_cameras_of_several_sizes_are_brought_to_the_first(tmp_path):
    cameras = [PINHOLE, "2 SIMPLE_RADIAL 1280 960 1200 640 480 0.1"]
    got = read_trajectory(model(tmp_path, cameras, [("shot_01/1.png", 1), ("shot_02/1.png", 2)]))
    np.testing.assert_allclose(got.intrinsics_T4, [[500, 510, 320, 240], [600, 600, 320, 240]])
    assert got.num_shots == 2 and (got.width, got.height) == (640, 480)
    assert "the distortion of the lens was left out" in got.notes
    assert "images of several sizes (640x480, 1280x960) were brought to 640x480" in got.notes


@pytest.mark.parametrize("name", [name for name, (_, kind) in lens.MODELS.items() if kind != "pinhole"])
def test_poses_of_fisheye_lenses_are_read_when_asked(tmp_path, name):
    values = {"f": 600, "fl_x": 600, "fl_y": 610, "cx": 320, "cy": 240}
    camera = f"1 {name} 640 480 {' '.join(str(values.get(key, 0.01)) for key in lens.MODELS[name][0])}"
    folder = model(tmp_path, [camera], [("a.png", 1)])
    with pytest.raises(ValueError, match=rf"fisheye \({name}\).*lens=pinhole"):
        read_trajectory(folder)
    fy = 610 if "fl_y" in lens.MODELS[name][0] else 600
    np.testing.assert_allclose(read_trajectory(folder, lens="pinhole").intrinsics_T4, [[600, fy, 320, 240]])


def test_models_and_parameters_that_are_unknown_are_named(tmp_path):
    with pytest.raises(ValueError, match="line 2: unknown camera model 'BOX'; known: SIMPLE_PINHOLE"):
        read_trajectory(model(tmp_path, ["1 BOX 640 480 500"], [("a.png", 1)]))
    with pytest.raises(ValueError, match=r"line 2: PINHOLE has 4 parameters \(fl_x, fl_y, cx, cy\), got 1"):
        read_trajectory(model(tmp_path, ["1 PINHOLE 640 480 500"], [("a.png", 1)]))


def test_a_project_s_folder_is_read_from_its_model(tmp_path):
    model(tmp_path / "sparse" / "0", [PINHOLE], [("a.png", 1)])
    assert len(read_trajectory(tmp_path, "colmap")) == 1


def test_model_cases(reference):
    cases = reference / "cases"
    for name in ("08-colmap-no-point-lines/model", "10-colmap-project-folder/project"):
        got = read_trajectory(cases / name)
        np.testing.assert_allclose(np.diff(got.pose_T34[:, 0, 3]), 0.1, atol=1e-9)
        assert len(got) == 20
    for name in ("model", "simple_radial_fisheye"):
        got = read_trajectory(cases / "09-colmap-fisheye" / name, lens="pinhole")
        np.testing.assert_allclose(got.intrinsics_T4, [[600, 600, 640, 360]] * 20)
    got = read_trajectory(cases / "11-colmap-two-sizes/model")
    assert got.num_shots == 2 and (got.width, got.height) == (1280, 720)
    np.testing.assert_allclose(got.intrinsics_T4[:, 0], 1000)
