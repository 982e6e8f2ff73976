"""Runs: resumption to the last digit, stopping on a signal, learning, and giving up on non-finite steps."""

import dataclasses
import os
import signal
import time

import jax
import numpy as np
import pytest

from shotverse_jax.config import Execution, TrainConfig, planner_nano
from shotverse_jax.data.planner_source import PlannerSource
from shotverse_jax.files import locked
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.inputs.tokenizer import stage_captions, train_text_tokenizer
from shotverse_jax.models.planner import Planner
from shotverse_jax.train import Task, train
from shotverse_jax.train.metrics import read_metrics
from shotverse_jax.train.state import make_optimizer
from shotverse_jax.train.step import Steps, make_eval_step, make_train_step
from shotverse_jax.train.tasks.planner import planner_loss
from shotverse_jax.weights import init

CONFIG = dataclasses.replace(
    planner_nano(), decoder=dataclasses.replace(planner_nano().decoder, dropout=0.1)
)  # dropout, so that resumption has randomness to get right
RUN = TrainConfig(
    steps=10,
    batch=4,
    lr=3e-3,
    warmup=2,
    ema=0.9,
    log_every=1,
    eval_every=5,
    eval_batches=2,
    checkpoint_every=100,
)


class Bench:
    """One compiled step, shared by the tests of this file."""

    def __init__(self, folder):
        tokenizer = folder / "tokenizer.json"
        train_text_tokenizer(stage_captions(sample_example, 50), CONFIG.text.vocab_size).save(str(tokenizer))
        self.source = PlannerSource(CONFIG, str(tokenizer), sample_example, "train", 0, RUN.batch, 1000, (1.0,), (112,))
        planner = Planner(CONFIG, Execution())
        self.variables = jax.device_get(jax.jit(lambda: {"params": init("planner", CONFIG, jax.random.key(0))})())

        def loss_fn(variables, batch, bucket, key):
            rngs = None if key is None else {"dropout": key}
            logits, codes = planner.apply(variables, batch, bucket, deterministic=key is None, rngs=rngs)
            return planner_loss(logits, codes, batch["pose_ids_BN"], CONFIG.code_penalty)

        self.loss_fn = loss_fn
        self.steps = Steps(make_train_step(loss_fn, *make_optimizer(RUN), RUN.ema), make_eval_step(loss_fn))

    def run(self, folder, config=RUN, variables=None, step=None, wrap=None, preview=None):
        """wrap(batches, start): what becomes of the training batches. step: in place of the compiled one."""

        class Wrapped(Task):
            def batches(self, split, start=0):
                found = super().batches(split, start)
                return wrap(found, start) if wrap and split == "train" else found

        task = Wrapped(
            config=config,
            trainable=jax.tree.map(jax.numpy.asarray, self.variables if variables is None else variables),
            frozen={},
            loss=self.loss_fn,
            source=lambda split, steps: dataclasses.replace(self.source, split=split, num_steps=steps),
            export=None,
            make_preview=lambda screenplay, folder: preview,
        )
        return train(task, folder, dataclasses.replace(self.steps, train=step or self.steps.train))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def whole(bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return bench.run(folder), read_metrics(folder / "metrics.jsonl")


def trace(records):
    return [(r["step"], r["kind"], r["loss"]) for r in records if r["kind"] != "resume"]


def test_stopped_by_sigterm_and_resumed_equals_uninterrupted_to_the_last_digit(bench, whole, tmp_path):
    def stopping(batches, start):
        for i, batch in enumerate(batches):
            if start + i == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    before = signal.getsignal(signal.SIGTERM)
    state = bench.run(tmp_path, wrap=stopping)
    assert int(state.step) == 4 and (tmp_path / "checkpoints" / "4").is_dir()
    assert signal.getsignal(signal.SIGTERM) is before
    state = bench.run(tmp_path)
    assert int(state.step) == 10
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [r["step"] for r in records if r["kind"] == "resume"] == [4]
    assert trace(records) == trace(whole[1])
    for ours, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(whole[0]), strict=True):
        assert (np.asarray(ours) == np.asarray(theirs)).all()


def test_two_runs_in_one_folder(bench, tmp_path):
    with locked(tmp_path), pytest.raises(ValueError, match="another process is writing to"):
        bench.run(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_finished_run_started_again_does_nothing(bench, tmp_path):
    config = dataclasses.replace(RUN, steps=2)
    bench.run(tmp_path, config)
    before = (tmp_path / "metrics.jsonl").read_text()
    assert int(bench.run(tmp_path, config).step) == 2
    assert '"resume"' in (tmp_path / "metrics.jsonl").read_text().removeprefix(before)


def test_metrics_hold_what_the_progress_line_and_plots_need(whole):
    train_record = next(r for r in whole[1] if r["kind"] == "train")
    assert {"loss", "ce", "accuracy", "grad_norm", "lr", "samples_per_second", "bad_steps"} <= set(train_record)
    evaluations = [r for r in whole[1] if r["kind"] == "eval"]
    assert [r["step"] for r in evaluations] == [5, 10]
    assert evaluations[0]["loss_1"] == evaluations[0]["loss"]


def test_previews_see_the_average_and_change_nothing(bench, whole, tmp_path):
    seen = []

    def preview(step, variables):
        evaluated = [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl") if r["kind"] == "eval"]
        seen.append((step, evaluated, jax.device_get(variables)))
        time.sleep(1.5)

    state = bench.run(tmp_path, dataclasses.replace(RUN, preview_every=5), preview=preview)
    assert [(step, evaluated) for step, evaluated, _ in seen] == [(5, [5]), (10, [5, 10])]
    for shown, average, alone in zip(*map(jax.tree.leaves, (seen[-1][2], state.ema, whole[0].ema)), strict=True):
        assert (shown == np.asarray(average)).all() and (shown == np.asarray(alone)).all()
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert trace(records) == trace(whole[1])
    after = [r["step_seconds"] for r in records if r["kind"] == "train" and r["step"] > 5]
    assert max(after) < 1.5  # a preview is no part of the step after it


def test_four_examples_are_learned_by_heart(bench, tmp_path):
    fixed = bench.source[0]
    config = dataclasses.replace(RUN, steps=150, log_every=10, eval_every=1000, eval_batches=1)
    optimizer, schedule = make_optimizer(dataclasses.replace(config, lr=2e-2, warmup=10))
    step = make_train_step(lambda v, b, k, _: bench.loss_fn(v, b, k, None), optimizer, schedule, 0.9)
    bench.run(tmp_path, config, step=step, wrap=lambda batches, start: iter(lambda: fixed, None))
    losses = [r["loss"] for r in read_metrics(tmp_path / "metrics.jsonl") if r["kind"] == "train"]
    assert losses[0] > 2.5 and losses[-1] < 0.3, losses


def test_a_run_that_stays_non_finite_stops_and_saves_nothing_of_it(bench, tmp_path):
    poisoned = jax.tree.map(lambda x: np.full_like(x, np.nan), bench.variables)
    message = r"3 steps in a row up to step 3 .* gradient of params/decoder/embed"
    with pytest.raises(FloatingPointError, match=message):
        bench.run(tmp_path, dataclasses.replace(RUN, max_bad_steps=3), variables=poisoned)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_nothing_is_compiled_after_the_second_step(bench, tmp_path, caplog):
    """A recompilation within a run costs minutes at scale, and nothing tells of it."""
    compiled = []

    def counted(batches, start):
        for batch in batches:
            compiled.append(sum(record.getMessage().startswith("Compiling") for record in caplog.records))
            yield batch

    jax.clear_caches()
    with jax.log_compiles(), caplog.at_level("WARNING", logger="jax"):
        bench.run(tmp_path, dataclasses.replace(RUN, steps=6, eval_every=2, checkpoint_every=2), wrap=counted)
    # When step n is asked for, all that steps before it needed is compiled: those of steps 3 to 6 nothing more.
    assert len(compiled) == 6 and compiled[1] > 0
    assert compiled[2:] == [compiled[2]] * 4


def test_a_hidden_transfer_within_a_step_is_refused(bench, tmp_path):
    def step(state, frozen, batch, key, bucket):
        return state, {"loss": jax.numpy.sin(np.ones(3))}  # an array of the host, sent along unseen

    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        bench.run(tmp_path, step=step)
