"""Controller training: every model field (from a preset) and every training value, to override by name."""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import CONTROLLERS, ControllerTrainConfig


def get_config(preset: str = "controller_small", model: dict | None = None, **training) -> ConfigDict:
    """Returns the config of a preset of `CONTROLLERS`, with changes to its model and its training values."""
    config = ConfigDict(dataclasses.asdict(ControllerTrainConfig()), convert_dict=True)
    config.update(training)
    config.model = ConfigDict(dataclasses.asdict(CONTROLLERS[preset]()), convert_dict=True)
    config.model.update(model or {})
    config.task = "controller"
    config.text_tokenizer = "planner_small"  # expert "base" learns a text encoder: folder of its tokenizer.json
    config.base_weights = ""  # experts "high" and "low": folder of the base model, or of an expert to go on from
    return config
