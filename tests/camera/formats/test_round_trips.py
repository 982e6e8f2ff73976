"""Round trips through two formats one after the other, for any pair: the motion stays."""

import numpy as np
import pytest
from hypothesis import given, settings

from camera_paths import QUICK, trajectories
from shotverse_jax.camera.formats import FORMATS, read_trajectory, write_trajectory
from shotverse_jax.camera.trajectory import Trajectory

BOTH = [name for name, form in FORMATS.items() if form.read and form.write and "poses" in form.keeps]


def through(trajectory: Trajectory, fmt: str, folder) -> tuple[Trajectory, Trajectory]:
    """(what comes back, what went in), as evenly timed as the format asks for."""
    form = FORMATS[fmt]
    if fmt == "recammaster":  # its cameras share one clock
        trajectory = trajectory.shot(0)
    fraction = fmt == "omnicam" and abs(trajectory.fps - round(trajectory.fps)) > 0.01  # its rates are whole
    rate = float(round(trajectory.fps)) if fraction else None
    went = trajectory if rate is None and not form.steady else trajectory.evenly(rate)
    path = folder / (f"{fmt}_model" if form.folder else f"film.{fmt}{form.extension}")
    write_trajectory(trajectory, path, fmt, rate=rate)
    return read_trajectory(path, fmt, **({} if "rate" in form.keeps else {"fps": went.fps})), went


def assert_moves_alike(got: Trajectory, want: Trajectory) -> None:
    got, want = got.from_first_camera().pose_T34, want.from_first_camera().pose_T34
    extent = max(np.abs(want[:, :, 3]).max(), 1.0)
    np.testing.assert_allclose(got[:, :, :3], want[:, :, :3], rtol=0, atol=1e-6)
    np.testing.assert_allclose(got[:, :, 3], want[:, :, 3], rtol=0, atol=1e-6 * extent)


@pytest.mark.parametrize("first", BOTH)
@settings(QUICK, max_examples=2)
@given(trajectory=trajectories())
def test_motion_stays_through_two_formats(tmp_path, first, trajectory):
    between, went = through(trajectory, first, tmp_path)
    assert_moves_alike(between, went)
    for second in BOTH:
        assert_moves_alike(*through(between, second, tmp_path))
