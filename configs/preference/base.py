"""Preference optimisation of a planner: every value, to override by name. Give `pairs` and `base_weights`."""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import PreferenceTrainConfig


def get_config(**training) -> ConfigDict:
    """Returns the values of a run, with changes."""
    return ConfigDict(dataclasses.asdict(PreferenceTrainConfig(**training)), convert_dict=True)
