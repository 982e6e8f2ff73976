"""One training step and one evaluation step, both pure functions that are compiled once for each bucket."""

import dataclasses
from collections.abc import Callable, Hashable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

from shotverse_jax.parallel.mesh import batch_sharding
from shotverse_jax.train.placement import Placement
from shotverse_jax.train.state import TrainState, make_optimizer, merge
from shotverse_jax.train.task import Learner, Loss


@dataclasses.dataclass(frozen=True)
class Steps:
    """The two programs of a run.

    Attributes:
        train: step(state, frozen, batch, key, bucket) → (state, metrics), see `make_train_step`.
        evaluate: eval_step(params, frozen, batch, bucket) → metrics, see `make_eval_step`.
    """

    train: Callable
    evaluate: Callable


def make_steps(task: Learner, place: Placement) -> Steps:
    """The programs of a run whose arrays are placed as `place` says; they compile when they are called first."""
    config = task.config
    optimizer, schedule = make_optimizer(config)
    train = make_train_step(task.loss, optimizer, schedule, config.ema, place, config.accumulate, task.batch_statistics)
    return Steps(train, make_eval_step(task.loss, place))


def make_train_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    ema: float,
    place: Placement | None = None,
    accumulate: int = 1,
    batch_statistics: Callable[[dict], dict] | None = None,
) -> Callable:
    """The jitted step(state, frozen, batch, key, bucket) → (state, metrics).

    `state` is donated and `bucket` is static. A step whose loss or gradient is not finite leaves parameters, optimizer
    and average as they were and counts in `bad_steps`; the metric `bad_leaf` is then the index of the first such
    gradient in `jax.tree.leaves` order.

    Args:
        loss: see `Learner`.
        optimizer, schedule: as `make_optimizer` returns them.
        ema: decay of the average of the parameters.
        place: shardings of arguments and results; `bucket` is then a positional argument. None: on the default device.
        accumulate: number of parts that a batch is divided into. They are computed one after the other in the memory
            of one part; loss, gradient and metrics are the means over the parts.
        batch_statistics: see `Learner`.

    Raises:
        ValueError: when it is called with a batch that cannot be divided into `accumulate` parts.
    """

    def step(state: TrainState, frozen: dict, batch: dict, key: jax.Array, bucket: Hashable):
        # The key follows from the step alone: a resumed run draws the same noise, and no random state has to be stored.
        key = jax.random.fold_in(key, state.step)

        def gradient(params, batch, key):
            return jax.value_and_grad(lambda p: loss(merge(p, frozen), batch, bucket, key), has_aux=True)(params)

        if accumulate == 1:
            (value, metrics), grads = gradient(state.params, batch, key)
        else:
            # The targets are counted before the batch is divided: a part does not know how many the other parts have.
            batch = batch | (batch_statistics(batch) if batch_statistics else {})
            parts = _split(batch, accumulate, place), jax.random.split(key, accumulate)
            (value, metrics), grads = _mean_gradient(gradient, state.params, parts)
        grad_norm = optax.tree.norm(grads)
        # The norm sees every gradient: one NaN or infinity in any of them makes it not finite.
        finite = jnp.isfinite(value) & jnp.isfinite(grad_norm)
        # The leaves are looked at only to name the first bad gradient when a run gives up.
        leaf_ok = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)])

        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = state.ema
        if average is not None:
            # A short average at first: the initial values would otherwise stay in it for 1 / (1 - ema) steps.
            decay = jnp.minimum(ema, (1.0 + state.step) / (10.0 + state.step))
            average = optax.incremental_update(params, average, 1.0 - decay)

        # The update is computed in any case and thrown away if it is not finite: a branch would wait for the host.
        new, old = (params, opt_state, average), (state.params, state.opt_state, state.ema)
        params, opt_state, average = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
        bad_steps = jnp.where(finite, 0, state.bad_steps + 1)
        metrics = {
            **metrics,
            "loss": value,
            "grad_norm": grad_norm,
            "lr": jnp.asarray(schedule(state.step), jnp.float32),
            "bad_steps": bad_steps,
            "bad_leaf": jnp.argmin(leaf_ok),
        }
        return TrainState(state.step + 1, params, opt_state, average, bad_steps), metrics

    # The new state takes the memory of the old one. The frozen weights are not donated: the next step reads them again.
    return jax.jit(step, static_argnums=4, donate_argnums=0, **(place.train_step if place else {}))


def _split(batch: dict, parts: int, place: Placement | None) -> dict:
    """Arrays [parts, samples, …]: part i has the samples i, i + parts, …, so that every device keeps its own."""
    size = len(next(iter(batch.values())))
    if size % parts:
        raise ValueError(f"a batch of {size} does not divide into accumulate={parts} parts")
    batch = {name: x.reshape(size // parts, parts, *x.shape[1:]).swapaxes(0, 1) for name, x in batch.items()}
    if place is None:
        return batch
    samples = batch_sharding(place.batch.mesh, size // parts)
    # The axis of parts belongs to the scan and is not split; the samples of each part are split over data and fsdp.
    where = NamedSharding(samples.mesh, PartitionSpec(None, *samples.spec))
    return jax.lax.with_sharding_constraint(batch, where)


def _mean_gradient(gradient: Callable, params: dict, parts: tuple) -> tuple:
    """((loss, metrics), gradient), means over the parts; parts whose metric is NaN are left out of its mean."""

    def add(total, part):
        (loss, metrics), grads = gradient(params, *part)
        return jax.tree.map(jnp.add, total, grads), (loss, metrics)

    # A scan, not a Python loop: only one part's activations and one sum of gradients are in memory at a time.
    total, (loss_A, metrics_A) = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), parts)
    grads = jax.tree.map(lambda g: g / len(loss_A), total)
    # A metric is NaN where a part had no sample for it, for example at a noise level; it must not hide the other parts.
    return (jnp.mean(loss_A), jax.tree.map(lambda m: jnp.nanmean(m, axis=0), metrics_A)), grads


def make_eval_step(loss: Loss, place: Placement | None = None) -> Callable:
    """The jitted eval_step(params, frozen, batch, bucket) → metrics of a deterministic pass; `bucket` is static."""

    def step(params: dict, frozen: dict, batch: dict, bucket: Hashable):
        # Without a key there is no dropout and always the same noise: evaluations of one run can be compared.
        value, metrics = loss(merge(params, frozen), batch, bucket, None)
        return {**metrics, "loss": value}

    return jax.jit(step, static_argnums=3, **(place.eval_step if place else {}))
