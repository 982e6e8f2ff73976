"""Ablation (ShotVerse Table 6, "VLM native decoder"): the language model itself goes on with pose tokens."""

from shotverse_jax.configs.planner import small


def get_config():
    config = small.get_config()
    config.model.decoder_kind = "native"
    return config
