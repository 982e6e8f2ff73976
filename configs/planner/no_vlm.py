"""Ablation (ShotVerse Table 6, "w/o VLM encoder"): token embeddings are the decoder's prefix."""

from shotverse_jax.configs.planner import base


def get_config():
    return base.get_config("planner_small", model=dict(encoder="none"))
