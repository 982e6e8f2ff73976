"""The camera's motion in a person's words: slow moves have their amounts, stillness and trembling are none."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from shotverse_jax import cli
from shotverse_jax.camera.formats import read_trajectory, write_trajectory
from shotverse_jax.camera.motion_words import lines, motions, sentence
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.grammar.truth import motion_phrases


def path(turns=None, moves=None, frames=81, zoom=None):
    """One shot from turns (rotation vectors in degrees) and positions, in OpenCV axes, straight between the rows."""
    at = np.linspace(0, 1, frames)
    turns, moves = (np.zeros((2, 3)) if rows is None else np.asarray(rows, float) for rows in (turns, moves))
    turns, moves = (np.stack([np.interp(at, np.linspace(0, 1, len(r)), c) for c in r.T], 1) for r in (turns, moves))
    matrix = Rotation.from_rotvec(np.radians(turns)).as_matrix()
    focal = 100 * np.interp(at, [0, 1], [1, zoom or 1])
    lens = np.stack([focal, focal, np.full(frames, 48), np.full(frames, 32)], 1)
    return Trajectory(np.concatenate([matrix, moves[..., None]], 2), lens, 96, 64, np.zeros(frames, int))


@pytest.mark.parametrize("frames", [9, 81, 400])
@pytest.mark.parametrize(
    ("turns", "moves", "zoom", "name", "words"),
    [
        (None, None, None, "static", "holds"),
        ([[0, 0, 0], [0, 20, 0]], None, None, "static + yaw right", "pans right 20°"),
        ([[0, 0, 0], [0, -4.5, 0]], None, None, "static + yaw left", "pans left 4.5°"),
        ([[0, 0, 0], [30, 0, 0]], None, None, "static + pitch up", "tilts up 30°"),
        ([[0, 0, 0], [0, 0, 10]], None, None, "static + roll right", "rolls right 10°"),
        (None, [[0, 0, 0], [-0.3, 0, 0]], None, "move left", "moves left 0.3 m"),
        (None, [[0, 0, 0], [0, -1, 1]], None, "move up and forward", "moves up 1 m and forward 1 m"),
        (None, [[0, 0, 0], [0, 0, -12.4]], None, "move backward", "moves back 12 m"),
        (None, None, 1.5, "static + zoom in", "zooms in 1.5x"),
        (None, [[0, 0, 0], [0, 0, 2]], 0.5, "move forward + zoom out", "moves forward 2 m and zooms out 2x"),
        (None, [[0, 0, 0], [0.03, 0, 0]], None, "static", "holds"),
        ([[0, 0, 0], [0, 1.5, 0]], None, None, "static", "holds"),
        (None, [[0, 0, 0], [2, 0.1, 0]], None, "move right", "moves right 2 m"),
    ],
)
def test_slow_or_fast_it_has_its_amount(frames, turns, moves, zoom, name, words):
    [[motion]] = motions(path(turns, moves, frames, zoom))
    assert (motion.start, motion.end, motion.name, motion.words) == (0, frames, name, words)


def test_a_zoom_that_turns_back_is_two():
    there = path([[0, 0, 0], [0, 30, 0]], frames=81)
    zoom_T = 1.6 ** np.interp(np.linspace(0, 1, 81), [0, 0.5, 1], [0, 1, 0])
    still = dataclasses.replace(
        path(frames=81), intrinsics_T4=there.intrinsics_T4 * [1, 1, 0, 0] * zoom_T[:, None] + [0, 0, 48, 32]
    )
    assert lines(still) == ["zooms in 1.6x, then zooms out 1.6x"]
    [shot] = motions(dataclasses.replace(there, intrinsics_T4=still.intrinsics_T4))
    assert [motion.zooms for motion in shot] == ["in", "out"] and all("pans right" in motion.words for motion in shot)
    assert motion_phrases(shot) == ("pans right and zooms in", "pans right and zooms out")


def test_one_after_the_other():
    moved = path(
        [[0, 0, 0], [0, 45, 0], [0, 45, 0], [0, 45, 0]], [[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, -1, 0]], frames=121
    )
    [shot] = motions(moved)
    assert [motion.words for motion in shot] == ["pans right 45°", "holds", "moves up 1 m"]
    assert sentence(shot) == "The camera pans right 45°, then holds, and finally moves up 1 m."
    assert lines(moved) == ["pans right 45°, then holds, then moves up 1 m"]
    assert abs(shot[0].end - 40) < 6 and shot[-1].end == 121


def test_an_orbit_moves_and_turns():
    angle = np.linspace(0, np.pi / 2, 60)
    matrix = Rotation.from_rotvec(np.outer(-angle, [0, 1, 0])).as_matrix()
    place = np.stack([2 * np.sin(angle), 0 * angle, 2 - 2 * np.cos(angle)], 1)  # two metres before the subject
    orbit = Trajectory(np.concatenate([matrix, place[..., None]], 2), [90, 90, 48, 32], 96, 64, np.zeros(60, int))
    [[motion]] = motions(orbit)
    assert motion.words == "moves right 3.1 m while panning left 90°"
    assert motion.values["move"]["right"] == pytest.approx(np.pi, rel=1e-3)
    assert motion.values["turn_degrees"] == pytest.approx({"up": 0, "right": -90, "roll_right": 0}, abs=1e-4)


def test_a_trembling_hand_is_no_motion():
    rng = np.random.default_rng(0)
    shaken = path(rng.normal(0, 0.05, (96, 3)), rng.normal(0, 0.003, (96, 3)), frames=96)
    assert lines(shaken) == ["holds"]
    pan = path([[0, 0, 0], [0, 25, 0]]).pose_T34
    pan[:, :, 3] += rng.normal(0, 0.003, (81, 3))
    [[motion]] = motions(Trajectory(pan, [90, 90, 48, 32], 96, 64, np.zeros(81, int)))
    assert motion.words == "pans right 25°"


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    frames=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    size=st.sampled_from([1e-3, 0.1, 3.0]),
)
def test_motions_cover_the_shot_and_their_amounts_add_up(seed, frames, size):
    rng, total = np.random.default_rng(seed), sum(frames)
    matrix = Rotation.from_rotvec(np.cumsum(rng.normal(0, size / 10, (total, 3)), 0)).as_matrix()
    place = np.cumsum(rng.normal(0, size, (total, 3)), 0)
    shot_T = np.repeat(np.arange(len(frames)), frames)
    walk = Trajectory(np.concatenate([matrix, place[..., None]], 2), [90, 90, 48, 32], 96, 64, shot_T)
    for index, shot in enumerate(motions(walk)):
        part = walk.shot(index)
        assert [m.start for m in shot] == [0, *(m.end for m in shot[:-1])] and shot[-1].end == len(part)
        steps = np.einsum("tji,tj->ti", part.pose_T34[:-1, :, :3], np.diff(part.pose_T34[:, :, 3], axis=0))
        np.testing.assert_allclose(np.sum([m.move_3 for m in shot], 0), steps.sum(0) * [1, -1, -1], atol=1e-9)
        assert all(a.label != b.label for a, b in zip(shot, shot[1:], strict=False))


def test_the_command_speaks_to_people_and_to_programs(tmp_path, capsys):
    file = tmp_path / "pan.csv"
    write_trajectory(path([[0, 0, 0], [0, 20, 0]]), file)
    assert cli.main(["tags", str(file)]) == 0
    assert "The camera pans right 20°." in (text := capsys.readouterr().out) and "static + yaw right" in text
    assert cli.main(["tags", str(file), "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    [segment] = row["segments"]
    assert segment["words"] == "pans right 20°" and segment["turn_degrees"]["right"] == pytest.approx(20, abs=1e-3)
    assert cli.main(["tags", str(file), "--published"]) == 0
    assert "remains static" in capsys.readouterr().out  # the threshold of the scores is 34 degrees here


def test_case_of_slow_turns(reference):
    file = reference / "cases" / "22-slow-pan-static" / "camera_extrinsics.json"
    pan, tilt = motions(read_trajectory(file, camera="all"))[:2]
    assert [motion.name for motion in pan] == ["static + yaw right"] and pan[0].words == "pans right 20°"
    assert [motion.name for motion in tilt] == ["static + pitch up"] and tilt[0].words == "tilts up 30°"
