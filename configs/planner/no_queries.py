"""Ablation (ShotVerse Table 6, "w/o query tokens"): every text state is a camera code."""

from shotverse_jax.configs.planner import base


def get_config():
    return base.get_config("planner_small", model=dict(encoder="text"))
