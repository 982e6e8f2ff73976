"""Tables of frames."""

from hypothesis import given

from camera_paths import QUICK, assert_same, round_trip, trajectories


@QUICK
@given(trajectories())
def test_csv_keeps_all_but_texts(tmp_path, trajectory):
    got = round_trip(trajectory, tmp_path, "csv")
    assert_same(got, trajectory, "intrinsics_T4 width height shot_T")
    if len(trajectory) > 1:
        assert_same(got, trajectory, "time_T" if trajectory.time_T is not None else "fps time_T")
