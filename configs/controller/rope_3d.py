"""Ablation (ShotVerse Table 7, "3D RoPE"): Wan's positions, which do not know shots (--config.expert=low: stage 2)."""

from functools import partial

from shotverse_jax.configs.controller import pod

get_config = partial(pod.get_config, model={"dit": {"rope": "wan3d"}})
