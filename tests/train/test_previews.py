"""Previews of runs under way: what they film with which network, what they write, and that training is the same."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.config import ControllerConfig, LoraConfig
from shotverse_jax.configs.controller import common
from shotverse_jax.configs.planner import nano
from shotverse_jax.data.records import write_dataset
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.screenplay import read_screenplay, write_screenplay
from shotverse_jax.train import build, read_config, train
from shotverse_jax.train.metrics import read_metrics
from shotverse_jax.train.state import merge
from shotverse_jax.train.tasks import controller
from shotverse_jax.views.video import probe_video
from shotverse_jax.weights import abstract, export, load
from shotverse_jax.weights.folder import read_config as folder_config

ROOT = Path(__file__).parents[2]
PROMPT = (
    "[global caption] A man. This scene contains 2 shots. [per shot caption] Push in. [shot cut] The camera pans left."
)


@pytest.fixture(scope="module")
def example():
    return sample_example(5, num_shots=2)


@pytest.fixture(scope="module")
def play(example, tmp_path_factory):
    path = tmp_path_factory.mktemp("play") / "play.yaml"
    write_screenplay(example.screenplay, path)
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("films"), np.random.default_rng(0)
    film = {
        "pose_T34": np.tile(np.eye(3, 4, dtype=np.float32), (3, 1, 1)),
        "shot_T": np.array([0, 0, 1], np.int32),
        "prompt": PROMPT,
    }
    write_dataset(folder, [film | {"latents": rng.normal(size=(3, 2, 4, 4)).astype(np.float16)} for _ in range(2)], {})
    return folder


@pytest.fixture(scope="module")
def base(controller_folder, films, tmp_path_factory):
    """A base model of random weights, and the values of runs that adapt it."""
    folder, model = (
        tmp_path_factory.mktemp("base"),
        dataclasses.asdict(folder_config(controller_folder, ControllerConfig)),
    )
    model["lora"] = dataclasses.asdict(LoraConfig(2, 2.0, targets=("q_proj", "ffn_in")))
    model["steps"] = 2
    options = {"data": str(films), "test_data": str(films), "batch": 2, "ema": 0.5, "warmup": 0, "lr": 1e-2}
    values = common.get_config(**options, steps=2, log_every=1, eval_every=2, eval_batches=1).to_dict()
    values |= {"model": model, "base_weights": str(folder)}
    from_text = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "head_dim": 8, "mlp_size": 32}
    with pytest.MonkeyPatch.context() as patch:
        text = dataclasses.replace(controller.TEXT_ENCODERS["text_small"](), **from_text)
        patch.setitem(controller.TEXT_ENCODERS, "text_small", lambda: text)
        config, rng = read_config(values).model, np.random.default_rng(0)
        shapes = abstract("controller", config, expert="base")
        drawn = jax.tree.map(lambda leaf: 0.1 * rng.normal(size=leaf.shape), shapes)
        export("controller", drawn, config, folder, expert="base")
        yield values, folder


@pytest.fixture
def planned(monkeypatch, example):
    """The planner that ships need not be run."""
    monkeypatch.setattr(controller.Director, "load", lambda name: None)
    monkeypatch.setattr(controller, "plan", lambda director, screenplays: [[example.trajectory]])


def run(values, folder):
    """(last state, metrics without times)."""
    state = train(build(read_config(values), folder), folder)
    records = read_metrics(folder / "metrics.jsonl")
    return state, [{name: r[name] for name in ("step", "kind", "loss")} for r in records]


def same(first, second):
    assert first[1] == second[1]
    pairs = zip(jax.tree.leaves(first[0]), jax.tree.leaves(second[0]), strict=True)
    assert all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def written(folder):
    return sorted(path.name for path in (folder / "previews").iterdir())


def is_picture(path):
    return np.asarray(Image.open(path)).std() > 10


@pytest.mark.slow
def test_a_planners_run_plans_and_learns_the_same(play, tmp_path):
    values = nano.get_config(
        steps=2,
        lr=3e-2,
        warmup=0,
        bpe_examples=20,
        shot_weights=(1.0,),
        text_lengths=(112,),
        eval_batches=1,
        log_every=1,
    ).to_dict()
    values["model"]["max_text_tokens"] = 2000
    seen = run(values | {"preview_every": 1, "preview": str(play)}, tmp_path / "seen")
    assert written(tmp_path / "seen") == ["1.json", "1.png", "2.json", "2.png"]
    assert is_picture(tmp_path / "seen" / "previews" / "2.png")
    plans = [read_trajectory(tmp_path / "seen" / "previews" / f"{step}.json") for step in (1, 2)]
    assert [plan.num_shots for plan in plans] == [2, 2]
    assert not np.allclose(plans[0].pose_T34, plans[1].pose_T34)  # by other parameters
    same(seen, run(values, tmp_path / "unseen"))
    assert not (tmp_path / "unseen" / "previews").exists()


@pytest.mark.slow
def test_a_controllers_run_films_and_learns_the_same(base, play, planned, tmp_path):
    values = base[0] | {"expert": "high"}
    seen = run(values | {"preview_every": 2, "preview": str(play)}, tmp_path / "seen")
    assert written(tmp_path / "seen") == ["2.mp4", "2.png"]
    film = probe_video(tmp_path / "seen" / "previews" / "2.mp4")
    assert (film.frames, film.height, film.width) == (17, 256, 384)
    assert is_picture(tmp_path / "seen" / "previews" / "2.png")
    same(seen, run(values, tmp_path / "unseen"))


@pytest.fixture
def filmed(base, play, planned, monkeypatch, tmp_path):
    """The cinematographer of the preview of a run's first parameters, each of them moved by 0.1."""

    def film(**changes):
        cinematographers = []

        def generate(cinematographer, takes):
            cinematographers.append(cinematographer)
            return np.zeros((1, 5, 4, 6, 4), np.float32)

        monkeypatch.setattr(controller, "generate", generate)
        values = base[0] | {"preview_every": 1, "preview": str(play)} | changes
        task = build(read_config(values), tmp_path)
        moved = jax.tree.map(lambda leaf: leaf + 0.1, task.trainable)
        preview = task.make_preview(read_screenplay(play), tmp_path / "previews")
        preview(7, merge(moved, task.frozen))
        assert written(tmp_path) == ["7.mp4", "7.png"]
        return cinematographers[0], task, moved

    return film


@pytest.mark.parametrize("stage", ["high", "low"])
def test_the_base_model_films_what_the_expert_does_not(filmed, stage):
    crew, task, moved = filmed(expert=stage)
    assert crew.design.experts == (("high", "base") if stage == "high" else ("base", "low"))
    trained, other = (crew.high, crew.low) if stage == "high" else (crew.low, crew.high)
    frozen = task.frozen["params"]["dit"]["blocks"]["ffn_in"]["kernel"]
    adapter = moved["lora"]["dit"]["blocks"]["ffn_in"]["adapter"]
    np.testing.assert_allclose(trained["blocks"]["ffn_in"]["kernel"], frozen + adapter.a @ adapter.b, atol=1e-5)
    np.testing.assert_array_equal(other["blocks"]["ffn_in"]["kernel"], frozen)
    assert "camera" not in other["blocks"] and ("camera" in trained["blocks"]) == (stage == "high")
    assert crew.text["embedding"] is task.frozen["params"]["text"]["embedding"]


def test_a_base_model_films_alone(base, filmed):
    crew, _, moved = filmed(expert="base", model=base[0]["model"] | {"text": "text_small"})
    assert crew.design.experts == ("base", "base") and crew.high is crew.low
    assert crew.high["head"]["kernel"] is moved["params"]["dit"]["head"]["kernel"]
    assert crew.text["embedding"] is moved["params"]["text"]["embedding"]


def test_the_other_expert_may_have_a_base_of_its_own(base, filmed, tmp_path):
    values, folder = base
    dit = load("controller", folder, expert="base")[1]
    other = tmp_path / "other"
    export("controller", jax.tree.map(lambda leaf: leaf + 1, dit), read_config(values).model, other, expert="base")
    crew, *_ = filmed(expert="low", preview_weights=str(other))
    assert np.abs(crew.high["head"]["bias"] - dit["head"]["bias"] - 1).max() < 1e-2
    model = values["model"] | {"dit": values["model"]["dit"] | {"rope_theta": 7.0}}
    export("controller", dit, read_config(values | {"model": model}).model, other, expert="base")
    with pytest.raises(ValueError, match="other is another network than the one that is trained"):
        filmed(expert="low", preview_weights=str(other))


def test_what_is_missing_is_said_before_the_first_step(base, play, planned, tmp_path):
    def start(model=None, **changes):
        values = base[0] | {"preview_every": 1, "preview": str(play)} | changes
        values["model"] = values["model"] | (model or {})
        train(build(read_config(values), tmp_path), tmp_path)

    with pytest.raises(ValueError, match="no VAE called nowhere"):
        start(model={"vae": "nowhere"})
    with pytest.raises(ValueError, match="nowhere.yaml"):
        start(preview="nowhere.yaml")
    with pytest.raises(ValueError, match="17 frames|needs|need at least"):
        start(model={"frames": 5})
    with pytest.raises(ValueError, match="no controller called nowhere"):
        start(preview_weights="nowhere")
    task = dataclasses.replace(build(read_config(base[0] | {"preview_every": 1}), tmp_path), make_preview=None)
    with pytest.raises(ValueError, match="has no previews; set preview_every=0"):
        train(task, tmp_path)
    assert not (tmp_path / "run.json").exists()


def test_the_screenplay_that_ships_is_found_anywhere(base, monkeypatch, tmp_path):
    """Also where no checkout is: the working folder of a run may be any."""

    class Seen(Exception):
        """Holds the screenplay that a preview would be made of."""

    def make_preview(screenplay, folder):
        raise Seen(screenplay)

    task = build(read_config(base[0] | {"preview_every": 1}), tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Seen) as caught:
        train(dataclasses.replace(task, make_preview=make_preview), tmp_path)
    assert caught.value.args[0] == read_screenplay(ROOT / "examples" / "last_train.yaml")


@pytest.mark.slow
@pytest.mark.shipped
def test_two_processes_film_together(base, play, tmp_path):
    """Each has half of every parameter; the first writes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        told = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free.getsockname()[1]}", "JAX_NUM_PROCESSES": "2"}
    config, work = tmp_path / "config.py", tmp_path / "run"
    values = base[0] | {"preview_every": 2, "preview": str(play), "mesh": {"data": 1, "fsdp": 2}}
    lines = ["import json", "from ml_collections import ConfigDict", "", "", "def get_config():"]
    config.write_text("\n".join([*lines, f"    return ConfigDict(json.loads({json.dumps(values)!r}))", ""]))
    told |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    command = [sys.executable, "-m", "launch.train", f"--config={config}", f"--workdir={work}"]
    started = [
        subprocess.Popen(command, env=os.environ | told | {"JAX_PROCESS_ID": rank}, cwd=ROOT, stderr=subprocess.PIPE)
        for rank in "01"
    ]
    try:
        said = [process.communicate(timeout=600)[1].decode()[-3000:] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], said
    assert written(work) == ["2.mp4", "2.png"] and is_picture(work / "previews" / "2.png")
