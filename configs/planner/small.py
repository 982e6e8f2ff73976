"""The planner that ships."""

from shotverse_jax.configs.planner import base


def get_config():
    return base.get_config("planner_small")
