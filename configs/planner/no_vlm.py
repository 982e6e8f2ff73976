"""Ablation (ShotVerse Table 6, "w/o VLM encoder"): token embeddings are the decoder's prefix."""

from shotverse_jax.configs.planner import small


def get_config():
    config = small.get_config()
    config.model.encoder = "none"
    config.path_weight = 0.0  # the probe reads query codes
    return config
