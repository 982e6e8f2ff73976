"""Planner training: every model field (from a preset) and every training value, to override by name."""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import PLANNERS, PlannerTrainConfig


def get_config(preset: str = "planner_small", model: dict | None = None, **training) -> ConfigDict:
    """Returns the config of a preset of `PLANNERS`, with changes to its model and its training values."""
    config = ConfigDict(dataclasses.asdict(PlannerTrainConfig(model=PLANNERS[preset]())), convert_dict=True)
    config.update(training | {"model": model or {}})
    return config
