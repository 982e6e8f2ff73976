"""Second part of the shipped planner's training: from the result of small.py (`--config.base_weights=FOLDER`) on, with
every pose of a shot relative to the pose before it."""

from functools import partial

from shotverse_jax.configs.planner import small

get_config = partial(
    small.get_config,
    model={"tokens": {"path": "step"}},
    seed=1,
    move_weights=(0.10, 0.52, 0.16, 1.17),
    steps=2300,
    lr=3e-3,
    warmup=50,
    single_shot_steps=50,
)
