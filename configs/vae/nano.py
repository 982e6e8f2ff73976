"""For tests: compiles and learns in seconds."""

from functools import partial

from shotverse_jax.configs.vae import small

get_config = partial(
    small.get_config,
    model={"base_size": 8, "multipliers": (1, 2), "res_blocks": 1, "temporal": (True,)},
    steps=150,
    batch=12,
    lr=5e-3,
    warmup=5,
    ema=0.9,
    frames=3,
    height=8,
    width=8,
    log_every=5,
    eval_every=30,
    eval_batches=1,
    checkpoint_every=1000,
)
