"""Rounds for the shipped planner on scenes of the stage, sized for two CPU cores: about twenty minutes a round."""

from functools import partial

from shotverse_jax.configs.preference import loop, small

get_config = partial(
    loop.get_config,
    rounds=2,
    scenes=2600,
    pairs={"planner": "planner_small", "candidates": 8, "geometric": 1.0, "margin": 0.1, "truth": "stage"},
    train=small.get_config().to_dict(),
)
