"""Controller training: every model field (from a preset) and every training value, to override by name."""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import CONTROLLERS, ControllerTrainConfig


def get_config(preset: str = "controller_small", model: dict | None = None, **training) -> ConfigDict:
    """Returns the config of a preset of `CONTROLLERS`, with changes to its model and its training values."""
    config = ConfigDict(dataclasses.asdict(ControllerTrainConfig(model=CONTROLLERS[preset]())), convert_dict=True)
    config.update(training | {"model": model or {}})
    return config
