"""The front door: loading by name and by folder, plans and films in a line, and who is told of the progress."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

import shotverse_jax
from shotverse_jax import api
from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.commands.common import Terminal
from shotverse_jax.config import CLIPTextConfig, GenDoPConfig, OPTConfig, planner_nano
from shotverse_jax.evaluation.features.stage_camera import StageCamera
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer import plan as planning
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.denoise import generate
from shotverse_jax.infer.gendop import GenDoPPlanner
from shotverse_jax.infer.outputs import write_plans
from shotverse_jax.infer.plan import Director
from shotverse_jax.inputs.tokenizer import train_text_tokenizer
from shotverse_jax.screenplay import write_screenplay
from shotverse_jax.views.video import probe_video
from shotverse_jax.weights import abstract, export, init


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A screenplay of two shots, its file, and cameras that satisfy it."""
    example = sample_example(5, num_shots=2)
    path = tmp_path_factory.mktemp("scene") / "play.yaml"
    write_screenplay(example.screenplay, path)
    return example.screenplay, path, example.trajectory


@pytest.fixture(scope="module")
def nano(tmp_path_factory, scene, drawn):
    """The folder of an untrained planner."""
    folder, config = tmp_path_factory.mktemp("planner"), planner_nano()
    tokenizer = train_text_tokenizer([scene[0].caption], config.text.vocab_size)
    tokenizer.save(str(folder / "tokenizer.json"))
    params = drawn(abstract("planner", config), 0)
    export("planner", params, config, folder / "nano", tokenizer_file=folder / "tokenizer.json")
    return folder / "nano"


def test_load_by_name_and_by_folder(nano, controller_folder):
    shipped = shotverse_jax.load("planner_small")
    assert isinstance(shipped, Director) and shipped.config.max_shots == 4
    assert isinstance(shotverse_jax.load(str(nano)), Director)
    assert isinstance(shotverse_jax.load(nano, "planner"), Director)
    crew = shotverse_jax.load(controller_folder, dtype="bfloat16")
    assert isinstance(crew, Cinematographer) and crew.design.execution.dtype == "bfloat16"
    assert isinstance(shotverse_jax.load("pose_small"), StageCamera)


def test_load_gendop(tmp_path):
    text = CLIPTextConfig(vocab_size=320, hidden_size=16, num_layers=1, num_heads=2, mlp_size=16, max_positions=6)
    decoder = OPTConfig(hidden_size=16, num_layers=1, num_heads=2, max_positions=340, dropout=0.0)
    config = GenDoPConfig(text, None, decoder)
    tokenizer = train_text_tokenizer(["pan left"], 300)
    tokenizer.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    params = jax.jit(lambda: init("gendop", config, jax.random.key(0)))()
    export("gendop", params, config, tmp_path / "gendop", tokenizer_file=tmp_path / "tokenizer.json")
    assert isinstance(shotverse_jax.load(tmp_path / "gendop"), GenDoPPlanner)
    play = sample_example(1, num_shots=1).screenplay
    one, two = shotverse_jax.plan(play, tmp_path / "gendop", samples=2)
    assert one.spans == two.spans == list(play.layout().spans)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("controller_small", "planner", "is a controller, not a planner"),
        ("planner_small", "controller", "is a planner, not a controller"),
        ("vae_small", None, "is a VAE, not a planner or controller"),
        ("planner_small", "vae", "no model of the kind 'vae' is used by itself"),
        ("nobody", "planner", r"no planner called nobody.*\(planner_small\)"),
        ("nobody", None, "called nobody.*controller_small, planner_small"),
    ],
)
def test_what_cannot_be_loaded_is_said(name, kind, words):
    with pytest.raises(ValueError, match=words):
        shotverse_jax.load(name, kind)


def test_a_folder_of_an_earlier_version_needs_its_kind(nano, tmp_path):
    folder = shutil.copytree(nano, tmp_path / "old")
    values = json.loads((folder / "config.json").read_text())
    del values["kind"]
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="does not name its kind; give one of planner, controller"):
        shotverse_jax.load(folder)
    assert isinstance(shotverse_jax.load(folder, "planner"), Director)
    assert len(shotverse_jax.plan(sample_example(5, num_shots=2).screenplay, folder)) == 1


def test_plans_are_those_of_the_director(nano, scene):
    play, path, _ = scene
    director = Director.load(str(nano))
    [wanted] = planning.plan(director, [play], seed=2, samples=2, candidates=director.usual_candidates)
    for model, screenplay in ((director, play), (nano, str(path))):
        planned = shotverse_jax.plan(screenplay, model, seed=2, samples=2)
        for ours, theirs in zip(planned, wanted, strict=True):
            np.testing.assert_array_equal(ours.pose_T34, theirs.pose_T34)
    [[drawn]] = planning.plan(director, [play], seed=2)
    [first] = shotverse_jax.plan(play, director, seed=2, candidates=1)
    np.testing.assert_array_equal(first.pose_T34, drawn.pose_T34)
    [greedy] = shotverse_jax.plan(play, director, sampling="greedy")
    assert np.abs(greedy.pose_T34 - wanted[0].pose_T34).max() > 0
    with pytest.raises(ValueError, match="a dict does not plan"):
        shotverse_jax.plan(play, {})
    with pytest.raises(ValueError, match="nucleus, top_k, greedy, got 'beam'"):
        shotverse_jax.plan(play, director, sampling="beam")


def test_a_film_is_made_written_and_told_about(nano, scene, controller_folder, tmp_path):
    play, path, trajectory = scene
    crew, events = Cinematographer.load(controller_folder), []
    made = shotverse_jax.film(path, trajectory, crew, seed=1, steps=2, progress=lambda *event: events.append(event))
    np.testing.assert_array_equal(made.latents_BTHWC, generate(crew, [made.take], seed=1, steps=2))
    assert [event[1:] for event in events[:2]] == [(0, 0)] * 2 and "frames become 17" in events[0][0]
    assert events[0][0] == made.take.notes[0] and events[1][0] == "filming 17 frames of 32x48 in 2 steps …"
    assert events[2:] == [("denoise", n, 2) for n in range(3)]
    assert made.frames_THWC.shape == (17, 32, 48, 3) and made.trajectory.spans == list(made.take.layout.spans)
    del events[:]
    made.write(tmp_path / "out", progress=lambda *event: events.append(event))
    assert [event for event in events if event[0] == "decode"] == [("decode", n, 17) for n in (1, 5, 9, 13, 17)]
    frames = len(trajectory)
    assert [event for event in events if event[0] == "preview"] == [
        ("preview", n, frames) for n in range(1, frames + 1)
    ]
    plan = {"preview.mp4", "trajectory.json", "trajectory.png"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == plan | {
        "cameras.json", "film.mp4", "film.png", "shot_1.mp4", "shot_2.mp4"
    }  # fmt: skip
    assert probe_video(tmp_path / "out" / "film.mp4").frames == 17

    write_trajectory(trajectory, tmp_path / "path.json", "shotverse")
    again = shotverse_jax.film(play, tmp_path / "path.json", controller_folder, seed=1, steps=2)
    np.testing.assert_allclose(again.latents_BTHWC, made.latents_BTHWC, atol=1e-3)


def test_a_film_without_cameras_plans_them(nano, scene, controller_folder):
    play, events = scene[0], []
    made = shotverse_jax.film(
        play, None, controller_folder, planner=nano, seed=4, steps=1, progress=lambda what, *_: events.append(what)
    )
    assert events[0] == "planning 2 shots …"
    [planned] = shotverse_jax.plan(play, nano, seed=4)
    np.testing.assert_array_equal(made.take.plan.pose_T34, planned.pose_T34)


def test_plans_are_published_as_a_whole(scene, tmp_path, monkeypatch):
    trajectory = scene[2]
    write_plans([trajectory], tmp_path / "one", preview=False)
    assert {p.name for p in (tmp_path / "one").iterdir()} == {"trajectory.json", "trajectory.png"}
    write_plans([trajectory] * 2, tmp_path / "two", preview=False)
    assert {p.name for p in (tmp_path / "two").iterdir()} == {"sample_0", "sample_1"}

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("shotverse_jax.infer.outputs.render_preview", fail)
    with pytest.raises(OSError, match="disk full"):
        write_plans([trajectory], tmp_path / "three")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


def test_the_terminal_shows_words_and_bars(capsys):
    terminal = Terminal(quiet=False)
    terminal("planning …", 0, 0)
    for done in (1, 5):
        terminal("decode", done, 5)
    terminal("preview", 3, 4)
    terminal("film", 8, 16)  # another piece of work ends the bar of the one before
    terminal("film", 16, 16)
    shown = capsys.readouterr().err
    assert shown.startswith("planning …\n") and "decode: " in shown and "preview: " in shown
    assert "/5 " in shown and "frame/s" in shown and "/16 " in shown and "film/s" in shown
    quiet = Terminal(quiet=True)
    quiet("planning …", 0, 0)
    quiet("decode", 1, 1)
    assert capsys.readouterr().err == ""


def test_the_package_is_imported_quickly_and_its_names_on_first_use():
    program = "import sys, shotverse_jax\nassert not {'jax', 'numpy', 'flax'} & set(sys.modules), 'a slow import'\n"
    program += "assert {'load', 'plan', 'film', '__version__'} <= set(dir(shotverse_jax))\n"
    program += "from shotverse_jax import film, load, plan\nassert plan.__module__ == 'shotverse_jax.api'\n"
    program += "from jax._src import xla_bridge\nassert not xla_bridge.backends_are_initialized()\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'score'"):
        _ = shotverse_jax.score
    assert api.plan is shotverse_jax.plan
