"""Ablation (ShotVerse Table 6, "w/o query tokens"): every text state is a camera code."""

from shotverse_jax.configs.planner import small


def get_config():
    config = small.get_config()
    config.model.encoder = "text"
    config.path_weight = 0.0  # the probe reads query codes
    return config
