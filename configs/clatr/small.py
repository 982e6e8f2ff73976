"""The training of clatr_small on shots of the stage, with its text tower; sized for a CPU core."""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import CLaTrTrainConfig, clatr_small, clip_text_small


def get_config() -> ConfigDict:
    """Returns the config."""
    config = CLaTrTrainConfig(model=clatr_small(), text=clip_text_small())
    config = ConfigDict(dataclasses.asdict(config), convert_dict=True)
    config.update(
        steps=700,
        batch=64,
        optimizer="muon",
        lr=4e-3,
        warmup=50,
        final_lr=0.02,
        ema=0.99,
        contrast_weight=1.0,
        noise=0.0,
        eval_every=100,
        eval_batches=6,
        checkpoint_every=100,
        text_length=48,
        bpe_examples=6000,
    )
    return config
