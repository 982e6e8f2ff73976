"""Ablation (ShotVerse Table 6, "w/o query tokens"): every text state is a camera code."""

from functools import partial

from shotverse_jax.configs.planner import small

get_config = partial(small.get_config, model={"encoder": "text"}, path_weight=0.0)  # the probe reads query codes
