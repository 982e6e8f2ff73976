"""The pose estimator that ships, on the latent frames of `batch` films a step."""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import PoseNetConfig, PoseNetTrainConfig


def get_config():
    config = ConfigDict(dataclasses.asdict(PoseNetTrainConfig()), convert_dict=True)
    config.update(steps=4000, batch=8, lr=1.5e-3, warmup=200, final_lr=0.02, ema=0.998, weight_decay=0.02)
    config.model = ConfigDict(dataclasses.asdict(PoseNetConfig()), convert_dict=True)
    config.task = "pose_net"
    return config
