"""CameraDiff of the small controller without cameras (controller/small_no_camera.py): rank 8, 300 steps a class."""

from shotverse_jax.configs.cinematic.camera_diff import TARGETS
from shotverse_jax.configs.controller import common


def get_config():
    """Returns the config."""
    lora = dict(rank=8, alpha=8.0, dropout=0.0, targets=TARGETS)
    return common.get_config(
        model=dict(camera="none", lora=lora),
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
