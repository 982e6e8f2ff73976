"""controller_small, stage 2: LoRA on the low-noise expert, without camera encoders (ShotVerse §5.1)."""

from shotverse_jax.configs.controller import common


def get_config():
    """Returns the config."""
    return common.get_config(expert="low", steps=4000, batch=16, lr=1.5e-3, warmup=200, ema=0.998)
