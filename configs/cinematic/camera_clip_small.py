"""The training of clip_small on clips of the stage, both towers from random weights; sized for two CPU cores."""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import CameraCLIPTrainConfig, clip_small


def get_config() -> ConfigDict:
    """Returns the config."""
    config = ConfigDict(dataclasses.asdict(CameraCLIPTrainConfig(model=clip_small())), convert_dict=True)
    config.update(
        steps=1600,
        batch=40,  # two rounds of the classes
        optimizer="muon",
        lr=4e-3,
        warmup=50,
        final_lr=0.02,
        ema=0.995,
        text_length=40,
        noise=0.08,
        tint=0.1,
        blur=1,
        view_weight=1.0,
        eval_every=200,
        eval_batches=5,
        checkpoint_every=100,
        execution=dict(unroll=True),
    )
    return config
