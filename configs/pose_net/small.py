"""The shipped pose estimator's training, sized for two CPU cores (JAX_NUM_CPU_DEVICES=2, a device per core)."""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import PoseNetTrainConfig


def get_config():
    """Returns the config."""
    config = ConfigDict(dataclasses.asdict(PoseNetTrainConfig()), convert_dict=True)
    config.update(
        steps=4500, batch=8, lr=1.5e-3, warmup=100, final_lr=0.02, ema=0.998, weight_decay=0.02, eval_batches=16
    )
    return config
