"""VERTIGO's own configuration: cyclic scores alone, a GenDoP of its world, its training, one round.

Give `--config.pairs.planner`, a network of configs/gendop/vertigo.py; `--config.prompts`, its captions; and the
captioner, a ShotVL or Qwen3-VL (`--config.pairs.captioner`, a folder, or an endpoint with
`--config.pairs.captioner_model`). How many candidates and pairs it had, and how it chose among them, is not published;
the values here are ours.
"""

from functools import partial

from shotverse_jax.configs.preference import loop, vertigo

get_config = partial(
    loop.get_config,
    rounds=1,
    pairs={"planner": "", "geometric": 0.0, "cyclic": 1.0, "margin": 0.0, "agreed": False, "contrast": 0.0},
    train=vertigo.get_config().to_dict(),
)
