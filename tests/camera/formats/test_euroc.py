"""EuRoC files."""

import numpy as np
import pytest
from hypothesis import given

from camera_paths import QUICK, assert_same, round_trip, trajectories
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory, write_trajectory

# A camera that stands and turns right by 10 degrees a frame, 40 frames a second, as a flight recorder writes it.
HALF = np.radians(5)
LINES = [
    f"{1_403_636_579_763_555_584 + 25_000_000 * t},4.5,-1.5,0.5,{np.cos(t * HALF)},0,{np.sin(t * HALF)},0"
    for t in range(5)
]
BIASES = ",0.1,0.2,0.3,0,0,0,0.01,0.02,0.03"


@pytest.mark.parametrize("tail", ["", BIASES])
@pytest.mark.parametrize(
    "heading", ["#timestamp, p_RS_R_x [m], p_RS_R_y [m]\n", "", "timestamp,px,py,pz,qw,qx,qy,qz\n"]
)
def test_a_flight_is_recognised_and_read(tmp_path, heading, tail):
    path = tmp_path / "data.csv"
    path.write_text(heading + "\n".join(line + tail for line in LINES) + "\n")
    got = read_trajectory(path)
    assert len(got) == 5 and got.fps == 40
    turn = se3.so3_log(se3.relative(got.pose_T34[:-1], got.pose_T34[1:])[:, :, :3])
    np.testing.assert_allclose(np.degrees(turn), np.tile([0, 10, 0], (4, 1)), atol=1e-9)
    np.testing.assert_allclose(got.pose_T34[:, :, 3], np.tile([4.5, -1.5, 0.5], (5, 1)))
    assert any("body" in note for note in got.notes)


@QUICK
@given(trajectories())
def test_euroc_keeps_poses(tmp_path, trajectory):
    got = round_trip(trajectory, tmp_path, "euroc")
    assert_same(got, trajectory, "")
    np.testing.assert_allclose(got.seconds_T, trajectory.seconds_T, atol=1e-6)


def test_evo_reads_the_same(tmp_path, film):
    interface = pytest.importorskip("evo.tools.file_interface")
    write_trajectory(film, tmp_path / "film.euroc.csv")
    evo = interface.read_euroc_csv_trajectory(str(tmp_path / "film.euroc.csv"))
    np.testing.assert_allclose(np.array(evo.poses_se3), se3.to_44(film.pose_T34), atol=1e-9)
    np.testing.assert_allclose(evo.timestamps, np.arange(5) / 16)


def test_case(reference):
    got = read_trajectory(reference / "cases/13-euroc-csv/data.csv")
    assert len(got) == 20 and got.fps == 20
    np.testing.assert_allclose(np.diff(got.pose_T34[:, :, 3], axis=0), np.tile([0.1, 0, 0], (19, 1)), atol=1e-9)
