"""controller_small without cameras: its expert of high noise, whose camera encoders are dropped, learns to do without.

What the captions say of the camera then decides. CameraDiff's adapters (configs/cinematic/) are trained on it.
"""

from shotverse_jax.configs.controller import common


def get_config():
    """Returns the config."""
    return common.get_config(
        model=dict(camera="none", shared_noise=0.5),
        expert="high",
        base_weights="controller_small",
        steps=2000,
        batch=16,
        lr=1.5e-3,
        warmup=50,
        ema=0.99,
    )
