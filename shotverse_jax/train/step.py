"""One training step and one evaluation step, both pure."""

from collections.abc import Callable, Hashable

import jax
import jax.numpy as jnp
import optax

from shotverse_jax.train.placement import Placement
from shotverse_jax.train.state import TrainState, merge


def make_train_step(
    loss_fn: Callable,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    ema: float,
    place: Placement | None = None,
) -> Callable:
    """→ jitted step(state, frozen, batch, key, layout) → (state, metrics); `state` is donated, `layout` static.

    With a `place` everything comes and stays as it says; `layout` is then a positional argument.

    loss_fn(variables, batch, layout, key) → (loss, metrics), `key` None for a deterministic pass. A step whose loss
    or gradient is not finite leaves parameters, optimizer and average as they were and counts in `bad_steps`;
    `bad_leaf` is then the index of the first such gradient in `jax.tree.leaves` order.
    """

    def step(state: TrainState, frozen: dict, batch: dict, key: jax.Array, layout: Hashable):
        key = jax.random.fold_in(key, state.step)

        def loss_of(params):
            return loss_fn(merge(params, frozen), batch, layout, key)

        (loss, metrics), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        grad_norm = optax.global_norm(grads)
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


def make_eval_step(loss_fn: Callable, place: Placement | None = None) -> Callable:
    """→ jitted eval_step(params, frozen, batch, layout) → metrics of a deterministic pass."""

    def step(params: dict, frozen: dict, batch: dict, layout: Hashable):
        loss, metrics = loss_fn(merge(params, frozen), batch, layout, None)
        return {**metrics, "loss": loss}

    return jax.jit(step, static_argnums=3, **(place.eval_step if place else {}))
