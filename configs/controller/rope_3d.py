"""Ablation (ShotVerse Table 7, "3D RoPE"): Wan's positions, without shots, on either expert (--config.expert=low)."""

from functools import partial

from shotverse_jax.configs.controller import pod

get_config = partial(pod.get_config, model={"dit": {"rope": "wan3d"}})
