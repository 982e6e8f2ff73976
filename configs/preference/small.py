"""The shipped planner's preference optimisation, a round of it, sized for two CPU cores."""

from functools import partial

from shotverse_jax.configs.preference import base

get_config = partial(
    base.get_config,
    steps=206,
    batch=16,
    lr=3e-5,
    warmup=10,
    ema=0.0,
    sft_weight=1.0,
    eval_every=50,
    checkpoint_every=100,
)
