"""Ablation (ShotVerse Table 6, "w/o VLM encoder"): token embeddings are the decoder's prefix."""

from functools import partial

from shotverse_jax.configs.planner import small

get_config = partial(small.get_config, model={"encoder": "none"}, path_weight=0.0)  # the probe reads query codes
