"""`explain`: how a file is read, and what speaks for other readings."""

import numpy as np

from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.camera.formats.explain import explain
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.cli import main


def walk(tmp_path, name, up=(0, -1, 0)):
    """A level camera that pans and walks, in a world with the axis `up`."""
    up_3 = np.array(up, float)
    ahead_3, poses = np.roll(up_3, 1), []
    for t in range(5):
        turned = np.cos(t / 5) * ahead_3 + np.sin(t / 5) * np.cross(ahead_3, up_3)
        poses.append(np.c_[np.cross(-up_3, turned), -up_3, turned, t * ahead_3])
    path = tmp_path / name
    write_trajectory(Trajectory(np.stack(poses), [700, 700, 416, 240], 832, 480, np.zeros(5, int)), path)
    return path


def test_every_property_is_told(tmp_path):
    told = dict(explain(walk(tmp_path, "a.tum"), fov=60).lines)
    assert told["format"].startswith("tum: ") and "quaternions, x y z w" in told["poses"]
    assert told["image"] == "832x480 pixels" and told["lens"].endswith("60 degrees horizontally")
    assert told["frames"].startswith("5 in 1 shot, 16 fps, evenly spaced") and told["handedness"] == "right-handed"
    assert "if -y is up: roll 0°, looking 0°" in told["level"] and "way of 4 units" in told["extent"]
    assert told["first pose"].startswith("at 0 0 0, looks along")


def test_another_axis_up_is_proposed_with_what_speaks_for_it(tmp_path):
    path = walk(tmp_path, "transforms.json", up=(0, 0, 1))
    proposed = explain(path).alternatives
    assert [text.split(":")[0] for text in proposed] == ["up=z"] and "roll by 0°" in proposed[0]
    assert not explain(path, up="z").alternatives
    assert not explain(walk(tmp_path, "b.json")).alternatives


def test_the_other_order_of_quaternions_is_shown(tmp_path):
    [other] = explain(walk(tmp_path, "a.tum")).alternatives
    assert other.startswith("quaternion=wxyz: then the first pose") and "as read 46°" in other


def test_the_command_shows_it(tmp_path, capsys):
    path = walk(tmp_path, "transforms.json", up=(0, 0, 1))
    assert main(["explain", str(path), "--read", "up=z", "--read", "fps=24"]) == 0
    shown = capsys.readouterr().out
    assert "z is up in the file" in shown and "24 fps" in shown
    assert main(["explain", str(path), "--read", "up=sky"]) == 2


def test_z_up_case(reference):
    proposed = explain(reference / "cases/20-z-up-capture/transforms.json").alternatives
    assert len(proposed) == 1 and proposed[0].startswith("up=z")
