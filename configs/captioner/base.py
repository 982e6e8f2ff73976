"""The values that every training of a captioner starts from."""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import CaptionerTrainConfig, Qwen3VLConfig


def get_config(model: Qwen3VLConfig, **training) -> ConfigDict:
    """Returns the config of a model, with changes to its training values."""
    config = ConfigDict(dataclasses.asdict(CaptionerTrainConfig(model=model)), convert_dict=True)
    config.update(training)
    return config
