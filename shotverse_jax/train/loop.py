"""The training loop: the only place with a clock, a disk and a signal handler."""

import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Hashable, Iterator
from importlib.resources import files
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

from shotverse_jax.config import TrainConfig
from shotverse_jax.files import owned, write_json, writing
from shotverse_jax.parallel.mesh import together
from shotverse_jax.screenplay import read_screenplay
from shotverse_jax.train.checkpoint import Checkpoints
from shotverse_jax.train.metrics import MetricsWriter
from shotverse_jax.train.placement import Placement
from shotverse_jax.train.state import TrainState, init_state, make_optimizer, merge
from shotverse_jax.train.step import Steps, make_steps
from shotverse_jax.train.task import Preview, Task
from shotverse_jax.weights.trees import flatten

CHECKPOINTS, PREVIEWS, CONFIG = "checkpoints", "previews", "run.json"
"""What a run leaves in its folder, beside `metrics.JSONL` and what its task writes there."""

PROGRESS = ("loss", "accuracy", "samples_per_second", "mfu")
"""The metrics that the progress line shows."""


def train(task: Task, folder: str | Path, steps: Steps | None = None) -> TrainState:
    """Trains until `config.steps`, from the newest checkpoint in `folder` when there is one.

    `folder` gets run.json (the config), checkpoints/, metrics.jsonl and previews/. SIGTERM and SIGINT save a checkpoint
    and return early.

    Args:
        task: the run, as `train.tasks.build` makes it.
        folder: the folder of the run.
        steps: its compiled programs; None makes them from the task.

    Returns:
        The last state; `state.step` is less than `config.steps` for a run that was stopped.

    Raises:
        ValueError: another process trains in the folder; a mesh that does not use all devices, a batch that does not
            divide over it, previews of a task that has none, or a damaged checkpoint.
        FloatingPointError: `config.max_bad_steps` steps in a row were not finite; nothing of them was saved.
    """
    with alone(folder), writing(folder):
        return _train(task, Path(folder), steps)


@contextlib.contextmanager
def alone(folder: str | Path) -> Iterator[None]:
    """Keeps other runs out of the folder of a run; the first process does it for all."""
    with owned(folder) if jax.process_index() == 0 else contextlib.nullcontext():
        yield


def _train(task: Task, folder: Path, steps: Steps | None) -> TrainState:
    config = task.config
    state, place = _start(task)
    steps = steps or make_steps(task, place)
    preview = _make_preview(task, folder)
    if jax.process_index() == 0:
        write_json(folder / CONFIG, dataclasses.asdict(config), indent=2)
    state, frozen = place.put(state, task.frozen)
    # Made on all devices at once: an array cannot be moved to devices of other processes.
    key = jax.jit(lambda: jax.random.key(config.seed), out_shardings=place.replicated)()
    checkpoints = Checkpoints(folder / CHECKPOINTS)
    log = _Log(config, folder, task.ideal_step_seconds)
    if checkpoints.latest is not None:
        state = checkpoints.restore(state)
        log.writer.write(int(state.step), "resume", {})
    step = int(state.step)
    saver = _Saver(config, checkpoints, step)

    with _stop_signal() as stopped, contextlib.closing(checkpoints), contextlib.closing(log):
        log.start(step)
        batches = task.batches("train", step) if step < config.steps else iter(())
        while step < config.steps:
            with log.waiting():
                bucket, batch = next(batches)
            batch = place.put_batch(batch)
            # A transfer inside of a step would make every step wait for the host.
            with jax.transfer_guard("disallow"):
                state, metrics = steps.train(state, frozen, batch, key, bucket)
            step += 1
            log.step(step, metrics, bucket, state)
            stop = _agreed(stopped, step % config.log_every == 0)
            if step % config.eval_every == 0 or step == config.steps:
                log.evaluate(step, evaluate(steps.evaluate, state, frozen, task.batches("test"), place))
            # A preview takes long: a run that is asked to stop leaves it out and saves its checkpoint at once.
            if preview and not stop and step % config.preview_every == 0:
                with log.paused(state):
                    preview(step, merge(state.averaged, frozen))
            # Bad steps are looked for first: a run that ends because of them must leave no checkpoint of them.
            if stop or saver.is_due(step):
                log.check_finite()
                saver.save(step, state, wait=stop)
            if stop:
                break
        if saver.step < step:
            log.check_finite()
            saver.save(step, state, wait=True)
    return state


def restore(task: Task, folder: str | Path) -> TrainState:
    """The state of the newest checkpoint of a run; another process may be training it meanwhile.

    Raises:
        ValueError: no checkpoint, or one that is damaged or does not fit the task.
    """
    state, place = _start(task)
    state, _ = place.put(state, task.frozen)
    return Checkpoints(Path(folder) / CHECKPOINTS, writes=False).restore(state)


def export(task: Task, state: TrainState, folder: str | Path) -> None:
    """Writes the trained network with its averaged parameters to `folder`, by the first process; all must call it."""
    variables = together(merge(state.averaged, task.frozen))
    if jax.process_index() == 0:
        task.export(variables, Path(folder))


def _start(task: Task) -> tuple[TrainState, Placement]:
    """The state before the first step, and where the arrays of the run are placed."""
    optimizer, _ = make_optimizer(task.config)
    state = init_state(task.trainable, optimizer, ema=task.config.ema > 0)
    return state, Placement.of(task.config, state, task.frozen)


def _make_preview(task: Task, folder: Path) -> Preview | None:
    """The run's preview; None where it makes none. Made before the first step, so that wrong input is refused then."""
    if not task.config.preview_every:
        return None
    if task.make_preview is None:
        raise ValueError(f"a run of {type(task.config).__name__} has no previews; set preview_every=0")
    screenplay = read_screenplay(task.config.preview or files("shotverse_jax.screenplay") / "last_train.yaml")
    return task.make_preview(screenplay, folder / PREVIEWS)


def evaluate(eval_step: Callable, state: TrainState, frozen: dict, batches: Iterator, place: Placement) -> dict:
    """Mean metrics of the averaged parameters over `batches`, with the loss of each bucket."""
    records = []
    for bucket, batch in batches:
        metrics = eval_step(state.averaged, frozen, place.put_batch(batch), bucket)
        part = {} if bucket is None else {"loss_" + "-".join(map(str, np.atleast_1d(bucket))): metrics["loss"]}
        records.append({**metrics, **part})
    # Metrics are fetched once, after the last batch: fetching those of each would make the device wait for the host.
    return _mean(jax.device_get(records))


class _Saver:
    """Saves checkpoints by the number of steps and by the clock; `step` is that of the last one."""

    def __init__(self, config: TrainConfig, checkpoints: Checkpoints, step: int):
        self._config, self._checkpoints = config, checkpoints
        self.step, self._time = step, time.monotonic()

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint shall be saved after this step."""
        minutes = (time.monotonic() - self._time) / 60
        # Clocks of several processes differ, and all must save at the same step: there the clock does not decide.
        by_clock = jax.process_count() == 1 and minutes >= self._config.checkpoint_minutes
        return by_clock or step % self._config.checkpoint_every == 0

    def save(self, step: int, state: TrainState, wait: bool) -> None:
        """Saves the checkpoint of a step; `wait` says whether the call returns only when it is on disk."""
        self._checkpoints.save(step, state, wait)
        self.step, self._time = step, time.monotonic()


class _Log:
    """The progress line and the metrics file.

    Metrics stay on the device until `log_every` steps are there, so that steps do not wait for the host. All processes
    read them and get the same numbers, so that all of them end a bad run at the same step; only the first one writes.
    """

    def __init__(self, config: TrainConfig, folder: Path, ideal_step_seconds: Callable[[Hashable], float] | None):
        self._quiet = jax.process_index() != 0
        self.writer = MetricsWriter(folder, self._quiet)
        self._config, self._ideal_step_seconds = config, ideal_step_seconds
        self._pending: list[dict] = []
        self._leaves: list[str] = []
        self._ideal = self._waited = 0.0  # seconds since the last line: of all steps at the peak, and for data

    def start(self, step: int) -> None:
        """Starts the progress line and the clock of a run that begins after `step`."""
        steps = self._config.steps
        self._bar = tqdm(total=steps, initial=step, unit="step", disable=self._quiet, mininterval=1.0)
        self._step, self._since = step, time.monotonic()

    @contextlib.contextmanager
    def waiting(self):
        """Counts the time inside as waiting for data."""
        before = time.monotonic()
        yield
        self._waited += time.monotonic() - before

    @contextlib.contextmanager
    def paused(self, state: TrainState):
        """Leaves the time inside out of the time of steps."""
        jax.block_until_ready(state)  # steps run in the background; their own time counts
        before = time.monotonic()
        yield
        self._since += time.monotonic() - before

    def step(self, step: int, metrics: dict, bucket: Hashable, state: TrainState) -> None:
        """Takes the metrics of a step, and writes a line every `log_every` steps."""
        self._leaves = self._leaves or list(flatten(state.params))
        self._pending.append(metrics)
        self._ideal += self._ideal_step_seconds(bucket) if self._ideal_step_seconds else 0.0
        self._step = step
        self._bar.update()
        if step % self._config.log_every == 0:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        # This call waits for the last of the steps, so that the clock is read after all of them have run.
        records = jax.device_get(self._pending)
        count, seconds = len(records), time.monotonic() - self._since
        bad = [r for r in records if r["bad_steps"]]
        # A bad step is counted, but left out of the means: one infinite loss would hide all other steps.
        values = _mean([r for r in records if not r["bad_steps"]])
        values.pop("bad_leaf", None)
        values["bad_steps"] = len(bad)
        values["step_seconds"], values["data_seconds"] = seconds / count, self._waited / count
        values["samples_per_second"] = self._config.batch * count / seconds
        if self._ideal_step_seconds:
            values["mfu"] = self._ideal / seconds
        self._since, self._ideal, self._waited, self._pending = time.monotonic(), 0.0, 0.0, []
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
        """Raises FloatingPointError if `max_bad_steps` steps in a row, up to now, were not finite."""
        self._flush()

    def evaluate(self, step: int, values: dict[str, float]) -> None:
        """Writes and shows the metrics of an evaluation."""
        self._flush()
        self.writer.write(step, "eval", values)
        if not self._quiet:
            shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
            tqdm.write(f"step {step}  held out: {shown}")
        # The time of an evaluation is not a part of the next steps' time.
        self._since = time.monotonic()

    def close(self) -> None:
        """Closes the progress line and the metrics file."""
        self._bar.close()
        self.writer.close()


def _mean(records: list[dict]) -> dict[str, float]:
    """The mean of every metric over the records that have it; NaN counts as not having it."""
    found: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.items():
            found.setdefault(name, []).extend([] if np.isnan(value) else [value])
    return {name: float(np.mean(values)) for name, values in sorted(found.items()) if values}


@contextlib.contextmanager
def _stop_signal():
    """Yields a list, empty until SIGTERM or SIGINT arrives."""
    received: list[int] = []
    # The handler only takes a note. The loop acts on it between two steps, when the state is whole.
    before = {s: signal.signal(s, lambda number, _: received.append(number)) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _agreed(stopped: list[int], sync: bool) -> bool:
    """Whether to stop. Several processes agree on it, which costs an exchange, and so only at steps with `sync`."""
    if jax.process_count() == 1:
        return bool(stopped)
    return sync and bool(np.any(multihost_utils.process_allgather(np.asarray(bool(stopped)), tiled=False)))
