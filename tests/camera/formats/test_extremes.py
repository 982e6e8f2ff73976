"""What every format writes, its own reader reads: at the ends of every range, one at a time and together."""

import itertools

import numpy as np
import pytest

from shotverse_jax import limits
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import FORMATS, ReadOptions, read_trajectory, write_trajectory
from shotverse_jax.camera.formats.options import RANGES
from shotverse_jax.camera.trajectory import Trajectory

ENDS = {
    "fps": (*limits.RATES, 29.97),
    "height": (1, 10_000, 2160),
    "aspect": (*limits.WRITTEN_ASPECT, 1.5),
    "focal": (*limits.WRITTEN_LENS, 1.0),
    "distance": (0.0, limits.DISTANCE / 2, 1e-9, 1e5),
    "scale": (limits.SCALE[0], limits.SCALE[1]),
}
USUAL = {"fps": 24.0, "height": 480, "aspect": 1.5, "focal": 0.8, "distance": 1.0, "scale": 1.0}
ONE_AT_A_TIME = [USUAL | {name: value} for name, values in ENDS.items() for value in values]
TOGETHER = [
    USUAL | dict(zip(ENDS, values, strict=True))
    for values in itertools.product(*((values[0], values[1]) for values in ENDS.values()))
]


def path_of(fps, height, aspect, focal, distance, scale, frames=4) -> Trajectory:
    """aspect: width by height. focal: in sides of the image, hence with pixels that are not square."""
    width = max(1, round(height * aspect))
    turns = se3.so3_exp(np.linspace(0, 1, frames)[:, None] * [0.3, 1.0, 0.2])
    places = distance * np.linspace(0, 1, frames)[:, None] * [1.0, 0.5, -0.25]
    lens = [focal * width, focal * height, width / 2, height / 2]
    return Trajectory(se3.make(turns, places), lens, width, height, np.zeros(frames, int), fps, scale)


@pytest.mark.parametrize("fmt", [name for name, form in FORMATS.items() if form.write])
def test_what_is_written_is_read(tmp_path, fmt):
    form, refused = FORMATS[fmt], []
    cases = ONE_AT_A_TIME + (TOGETHER[:: 5 if fmt not in ("usd", "blender") else 8])
    for number, case in enumerate(cases):
        path = tmp_path / (f"m{number}" if form.folder else f"{number}.{fmt}{form.extension}")
        try:
            write_trajectory(path_of(**case), path, fmt)
        except ValueError as error:  # one sentence, and no file
            refused.append(case)
            assert not path.exists() and "\n" not in str(error) and len(str(error)) < 300, error
            continue
        if form.read is None:
            continue
        got = read_trajectory(path, fmt)
        if "poses" in form.keeps:
            given, found = (case["distance"], float(np.abs(got.pose_T34[-1, :, 3]).max()))
            assert found == pytest.approx(given, rel=1e-5, abs=1e-6), (fmt, case)
        if "size" in form.keeps:
            assert got.height == case["height"], (fmt, case)
        if "rate" in form.keeps:
            assert got.fps == pytest.approx(case["fps"], rel=1e-3), (fmt, case)
        if "lens" in form.keeps and "size" in form.keeps:
            assert got.intrinsics_T4[0, 1] / got.height == pytest.approx(case["focal"], rel=1e-3), (fmt, case)
    assert len(refused) < len(cases) / 2, (fmt, refused)


@pytest.mark.parametrize("name", RANGES)
def test_options_of_reading_have_ranges(tmp_path, name):
    least, most = RANGES[name]
    write_trajectory(path_of(**USUAL), tmp_path / "a.json")
    for value in (least, most):  # each with a size that goes with it
        sides = {"width": value, "height": value} if type(most) is int else {}
        sides |= {"width": max(1, int(value / 1e6)), "height": max(1, int(value / 1e6))} if name == "focal" else {}
        read_trajectory(tmp_path / "a.json", **({name: value} | sides))
    step = 1 if type(most) is int else most * 1e-6
    for value in (least - least / 2 - 1, most + step, 0, -1, "1", True, [1], float("nan"), float("inf"), 10**400):
        with pytest.raises(ValueError, match=f"the option {name} must be a (whole )?number from"):
            ReadOptions(**{name: value})


@pytest.mark.parametrize(
    ("fmt", "options"),
    [
        ("recammaster", {"frames": 1.5}),
        ("recammaster", {"frames": 0}),
        ("recammaster", {"frames": 10**9}),
        ("camera_path", {"keyframes": 2.5}),
        ("camera_path", {"keyframes": -3}),
        ("motionctrl", {"relative": "yes"}),
        ("nerfstudio", {"monst3r_im_id": 1}),
        ("edl", {"title": ["x"]}),
        ("edl", {"drop_frame": "no"}),
        ("edl", {"clip": None}),
        ("tum", {"rate": 0}),
        ("tum", {"rate": "24"}),
        ("tum", {"rate": 1e9}),
    ],
)
def test_options_of_writing_have_types_and_ranges(tmp_path, fmt, options):
    name = next(iter(options))
    with pytest.raises(ValueError, match=f"the option {name} (must|should) be"):
        write_trajectory(path_of(**USUAL), tmp_path / "a", fmt, **options)
    assert not list(tmp_path.iterdir())
