"""Ablation (ShotVerse Table 6, "w/o VLM encoder"): the decoder's prefix is the embeddings of the text tokens."""

from functools import partial

from shotverse_jax.configs.planner import small

get_config = partial(small.get_config, model={"encoder": "none"}, path_weight=0.0)  # the probe reads query codes
