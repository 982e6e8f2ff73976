"""`shotverse cinematic compare`: films with adapters beside films without, the tables of them, estimated movements."""

import csv
import io
import json

import numpy as np
import pytest
import small_models
from PIL import Image

from shotverse_jax import cli
from shotverse_jax.camera import se3
from shotverse_jax.cinematic.clips import stage_clip
from shotverse_jax.cinematic.compare import SINGLE, WITHOUT, Case, Share, films_of, rows_of
from shotverse_jax.cinematic.estimates import OF_LENSES, OF_POSES, Motion, motion_of
from shotverse_jax.config import controller_small
from shotverse_jax.conversion.styles import write_styles
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.lora import Lora


@pytest.mark.parametrize("name", [*OF_POSES, *OF_LENSES])
def test_a_movement_is_told_from_a_noisy_path_with_wild_frames(name):
    clip, rng = stage_clip(name, 3), np.random.default_rng(0)
    pose_T34 = clip.trajectory.pose_T34.copy()
    noise_T33 = se3.so3_exp(rng.normal(scale=np.radians(1.0), size=(len(pose_T34), 3)))
    pose_T34[:, :, :3] = pose_T34[:, :, :3] @ noise_T33
    pose_T34[:, :, 3] += rng.normal(scale=0.02 * clip.distance, size=(len(pose_T34), 3))
    pose_T34[[4, 9]] = se3.look_at(np.array([0.0, -5.0, 3.0]), np.zeros(3))
    focal_T = clip.trajectory.intrinsics_T4[:, 0] * np.exp(rng.normal(scale=0.02, size=len(pose_T34)))
    focal_T[2] = np.nan
    assert motion_of(pose_T34, clip.distance, focal_T).movement == name


def test_motions_that_no_class_has():
    path, way = np.tile(np.eye(3, 4), (9, 1, 1)), np.linspace(0, 1, 9)
    path[:, 0, 3] = way
    assert motion_of(path, 3.0).movement is None and motion_of(path, 100.0).movement == "still"
    with pytest.raises(ValueError, match="two frames or more"):
        motion_of(path[:1], 3.0)


def test_the_films_of_a_comparison():
    cases = [Case.read("zoom-in"), Case.read("Pan left 0.5; low_angle")]
    films = films_of(cases, (WITHOUT, SINGLE, "switch"), 2, controller_small(), seed=7)
    assert len(films) == 2 * (3 + 4) and len({film.id for film in films}) == len(films)
    first, *alone, both = [film for film in films if film.case == "pan-left+low angle" and film.number == 1]
    assert [film.screenplay.shots[0].loras for film in (first, *alone, both)] == [
        (), (("Pan left", 0.5),), (("low_angle", None),), (("Pan left", 0.5), ("low_angle", None)),
    ]  # fmt: skip
    captions = {film.screenplay.shots[0].caption for film in (first, *alone, both)}
    assert len(captions) == 1 and captions.pop().endswith(", the camera pans left, low angle.")
    assert {film.seed for film in films} == {7, 8}
    with pytest.raises(ValueError, match="noir: films are compared by classes, and these are extreme close-up"):
        Case.read("noir")


def record(number, way, movement, nearest, case="pan-left", **motion):
    motion = {name: motion.get(name, 0.0) for name in Motion._fields}
    known = {"case": case, "classes": case.split("+"), "way": way, "number": number}
    return known | {"movement": movement, "motion": motion, "nearest": {"movement": nearest}}


def test_the_table_of_a_comparison():
    """Films are compared in pairs; one whose partner is missing does not count."""
    records = [record(n, WITHOUT, "still", "pan-right") for n in range(5)]
    records += [record(n, "merge", "pan-left", "pan-left" if n else "pan-right") for n in range(4)]
    [row] = rows_of(records, [Case.read("pan-left"), Case.read("still")], "merge", OF_POSES)
    assert (row.films, row.clip.without, row.clip.with_, row.clip.gain) == (4, 0, 0.75, 0.75)
    np.testing.assert_allclose(row.clip.error, 2 * 0.5 / 2)  # of 0, 1, 1, 1
    assert row.clip.clear and row.camera == Share(0, 1, 1, 0) and row.camera.clear
    assert row.values()["clip_error"] == 0.5 and row.values()["camera_clear"] is True
    [row] = rows_of(records, [Case.read("pan-left")], "merge", ())
    assert row.camera is None and row.values()["camera_gain"] is None
    assert not Share.of([True], [True]).clear
    both, one = {"pan": -9.0, "zoom": 0.5}, {"pan": -20.0, "zoom": 0.1}
    pair = [record(n, WITHOUT, "still", "still", "pan-left+zoom-in") for n in (0, 1)]
    pair += [
        record(n, "merge", "zoom-in", name, "pan-left+zoom-in", **motion)
        for n, name, motion in ((0, "pan-left", both), (1, "zoom-in", one))
    ]
    rows = rows_of(pair, [Case.read("pan-left, zoom-in")], "merge", OF_POSES + OF_LENSES)
    assert [(row.name, row.clip.with_, row.camera.with_) for row in rows] == [
        ("pan-left", 0.5, 1.0), ("zoom-in", 0.5, 0.5), ("all", 0.0, 0.5),
    ]  # fmt: skip


def test_the_command(controller_folder, tmp_path, capsys):
    """Films, a table and a sheet; the same line again makes nothing and shows the same table in another form."""
    crew, many, out = Cinematographer.load(controller_folder), tmp_path / "styles.safetensors", tmp_path / "out"
    write_styles(many, [Lora("low angle", 1.0, {"high": small_models.change(crew.high, 0)})])
    (tmp_path / "prompts.txt").write_text("A red car.\n\n")
    line = ["cinematic", "compare", "low-angle", "--out", str(out), "--model", str(controller_folder), "--films", "2"]
    line += ["--judge", str(small_models.camera_clip(tmp_path)), "--poses", "none", "--lora", str(many)]
    line += ["--prompts", str(tmp_path / "prompts.txt"), "--steps", "2", "--cfg", "1"]
    assert cli.main([*line, "--json"]) == 0
    shown = capsys.readouterr()
    [row] = json.loads(shown.out)
    assert (row["case"], row["films"], row["camera_gain"]) == ("low angle", 2, None)
    assert "is told that the camera stays" in shown.err and "4 made" in shown.err
    made = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/film.mp4")}
    assert set(made) == {f"low angle {way} {n:03d}" for way in (WITHOUT, "merge") for n in (0, 1)}
    record = json.loads((out / "low angle merge 001" / "result.json").read_text())
    assert record["caption"] == "A red car, low angle." and record["weights"]["shots"][0]["asked"] == {"low angle": 0.8}
    assert set(record["nearest"]) == {"framing", "angle", "movement"} and set(record["cosine"]) == {"low angle"}
    with Image.open(out / "low angle.png") as sheet:
        assert sheet.width > 1000
    assert cli.main([*line, "--csv", "--quiet"]) == 0
    [again] = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert {name: value or None for name, value in again.items()} == {
        name: None if value is None else str(value) for name, value in row.items()
    }
    assert {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/film.mp4")} == made


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--json", "--csv"], "--json and --csv are two forms of one table"),
        (["--scorer", "x"], "--scorer and --choose are for --compose cliplora"),
        (["--prompts", "nothing.txt"], "nothing.txt does not exist; give a file of prompts"),
        (["--config.steps=3"], "--config.steps=3 is a value of a training; compare has none"),
        (["--judge", "nowhere"], "no CLIP called nowhere"),
    ],
)
def test_what_is_refused(more, said, tmp_path, capsys):
    assert cli.main(["cinematic", "compare", "--out", str(tmp_path / "out"), *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
