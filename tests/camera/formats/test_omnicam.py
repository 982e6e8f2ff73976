"""OmniCam's scenes."""

import json

import numpy as np
import pytest
from hypothesis import given

from camera_paths import QUICK, assert_same, trajectories
from shotverse_jax.camera.formats import read_trajectory, write_trajectory
from shotverse_jax.camera.formats.omnicam import EASES


def key(frame, position, target, ease="linear", **more):
    return {"frame": frame, "camera": {"position": position, "target": target, **more}, "interpolation": ease}


def scene(cameras: dict, cuts=(), seconds=1.0, fps=8, **more) -> dict:
    items = [
        {"id": name, "label": f"the {name}", "enabled": True, "track": {"keyframes": keys, "fps": fps}}
        for name, keys in cameras.items()
    ]
    return {
        "version": 1,
        "timeline": {"duration_seconds": seconds, "authoring_fps": fps},
        "canvas": {"width": 640, "height": 360},
        "cameras": items,
        "active_camera_id": next(iter(cameras)),
        "cuts": [{"camera_id": name, "time_seconds": time} for name, time in cuts],
        **more,
    }


def test_a_level_camera_is_level_in_a_world_that_is_y_down(tmp_path):
    """1.6 above the floor, goes right from x = 0 to 7, looks along -z; a zoom of 2 doubles the focal length."""
    keys = [key(0, [0, 1.6, 5], [0, 1.6, 0], fov=60), key(7, [7, 1.6, 5], [7, 1.6, 0], fov=60, zoom=2)]
    (tmp_path / "a.json").write_text(json.dumps(scene({"main": keys}, objects=[{"id": "subject"}])))
    got = read_trajectory(tmp_path / "a.json")
    assert (len(got), got.fps, got.width, got.height) == (8, 8, 640, 360)
    np.testing.assert_allclose(got.pose_T34[:, :, :3], np.tile(np.eye(3), (8, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(got.pose_T34[:, :, 3], [[t, -1.6, -5] for t in range(8)], atol=1e-12)
    np.testing.assert_allclose(got.intrinsics_T4[[0, 7], 0], 180 / np.tan(np.radians(30)) * np.array([1, 2]))
    assert any("objects" in note for note in got.notes)


def test_roll_turns_the_picture(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(scene({"main": [key(0, [0, 0, 0], [0, 0, -1], roll=90)]})))
    got = read_trajectory(tmp_path / "a.json")
    np.testing.assert_allclose(got.pose_T34[0, :, 0], [0, -1, 0], atol=1e-12)  # the right of the picture is up


@pytest.mark.parametrize(("ease", "half"), [("linear", 0.5), ("ease_in", 0.25), ("ease_out", 0.75), ("hold", 0.0)])
def test_keys_are_joined_by_their_interpolation(tmp_path, ease, half):
    keys = [key(0, [0, 0, 0], [0, 0, -1], ease), key(4, [1, 0, 0], [1, 0, -1])]
    (tmp_path / "a.json").write_text(json.dumps(scene({"main": keys})))
    x_T = read_trajectory(tmp_path / "a.json").pose_T34[:, 0, 3]
    assert x_T[2] == pytest.approx(half) and x_T[0] == 0
    np.testing.assert_allclose(x_T[4:], 1)
    for curve in EASES.values():
        np.testing.assert_allclose([curve(0.0), curve(1.0)], [0, 1])


def test_cuts_make_shots(tmp_path):
    cameras = {"a": [key(0, [0, 0, 0], [0, 0, -1])], "b": [key(0, [9, 0, 0], [8, 0, 0])]}
    (tmp_path / "a.json").write_text(json.dumps(scene(cameras, [("a", 0.0), ("b", 0.25), ("a", 0.75)])))
    got = read_trajectory(tmp_path / "a.json")
    assert got.spans == [(0, 2), (2, 6), (6, 8)] and got.captions == ("the a", "the b", "the a")
    np.testing.assert_allclose(got.pose_T34[:, 0, 3], [0, 0, 9, 9, 9, 9, 0, 0])
    alone = read_trajectory(tmp_path / "a.json", camera="the b")
    assert alone.num_shots == 1 and len(alone) == 8 and alone.pose_T34[0, 0, 3] == 9
    with pytest.raises(ValueError, match="no camera 'c'; the file has a, b"):
        read_trajectory(tmp_path / "a.json", camera="c")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cuts": [{"camera_id": "x", "time_seconds": 0}]}, "no camera 'x'"),
        ({"cuts": [{"camera_id": "a", "time_seconds": 0}] * 2}, "cut 1 is at 0 s"),
        ({"timeline": {"duration_seconds": 1e9, "authoring_fps": 8}}, "too many frames"),
        ({"cameras": []}, "'cameras' should be a list"),
        ({"cameras": [{"id": "a", "track": {"keyframes": [{"frame": 0, "interpolation": []}]}}]}, "'interpolation'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, message):
    doc = scene({"a": [key(0, [0, 0, 0], [0, 0, -1])]})
    (tmp_path / "a.json").write_text(json.dumps(doc | change))
    with pytest.raises(ValueError, match=message):
        read_trajectory(tmp_path / "a.json")


@QUICK
@given(trajectories())
def test_motion_cuts_and_lens_are_kept(tmp_path, trajectory):
    path, trajectory = tmp_path / "film.omnicam.json", trajectory.evenly()
    if trajectory.fps != round(trajectory.fps):
        with pytest.raises(ValueError, match="whole numbers, not 23.976; give one with the option rate"):
            write_trajectory(trajectory, path)
        write_trajectory(trajectory, path, rate=24)
        assert read_trajectory(path).fps == 24
        return
    write_trajectory(trajectory, path)
    got = read_trajectory(path)
    assert_same(got.from_first_camera(), trajectory.from_first_camera(), "shot_T width height fps", atol=1e-7)
    np.testing.assert_allclose(got.intrinsics_T4[:, 1], trajectory.intrinsics_T4[:, 1])
    if trajectory.stage_34 is None:
        assert_same(got, trajectory, "", atol=1e-7)


def test_a_written_scene_has_what_omnicam_asks_for(tmp_path, film):
    write_trajectory(film, tmp_path / "film.omnicam.json")
    doc = json.loads((tmp_path / "film.omnicam.json").read_text())
    assert doc["timeline"] == {"duration_seconds": 5 / 16, "authoring_fps": 16.0}
    assert [cut["camera_id"] for cut in doc["cuts"]] == [camera["id"] for camera in doc["cameras"]]
    for camera in doc["cameras"]:
        track = camera["track"]
        assert (track["width"], track["height"], track["fps"], track["duration_frames"]) == (832, 480, 16, 5)
        assert {"schema_version", "render_mode", "keyframes", "objects", "metadata"} <= set(track)
    first = doc["cameras"][0]["track"]["keyframes"][0]["camera"]
    assert first["position"] == pytest.approx([0, 1.6, -4])  # at eye height, 4 before the subject, who faces -z
