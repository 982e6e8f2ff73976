"""The state that a run carries from step to step, and its optimizer."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from shotverse_jax.config import TrainConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that changes in a run, and all that a checkpoint holds.

    Attributes:
        step: number of steps that were made, int32 scalar.
        params: the trainable variables.
        opt_state: the optimizer's state.
        ema: the moving average of `params`; None for a run without.
        bad_steps: number of steps in a row, up to the last one, that were not finite, int32 scalar.
    """

    step: jax.Array
    params: dict
    opt_state: optax.OptState
    ema: dict | None
    bad_steps: jax.Array

    @property
    def averaged(self) -> dict:
        """The parameters to evaluate and export."""
        return self.params if self.ema is None else self.ema


def make_optimizer(config: TrainConfig) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """(optimizer, schedule): AdamW or Muon (arXiv 2502.16982) after global-norm clipping; warmup and cosine."""
    # optax refuses a schedule that ends before its warmup; a run shorter than its warmup still works.
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.lr, config.warmup, max(config.steps, config.warmup + 1), config.lr * config.final_lr
    )
    if config.optimizer == "muon":
        optimizer = optax.contrib.muon(
            schedule,
            weight_decay=config.weight_decay,
            adam_b1=config.betas[0],
            adam_b2=config.betas[1],
            muon_weight_dimension_numbers=_kernels,
            consistent_rms=0.2,  # of AdamW's updates, as measured in the paper
        )
    else:
        optimizer = optax.adamw(
            schedule,
            b1=config.betas[0],
            b2=config.betas[1],
            weight_decay=config.weight_decay,
            mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
        )
    # Clipping comes first: Adam's averages would keep one very large gradient for many steps.
    return optax.chain(optax.clip_by_global_norm(config.clip), optimizer), schedule


def _kernels(params: dict) -> dict:
    """The axes of each leaf that Muon sees as a matrix; None for the leaves that AdamW updates.

    A kernel [..., in, out] is a matrix from all axes before the last to `out`, and so are an adapter's A and B. In a
    stack, each block has a matrix of its own.
    """

    def dimensions(path, leaf):
        names = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        if names[-1] != "kernel" and names[-2] != "adapter":
            return None
        stacked = any(name in ("layers", "blocks") for name in names)
        reduced = tuple(range(stacked, leaf.ndim - 1))
        return optax.contrib.MuonDimensionNumbers(reduced, leaf.ndim - 1) if reduced else None

    return jax.tree_util.tree_map_with_path(dimensions, params)


def init_state(params: dict, optimizer: optax.GradientTransformation, ema: bool) -> TrainState:
    """The state before the first step; `ema` says whether it has an average."""
    zero = jnp.zeros((), jnp.int32)
    # These are copies, because the training step donates its state, and one buffer cannot be donated twice.
    average = jax.tree.map(jnp.copy, params) if ema else None
    return TrainState(zero, params, optimizer.init(params), average, jnp.copy(zero))


def split_frozen(variables: dict) -> tuple[dict, dict]:
    """(trainable, frozen) variables of a planner: with adapters (a 'lora' collection) its language model is frozen."""
    if "lora" not in variables:
        return variables, {}
    params = dict(variables["params"])
    frozen = {"params": {"vlm": params.pop("vlm")}}
    return {**variables, "params": params}, frozen


def merge(a: dict, b: dict) -> dict:
    """Union of two nested dicts that share no leaf."""
    out = dict(a)
    for name, value in b.items():
        out[name] = merge(out[name], value) if name in out else value
    return out
