"""The three views of GenDoP's pictures: which way they look, their colours, and their files; Blender's figure."""

import ast

import numpy as np
import pytest
from PIL import Image

from shotverse_jax import cli
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory, write_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.views import blender_figure
from shotverse_jax.views.three_views import first_camera_points, plot_three_views, pyramids


def moving(direction, count=40, shots=1):
    """A camera that does not turn and goes to one side, in OpenCV's axes, in a world that is turned about."""
    position_T3 = np.linspace(0, 1, count)[:, None] * np.array(direction, float)
    pose_T34 = se3.make(np.broadcast_to(np.eye(3), (count, 3, 3)), position_T3)
    world_34 = se3.make(se3.so3_exp(np.array([0.3, 1.0, -0.4])), np.array([3.0, 1.0, 2.0]))
    shot_T = np.arange(count) * shots // count
    return Trajectory(se3.compose(world_34, pose_T34), (400.0, 400.0, 256.0, 144.0), 512, 288, shot_T)


@pytest.mark.parametrize(
    ("direction", "axes"),
    [((1, 0, 0), (1, 0, 0)), ((0, -1, 0), (0, 1, 0)), ((0, 0, 1), (0, 0, 1))],
    ids=["right", "up", "forward"],
)
def test_right_up_and_forward_of_the_first_camera(direction, axes):
    pose_T34 = first_camera_points(moving(direction))
    np.testing.assert_allclose(pose_T34[0, :, 3], 0, atol=1e-12)
    np.testing.assert_allclose(pose_T34[-1, :, 3], axes, atol=1e-12)


def test_views_open_forward_and_are_wider_than_high():
    path = moving((1, 0, 0))
    [corners] = pyramids(path, first_camera_points(path), np.array([0]), 0.5)
    across, up, forward = corners[1:].T
    np.testing.assert_allclose(forward, 0.5)
    assert np.ptp(across) > np.ptp(up) > 0 and np.ptp(across) <= 0.5 + 1e-9
    # The first two corners are the upper ones of the picture.
    assert up[0] == up[1] > up[2]


def where(pixels, rgb):
    """Columns and rows of the pixels of a colour."""
    near = np.abs(pixels.astype(int) - rgb).sum(-1) < 90
    return [np.flatnonzero(near.any(axis)) for axis in (0, 1)]


def test_the_path_goes_from_red_to_purple(tmp_path):
    plot_three_views(moving((1, 0, 0)), tmp_path / "path.png")
    pixels = np.asarray(Image.open(tmp_path / "path.png").convert("RGB"))
    front = pixels[:, : pixels.shape[1] // 3]
    (red, _), (purple, _) = where(front, (255, 0, 0)), where(front, (128, 0, 255))
    assert len(red) and len(purple) and red.mean() + 50 < purple.mean()


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
@pytest.mark.parametrize("path", [moving((0, 0, 0)), moving((0, 0, 1), shots=3)], ids=["still", "shots"])
def test_files_that_can_be_drawn(tmp_path, suffix, path):
    write_trajectory(path, tmp_path / "path.json")
    out = tmp_path / f"drawn{suffix}"
    assert cli.main(["plot", str(tmp_path / "path.json"), "--out", str(out), "--title", "a $ [b", "--quiet"]) == 0
    assert out.read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF")
    plot_three_views(read_trajectory(tmp_path / "path.json"), tmp_path / f"again{suffix}", "a $ [b")
    assert (tmp_path / f"again{suffix}").read_bytes() == out.read_bytes()


def test_blenders_script_has_the_frusta(tmp_path):
    """It parses, its first eye is at the origin, and the path goes along Blender's y, away from the viewer."""
    write_trajectory(moving((0, 0, 2)), tmp_path / "path.json")
    given = ["plot", str(tmp_path / "path.json"), "--style", "blender", "--cameras", "5", "--quiet"]
    assert cli.main([*given, "--out", str(tmp_path / "figure.py")]) == 0
    tree = ast.parse((tmp_path / "figure.py").read_text())
    values = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    frusta = ast.literal_eval(values["FRUSTA"])
    assert len(frusta) == 5 and ast.literal_eval(values["PICTURE"]) == "figure.png"
    eyes = np.array([corners[0] for _, corners in frusta])
    np.testing.assert_allclose(eyes[:, 1], np.array([0, 10, 20, 29, 39]) / 39 * blender_figure.REACH, atol=1e-4)
    np.testing.assert_allclose(eyes[:, [0, 2]], 0, atol=1e-6)
    np.testing.assert_allclose(frusta[0][0], (1.0, 0.0, 0.0), atol=1e-6)


@pytest.mark.parametrize("broken", [False, True])
def test_blender_renders_the_script(tmp_path, monkeypatch, broken):
    """A stand-in for Blender gets the script and writes the picture that it names; one that fails leaves nothing."""
    blender = tmp_path / "blender"
    last = "echo no memory >&2; exit 1" if broken else 'printf picture > "$picture"'
    find = """picture=$(sed -n "s/^PICTURE = '\\(.*\\)'/\\1/p" "$4")"""
    blender.write_text(
        f"#!/bin/sh\n[ \"$1 $2 $3\" = '--background --factory-startup --python' ] || exit 2\n{find}\n{last}\n"
    )
    blender.chmod(0o755)
    monkeypatch.setattr(blender_figure.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(blender_figure.shutil, "which", lambda name: str(blender))
    out = tmp_path / "out" / "figure.png"
    if broken:
        with pytest.raises(ValueError, match="Blender could not render it .no memory."):
            blender_figure.render_figure(moving((1, 0, 0)), out)
        assert not out.parent.exists()
    else:
        blender_figure.render_figure(moving((1, 0, 0)), out)
        assert out.read_text() == "picture" and [path.name for path in out.parent.iterdir()] == ["figure.png"]


def test_mistakes(tmp_path, monkeypatch, capsys):
    write_trajectory(moving((1, 0, 0)), tmp_path / "path.json")
    monkeypatch.setattr(blender_figure.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(blender_figure.shutil, "which", lambda name: None)
    cases = {
        ("--out", "drawn.gif"): "is no picture that can be drawn: its name should end in .png, .svg, .pdf",
        ("--style", "blender", "--out", "drawn.png"): "rendering needs Blender, or its module: pip install bpy",
        ("--style", "blender", "--out", "drawn.svg"): "figures are written as .png, or as its script .py",
    }
    for args, words in cases.items():
        given = [str(tmp_path / arg) if arg.startswith("drawn") else arg for arg in args]
        assert cli.main(["plot", str(tmp_path / "path.json"), *given, "--quiet"]) == 2
        assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["path.json"]
