"""What a training run is asked to do, and the state it carries from step to step."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from shotverse_jax.config import Execution


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Values of one planner training run.

    lr is the peak of a linear warmup and a cosine down to `final_lr` of it; weight_decay acts on matrices only; ema
    is the decay of the averaged parameters that evaluation and export use (0: no average). shot_weights and
    text_lengths have one entry per shot count (text_lengths: padded text length). Checkpoints come each
    `checkpoint_every` steps or `checkpoint_minutes`. max_bad_steps non-finite steps in a row end the run.
    """

    steps: int = 20000
    batch: int = 32
    lr: float = 1e-3
    warmup: int = 500
    final_lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    shot_weights: tuple[float, ...] = (0.15, 0.51, 0.255, 0.085)
    text_lengths: tuple[int, ...] = (80, 128, 176, 224)
    bpe_examples: int = 20000
    workers: int = 0
    log_every: int = 20
    eval_every: int = 500
    eval_batches: int = 8
    checkpoint_every: int = 1000
    checkpoint_minutes: float = 10.0
    max_bad_steps: int = 10
    execution: Execution = Execution()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """step: int32 scalar. params: the trainable tree only. ema: its average, or None. bad_steps: skipped in a row."""

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
    """AdamW with global-norm clipping, warmup and cosine; → (optimizer, learning-rate schedule)."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.lr, config.warmup, max(config.steps, config.warmup + 1), config.lr * config.final_lr
    )
    adamw = optax.adamw(
        schedule,
        b1=config.betas[0],
        b2=config.betas[1],
        weight_decay=config.weight_decay,
        mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
    )
    return optax.chain(optax.clip_by_global_norm(config.clip), adamw), schedule


def init_state(params: dict, optimizer: optax.GradientTransformation, ema: bool) -> TrainState:
    """State before the first step."""
    zero = jnp.zeros((), jnp.int32)
    average = jax.tree.map(jnp.copy, params) if ema else None
    return TrainState(zero, params, optimizer.init(params), average, jnp.copy(zero))


def split_frozen(variables: dict) -> tuple[dict, dict]:
    """(trainable, frozen) trees of a planner: with adapters (a 'lora' collection) its language model is frozen."""
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
