"""COLMAP's binary models and project folders, beside pycolmap."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_paths import QUICK
from shotverse_jax.camera.formats import read_trajectory, write_trajectory
from shotverse_jax.camera.formats.colmap_binary import MODELS


@pytest.fixture
def text(tmp_path, film):
    write_trajectory(film, tmp_path / "text", "colmap")
    return tmp_path / "text"


@pytest.fixture
def binary(tmp_path, text):
    """The same model as pycolmap writes it, with rigs and frames."""
    pycolmap = pytest.importorskip("pycolmap")
    (tmp_path / "project/sparse/0").mkdir(parents=True)
    pycolmap.Reconstruction(str(text)).write_binary(str(tmp_path / "project/sparse/0"))
    return tmp_path / "project/sparse/0"


def test_pycolmap_reads_what_is_written(text, film):
    pycolmap = pytest.importorskip("pycolmap")
    images = pycolmap.Reconstruction(str(text)).images
    assert sorted(image.name for image in images.values())[0] == "shot_01/frame_00001.png"
    for image in images.values():
        pose = image.cam_from_world().inverse().matrix()
        np.testing.assert_allclose(pose, film.pose_T34[int(image.name[-9:-4]) - 1], atol=1e-9)


@pytest.mark.parametrize("below", ["project", "project/sparse", "project/sparse/0", "project/sparse/0/images.bin"])
def test_a_binary_model_is_found_and_read(tmp_path, binary, film, below):
    got = read_trajectory(tmp_path / below)
    np.testing.assert_allclose(got.pose_T34, film.pose_T34, atol=1e-9)
    np.testing.assert_allclose(got.intrinsics_T4, film.intrinsics_T4)
    np.testing.assert_array_equal(got.shot_T, film.shot_T)


def test_the_numbers_of_models_are_those_of_colmap():
    pycolmap = pytest.importorskip("pycolmap")
    for number, (name, parameters) in MODELS.items():
        model = getattr(pycolmap.CameraModelId, name)
        assert int(model) == number
        assert len(pycolmap.Camera.create_from_model_id(1, model, 100.0, 640, 480).params) == parameters


def test_the_largest_of_several_models_is_read(tmp_path, film):
    for name, part in (("0", film.shot(1)), ("1", film), ("2", film.shot(0))):
        write_trajectory(part, tmp_path / "sparse" / name, "colmap")
    got = read_trajectory(tmp_path)
    assert len(got) == 5 and any("sparse/1" in note and "model=NAME" in note for note in got.notes)
    assert len(read_trajectory(tmp_path, model=0)) == 2
    assert len(read_trajectory(tmp_path, model="sparse/2")) == 3
    with pytest.raises(ValueError, match="no model '7'; the folder has sparse/0, sparse/1, sparse/2"):
        read_trajectory(tmp_path, model="7")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no model in this folder: expected images.txt or images.bin in it, or in"):
        read_trajectory(tmp_path / "empty", "colmap")


def test_models_of_clips_become_shots(tmp_path, film):
    """Every clip of a scene has a model of its own, in one world."""
    for name, part in (("clip_10", film.shot(0)), ("clip_9", film.shot(1))):
        write_trajectory(part, tmp_path / name / "sparse/0", "colmap")
    assert len(read_trajectory(tmp_path)) == 3
    got = read_trajectory(tmp_path, model="all")
    assert got.spans == [(0, 2), (2, 5)]  # clip_9 before clip_10
    np.testing.assert_allclose(got.pose_T34, film.pose_T34[[3, 4, 0, 1, 2]], atol=1e-9)
    np.testing.assert_allclose(got.intrinsics_T4, film.intrinsics_T4[[3, 4, 0, 1, 2]])


def test_rigs_are_named(tmp_path, text):
    pycolmap = pytest.importorskip("pycolmap")
    model = pycolmap.Reconstruction(str(text))
    for place in ("text_again", "binary"):
        (tmp_path / place).mkdir()
    model.write_text(str(tmp_path / "text_again"))
    model.write_binary(str(tmp_path / "binary"))
    # A second camera beside the one that gives the rig its place.
    model.rig(1).add_sensor(pycolmap.sensor_t(pycolmap.SensorType.CAMERA, 2), pycolmap.Rigid3d())
    for place, write in (("rig_text", model.write_text), ("rig_binary", model.write_binary)):
        (tmp_path / place).mkdir()
        write(str(tmp_path / place))
    for place, rigs in (("text_again", False), ("binary", False), ("rig_text", True), ("rig_binary", True)):
        assert any("rigs" in note for note in read_trajectory(tmp_path / place).notes) == rigs, place


@settings(QUICK, max_examples=100)
@given(data=st.data())
def test_damaged_bytes_are_refused_or_read(tmp_path, binary, data):
    damaged = tmp_path / "damaged"
    shutil.copytree(binary, damaged, dirs_exist_ok=True)
    file = damaged / data.draw(st.sampled_from(["images.bin", "cameras.bin"]))
    content = file.read_bytes()
    at = data.draw(st.integers(0, len(content)))
    new = data.draw(st.sampled_from([b"", b"\xff" * 8, b"\0" * 8, b"\x7f", b"\xff\n"]) | st.binary(max_size=9))
    file.write_bytes(content[:at] + new + content[at + data.draw(st.sampled_from([0, len(new), 8, len(content)])) :])
    try:
        with np.errstate(all="ignore"):
            read_trajectory(damaged)
    except ValueError as error:
        assert str(error).startswith(str(damaged))


def test_case(reference):
    got = read_trajectory(reference / "cases/10-colmap-project-folder/project")
    assert len(got) == 20
    np.testing.assert_allclose(np.diff(got.pose_T34[:, :, 3], axis=0), np.tile([0.1, 0, 0], (19, 1)), atol=1e-9)
