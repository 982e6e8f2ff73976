"""Rounds of preference optimisation (`shotverse preference run`): every value, to override by name."""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import LoopConfig


def get_config(**values) -> ConfigDict:
    """Returns the values of a loop, with changes; those of its pairs and of its training are mappings."""
    config = ConfigDict(dataclasses.asdict(LoopConfig()), convert_dict=True)
    config.update(values)
    return config
