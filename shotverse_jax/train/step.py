"""One training step and one evaluation step, both pure."""

from collections.abc import Callable, Hashable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

from shotverse_jax.parallel.mesh import batch_sharding
from shotverse_jax.train.placement import Placement
from shotverse_jax.train.state import TrainState, merge


def make_train_step(
    loss_fn: Callable,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    ema: float,
    place: Placement | None = None,
    accumulate: int = 1,
    whole: Callable[[dict], dict] | None = None,
) -> Callable:
    """→ jitted step(state, frozen, batch, key, layout) → (state, metrics); `state` is donated, `layout` static.

    With a `place` everything comes and stays as it says; `layout` is then a positional argument. `accumulate` splits
    the batch into so many parts, taken one after the other in the memory of one; loss, gradient and metrics are their
    means. What a part must know of the whole batch for that, `whole(batch)` adds to it, as arrays of an entry for each
    sample. The step raises ValueError for a batch that does not divide so.

    loss_fn(variables, batch, layout, key) → (loss, metrics), `key` None for a deterministic pass. A step whose loss
    or gradient is not finite leaves parameters, optimizer and average as they were and counts in `bad_steps`;
    `bad_leaf` is then the index of the first such gradient in `jax.tree.leaves` order.
    """

    def step(state: TrainState, frozen: dict, batch: dict, key: jax.Array, layout: Hashable):
        key = jax.random.fold_in(key, state.step)

        def gradient(params, batch, key):
            return jax.value_and_grad(lambda p: loss_fn(merge(p, frozen), batch, layout, key), has_aux=True)(params)

        if accumulate == 1:
            (loss, metrics), grads = gradient(state.params, batch, key)
        else:
            batch = batch | (whole(batch) if whole else {})
            parts = _split(batch, accumulate, place), jax.random.split(key, accumulate)
            (loss, metrics), grads = _mean_gradient(gradient, state.params, parts)
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        leaf_ok = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)])

        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = state.ema
        if average is not None:
            # A short average at first: the initial values would otherwise stay in it for 1 / (1 - ema) steps.
            decay = jnp.minimum(ema, (1.0 + state.step) / (10.0 + state.step))
            average = optax.incremental_update(params, average, 1.0 - decay)

        new, old = (params, opt_state, average), (state.params, state.opt_state, state.ema)
        params, opt_state, average = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
        bad_steps = jnp.where(finite, 0, state.bad_steps + 1)
        metrics = {
            **metrics,
            "loss": loss,
            "grad_norm": grad_norm,
            "lr": jnp.asarray(schedule(state.step), jnp.float32),
            "bad_steps": bad_steps,
            "bad_leaf": jnp.argmin(leaf_ok),
        }
        return TrainState(state.step + 1, params, opt_state, average, bad_steps), metrics

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
    where = NamedSharding(samples.mesh, PartitionSpec(None, *samples.spec))
    return jax.lax.with_sharding_constraint(batch, where)


def _mean_gradient(gradient: Callable, params: dict, parts: tuple) -> tuple:
    """((loss, metrics), gradient), means over the parts; a metric that is NaN has nothing to say of a part."""

    def add(total, part):
        (loss, metrics), grads = gradient(params, *part)
        return jax.tree.map(jnp.add, total, grads), (loss, metrics)

    total, (loss_A, metrics_A) = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), parts)
    grads = jax.tree.map(lambda g: g / len(loss_A), total)
    return (jnp.mean(loss_A), jax.tree.map(lambda m: jnp.nanmean(m, axis=0), metrics_A)), grads


def make_eval_step(loss_fn: Callable, place: Placement | None = None) -> Callable:
    """→ jitted eval_step(params, frozen, batch, layout) → metrics of a deterministic pass."""

    def step(params: dict, frozen: dict, batch: dict, layout: Hashable):
        loss, metrics = loss_fn(merge(params, frozen), batch, layout, None)
        return {**metrics, "loss": loss}

    return jax.jit(step, static_argnums=3, **(place.eval_step if place else {}))
