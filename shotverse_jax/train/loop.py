"""The training loop: the only place with a clock, a disk and a signal handler."""

import contextlib
import signal
import time
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

from shotverse_jax.config import TrainConfig
from shotverse_jax.train.checkpoint import Checkpoints, flatten
from shotverse_jax.train.metrics import MetricsWriter
from shotverse_jax.train.placement import Placement
from shotverse_jax.train.state import TrainState, merge

PROGRESS = ("loss", "accuracy", "samples_per_second", "mfu")


def train(
    config: TrainConfig,
    folder: str | Path,
    state: TrainState,
    frozen: dict,
    train_step: Callable,
    eval_step: Callable,
    train_batches: Callable[[int], Iterator],
    eval_batches: Callable[[], Iterator],
    place: Placement | None = None,
    ideal: Callable[[Hashable], float] | None = None,
    preview: Callable[[int, dict], None] | None = None,
) -> TrainState:
    """Trains until `config.steps`, from the newest checkpoint in `folder` when there is one; → last state.

    train_batches(start) yields (layout, batch) from that step on; eval_batches() yields the held-out batches. A layout
    is what of a batch is compiled in (the number of shots of the planner's), hashable; None where there is nothing.
    `folder` gets checkpoints/ and metrics.jsonl. SIGTERM and SIGINT save and return early (`state.step` tells). `place`
    is what the steps were made with: where everything lies on the mesh of the run. `ideal(layout)`: seconds that a step
    takes at the peak of all devices; with it metrics have `mfu`, its share of the time that steps took.
    preview(step, variables) is called on all processes each `config.preview_every` steps, with the averaged parameters.

    Raises:
        ValueError: a mesh that is not of all devices, a batch that does not divide over it, or a damaged checkpoint.
        FloatingPointError: `config.max_bad_steps` steps in a row were not finite; nothing of them was saved.
    """
    folder = Path(folder)
    place = place or Placement.of(config, state, frozen)
    state, frozen = place.put(state, frozen)
    # Made where it lies: a key cannot be put onto devices of other processes.
    key = jax.jit(lambda: jax.random.key(config.seed), out_shardings=place.replicated)()
    checkpoints = Checkpoints(folder / "checkpoints")
    log = _Log(config, folder, ideal)
    if checkpoints.latest is not None:
        state = checkpoints.restore(state)
        log.writer.write(int(state.step), "resume", {})
    start = step = int(state.step)
    saved_step, saved_time = step, time.monotonic()

    with _stop_signal() as stopped, contextlib.closing(checkpoints), contextlib.closing(log):
        log.start(step)
        batches = train_batches(start) if start < config.steps else iter(())
        while step < config.steps:
            with log.waiting():
                layout, batch = next(batches)
            batch = place.put_batch(batch)
            with jax.transfer_guard("disallow"):
                state, metrics = train_step(state, frozen, batch, key, layout)
            step += 1
            log.step(step, metrics, layout, state)
            stop = _agreed(stopped, step % config.log_every == 0)
            if step % config.eval_every == 0 or step == config.steps:
                log.evaluate(step, evaluate(eval_step, state, frozen, eval_batches(), place))
            if preview and not stop and step % config.preview_every == 0:
                with log.paused(state):
                    preview(step, merge(state.averaged, frozen))
            minutes = (time.monotonic() - saved_time) / 60
            by_clock = jax.process_count() == 1 and minutes >= config.checkpoint_minutes
            if stop or by_clock or step % config.checkpoint_every == 0:
                log.check_finite()
                checkpoints.save(step, state, wait=stop)
                saved_step, saved_time = step, time.monotonic()
            if stop:
                break
        if saved_step < step:
            log.check_finite()
            checkpoints.save(step, state, wait=True)
    return state


def evaluate(eval_step: Callable, state: TrainState, frozen: dict, batches: Iterator, place: Placement) -> dict:
    """Mean metrics of the averaged parameters over `batches`, with the loss for each layout."""
    records = []
    for layout, batch in batches:
        metrics = eval_step(state.averaged, frozen, place.put_batch(batch), layout)
        part = {} if layout is None else {"loss_" + "-".join(map(str, np.atleast_1d(layout))): metrics["loss"]}
        records.append({**metrics, **part})
    return _mean(jax.device_get(records))


class _Log:
    """Progress line and metrics file; metrics stay on the device until `log_every` steps are there.

    All processes read the metrics, which are the same for all, and so end alike; only the first says and writes them.
    """

    def __init__(self, config: TrainConfig, folder: Path, ideal: Callable[[Hashable], float] | None):
        self._quiet = jax.process_index() != 0
        self.writer = MetricsWriter(folder, self._quiet)
        self._config, self._ideal = config, ideal
        self._pending: list[dict] = []
        self._leaves: list[str] = []
        self._least = self._waited = 0.0

    def start(self, step: int) -> None:
        steps = self._config.steps
        self._bar = tqdm(total=steps, initial=step, unit="step", disable=self._quiet, mininterval=1.0)
        self._step, self._since = step, time.monotonic()

    @contextlib.contextmanager
    def waiting(self):
        """Around what only waits for data."""
        before = time.monotonic()
        yield
        self._waited += time.monotonic() - before

    @contextlib.contextmanager
    def paused(self, state: TrainState):
        """Around what is no part of the time of steps, once those that led to `state` are done."""
        jax.block_until_ready(state)
        before = time.monotonic()
        yield
        self._since += time.monotonic() - before

    def step(self, step: int, metrics: dict, layout: Hashable, state: TrainState) -> None:
        self._leaves = self._leaves or list(flatten(state.params))
        self._pending.append(metrics)
        self._least += self._ideal(layout) if self._ideal else 0.0
        self._step = step
        self._bar.update()
        if step % self._config.log_every == 0:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        records = jax.device_get(self._pending)
        count, seconds = len(records), time.monotonic() - self._since
        bad = [r for r in records if r["bad_steps"]]
        values = _mean([r for r in records if not r["bad_steps"]])
        values.pop("bad_leaf", None)
        values["bad_steps"] = len(bad)
        values["step_seconds"], values["data_seconds"] = seconds / count, self._waited / count
        values["samples_per_second"] = self._config.batch * count / seconds
        if self._ideal:
            values["mfu"] = self._least / seconds
        self._since, self._least, self._waited, self._pending = time.monotonic(), 0.0, 0.0, []
        self.writer.write(self._step, "train", values)
        self._bar.set_postfix({name: f"{values[name]:.4g}" for name in PROGRESS if name in values})
        for i, record in enumerate(records):
            if record["bad_steps"] >= self._config.max_bad_steps:
                self._give_up(self._step - count + 1 + i, record)

    def _give_up(self, step: int, record: dict) -> None:
        expert = getattr(self._config, "expert", None)  # which expert of a controller is trained
        where = f" of the expert {expert!r}" if expert else ""
        raise FloatingPointError(
            f"{int(record['bad_steps'])} steps in a row up to step {step}{where} were not finite, first in the "
            f"gradient of {self._leaves[int(record['bad_leaf'])]}; lower the learning rate and resume from the last "
            "checkpoint"
        )

    def check_finite(self) -> None:
        """Raises FloatingPointError where the steps since the last line say so."""
        self._flush()

    def evaluate(self, step: int, values: dict[str, float]) -> None:
        self._flush()
        self.writer.write(step, "eval", values)
        if not self._quiet:
            shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
            tqdm.write(f"step {step}  held out: {shown}")
        self._since = time.monotonic()

    def close(self) -> None:
        self._bar.close()
        self.writer.close()


def _mean(records: list[dict]) -> dict[str, float]:
    """Of every metric over the records that have it; NaN stands for nothing to say."""
    found: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.items():
            found.setdefault(name, []).extend([] if np.isnan(value) else [value])
    return {name: float(np.mean(values)) for name, values in sorted(found.items()) if values}


@contextlib.contextmanager
def _stop_signal():
    """Yields a list that is no longer empty once SIGTERM or SIGINT has come."""
    received: list[int] = []
    before = {s: signal.signal(s, lambda number, _: received.append(number)) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _agreed(stopped: list[int], sync: bool) -> bool:
    """Whether to stop: with several hosts, all answer alike, asked only when `sync`."""
    if jax.process_count() == 1:
        return bool(stopped)
    return sync and bool(np.any(multihost_utils.process_allgather(np.asarray(bool(stopped)), tiled=False)))
