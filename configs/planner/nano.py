"""For tests: compiles and learns in seconds."""

from functools import partial

from shotverse_jax.configs.planner import base

get_config = partial(
    base.get_config,
    "planner_nano",
    steps=40,
    batch=4,
    lr=3e-3,
    warmup=5,
    ema=0.9,
    bpe_examples=200,
    log_every=5,
    eval_every=20,
    eval_batches=2,
    checkpoint_every=20,
)
