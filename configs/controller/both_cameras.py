"""Ablation (ShotVerse Table 7, "Low & High"): the low-noise expert has camera encoders too (--config.expert=low)."""

from functools import partial

from shotverse_jax.configs.controller import pod

get_config = partial(pod.get_config, model={"camera": "both"})
