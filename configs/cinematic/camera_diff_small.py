"""CameraDiff of controller_small: rank 8, 300 steps a class; else as camera_diff.py."""

from shotverse_jax.configs.cinematic.camera_diff import TARGETS
from shotverse_jax.configs.controller import common


def get_config():
    """Returns the config."""
    lora = dict(rank=8, alpha=8.0, dropout=0.0, targets=TARGETS)
    return common.get_config(
        model=dict(camera="none", dit=dict(rope="wan3d"), lora=lora),
        expert="high",
        steps=300,
        batch=8,
        lr=2e-3,
        warmup=20,
        ema=0.0,
        max_shots=1,
        eval_every=100,
        eval_batches=1,
        checkpoint_every=100,
    )
