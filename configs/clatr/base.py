"""GenDoP's CLaTr on DataDoP: --config.data=DataDoP --config.text_weights=FOLDER of OpenAI's ViT-B/32 text tower.

The recipe is that of evaluate/CLaTr/configs: AdamW at 1e-5, batches of 32, 100 epochs (the released weights are those
of epoch 99) of about 29,000 shots.
"""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import CLaTrTrainConfig

RECIPE = dict(
    steps=90000, batch=32, lr=1e-5, warmup=0, final_lr=1.0, betas=(0.9, 0.999), weight_decay=0.01, ema=0.0, seed=42
)


def get_config(**training) -> ConfigDict:
    """Returns the config, with changes to its training values."""
    config = ConfigDict(dataclasses.asdict(CLaTrTrainConfig()), convert_dict=True)
    config.update(RECIPE | training)
    return config
