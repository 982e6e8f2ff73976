"""Ablation (ShotVerse Table 6, "VLM native decoder"): the language model itself goes on with pose tokens."""

from shotverse_jax.configs.planner import base


def get_config():
    return base.get_config("planner_small", model=dict(decoder_kind="native"))
