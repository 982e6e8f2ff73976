"""The pose estimator that ships, sized for two CPU cores (run with JAX_NUM_CPU_DEVICES=2, one device per core)."""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import PoseNetConfig, PoseNetTrainConfig


def get_config():
    config = ConfigDict(dataclasses.asdict(PoseNetTrainConfig()), convert_dict=True)
    config.update(
        steps=4500, batch=8, lr=1.5e-3, warmup=100, final_lr=0.02, ema=0.998, weight_decay=0.02, eval_batches=16
    )
    config.model = ConfigDict(dataclasses.asdict(PoseNetConfig()), convert_dict=True)
    config.task = "pose_net"
    return config
