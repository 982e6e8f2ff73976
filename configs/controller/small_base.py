"""The model from which both experts of controller_small start: text to multi-shot video, without a camera."""

from shotverse_jax.configs.controller import common


def get_config():
    """Returns the config."""
    return common.get_config(expert="base", steps=8000, batch=16, lr=1e-3, warmup=300, ema=0.998)
