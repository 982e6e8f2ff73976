"""controller_small, stage 1: camera encoders and LoRA on the high-noise expert (ShotVerse §5.1)."""

from shotverse_jax.configs.controller import common


def get_config():
    """Returns the config."""
    return common.get_config(expert="high", steps=8000, batch=16, lr=1.5e-3, warmup=200, ema=0.998)
