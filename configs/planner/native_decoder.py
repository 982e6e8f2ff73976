"""Ablation (ShotVerse Table 6, "VLM native decoder"): the language model itself continues with pose tokens."""

from functools import partial

from shotverse_jax.configs.planner import small

get_config = partial(small.get_config, model={"decoder_kind": "native"})
