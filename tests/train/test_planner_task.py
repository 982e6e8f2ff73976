"""What a planner's run begins with, and what it keeps of its text tokenizer from one start to the next."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.config import Execution, PlannerTrainConfig, planner_nano
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.inputs.tokenizer import PIN, load_text_tokenizer
from shotverse_jax.models.planner import Planner
from shotverse_jax.parallel.mesh import make_mesh
from shotverse_jax.screenplay import Screenplay, Shot, write_screenplay
from shotverse_jax.train.state import init_state, make_optimizer
from shotverse_jax.train.step import make_train_step
from shotverse_jax.train.tasks import planner
from shotverse_jax.weights import export, find, find_tokenizer, init, load


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts the run, without making its parameters."""
    monkeypatch.setattr(planner, "make_variables", lambda *_: {"params": {}})

    def build(base_weights="", **training):
        config = PlannerTrainConfig(model=planner_nano(), base_weights=base_weights, bpe_examples=20, **training)
        return planner.build(config, folder)

    folder = tmp_path / "run"
    folder.mkdir()
    return build, folder


def test_a_tokenizer_is_learned_once_and_noted(start):
    build, folder = start
    build()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {PIN, "tokenizer.json"}
    build(steps=700)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_refuses_another_tokenizer(start, tmp_path):
    build, folder = start
    build()
    tokenizer = load_text_tokenizer(folder / "tokenizer.json")
    other = tmp_path / "base" / "tokenizer.json"
    other.parent.mkdir()
    tokenizer.add_tokens(["another"])
    tokenizer.save(str(other))
    refused = functools.partial(pytest.raises, ValueError, match="was started with another text tokenizer")
    with refused():
        build(base_weights=str(other.parent))
    kept = (folder / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_bytes(other.read_bytes())
    with refused() as caught:
        build()
    assert "\n" not in str(caught.value) and PIN in str(caught.value)
    (folder / "tokenizer.json").write_bytes(kept)
    build()


def test_a_planner_to_go_on_from(tmp_path):
    config = planner_nano()
    run = PlannerTrainConfig(model=config, base_weights=str(tmp_path / "base"), path_weight=1.0)
    params = jax.jit(lambda: init("planner", config, jax.random.key(3)))()
    export("planner", params, config, tmp_path / "base", tokenizer_file=find_tokenizer("planner_small"))
    config = dataclasses.replace(config, tokens=dataclasses.replace(config.tokens, path="step"))
    mesh = make_mesh(run.mesh)
    variables = planner.make_variables(Planner(config, Execution()), run, mesh)
    assert variables.keys() == {"params", "path_probe"}
    jax.tree.map(np.testing.assert_array_equal, variables["params"], load("planner", tmp_path / "base")[1])
    other = dataclasses.replace(config, num_queries=3)
    with pytest.raises(ValueError, match="another size than the config's.*'num_queries': 2"):
        planner.make_variables(Planner(other, Execution()), dataclasses.replace(run, model=other), mesh)
    assert planner.find_base("planner_small") == (find("planner", "planner_small"), True)
    with pytest.raises(ValueError, match="no_such"):
        planner.find_base("no_such")


def test_a_run_from_before_the_note_goes_on_and_gets_one(start):
    build, folder = start
    build()
    note = (folder / PIN).read_bytes()
    (folder / PIN).unlink()
    build()
    assert (folder / PIN).read_bytes() == note


def test_scenes_of_ones_own(start, tmp_path):
    build, folder = start
    example = sample_example(0, num_shots=2)
    play = Screenplay("A man in a red coat.", (Shot("The camera pushes in."), Shot("The camera pans left.")))
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        write_screenplay(play, tmp_path / split / "a.yaml")
        write_trajectory(example.trajectory, tmp_path / split / "a.trajectory.json")
    data = {"data": str(tmp_path / "train"), "test_data": str(tmp_path / "test")}
    task = build(single_shot_steps=3, text_lengths=(80, 250), shot_weights=(1.0, 1.0), **data)
    tokenizer = load_text_tokenizer(folder / "tokenizer.json")
    assert tokenizer.get_vocab_size() < planner_nano().text.vocab_size  # learned from these few captions
    for split in ("train", "test"):
        shots, batch = task.source(split, 1)[0]
        assert shots == 2 and batch["text_ids_BS"].shape == (32, 250)  # there are no single shots to begin with
    with pytest.raises(ValueError, match="data and test_data go together"):
        build(data=data["data"])
    write_trajectory(dataclasses.replace(example.trajectory, stage_34=None), tmp_path / "test" / "a.trajectory.json")
    with pytest.raises(ValueError, match='model.tokens.origin="none"'):
        build(**data)


def test_parts_with_unequal_numbers_of_targets_are_one_batch():
    config, run = planner_nano(), PlannerTrainConfig(warmup=0)
    network, rng = Planner(config, Execution()), np.random.default_rng(0)
    lengths_B = np.array([4, 24, 6, 19])  # of which parts take the first and third, the second and fourth
    batch = {
        "text_ids_BS": rng.integers(3, 500, (4, 5)).astype(np.int32),
        "slot_BS": np.tile(np.int32([-1, -1, -1, 0, 1]), (4, 1)),
        "real_BS": np.ones((4, 5), bool),
        "pose_ids_BN": np.where(np.arange(24) < lengths_B[:, None], rng.integers(1, 250, (4, 24)), 0).astype(np.int32),
    }
    optimizer, schedule = make_optimizer(run)
    variables = jax.device_get(jax.jit(lambda: {"params": init("planner", config, jax.random.key(0))})())
    found = []
    for parts in (1, 2):
        loss, statistics = planner.make_loss(network, run), planner.count_targets
        step = make_train_step(loss, optimizer, schedule, 0.0, accumulate=parts, batch_statistics=statistics)
        state = init_state(jax.device_put(variables), optimizer, ema=False)
        state, metrics = step(state, {}, batch, jax.random.key(0), bucket=1)
        found.append(jax.device_get((state.opt_state[1][0].mu, metrics)))  # the gradients, a tenth of them
    (grads, one), (parted, other) = found
    for name in ("loss", "ce", "accuracy", "code_penalty", "grad_norm"):
        np.testing.assert_allclose(other[name], one[name], rtol=1e-5)
    for a, b in zip(jax.tree.leaves(parted), jax.tree.leaves(grads), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)
