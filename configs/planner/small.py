"""First part of the shipped planner's training, sized for two CPU cores (JAX_NUM_CPU_DEVICES=2, a device per core)."""

from functools import partial

from shotverse_jax.configs.planner import base

get_config = partial(
    base.get_config,
    "planner_small",
    steps=4200,
    batch=32,
    optimizer="muon",
    lr=5e-3,
    warmup=100,
    ema=0.998,
    path_weight=3.0,
    single_shot_steps=800,
    shot_weights=(0.2, 0.45, 0.25, 0.1),
    text_lengths=(80, 128, 176, 224),
)
