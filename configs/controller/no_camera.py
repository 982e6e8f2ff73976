"""Ablation (ShotVerse Table 7, "w/o camera encoder"): LoRA alone, on either expert (--config.expert=low)."""

from functools import partial

from shotverse_jax.configs.controller import pod

get_config = partial(pod.get_config, model={"camera": "none"})
