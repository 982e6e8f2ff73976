"""Screenplay → multi-shot camera trajectories → multi-shot video, in JAX/Flax.

`load`, `plan`, `film` and `gendop` (api.py) are imported on first use: importing this is quick and touches no device.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["explain", "film", "gendop", "load", "plan", "read_trajectory"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from shotverse_jax import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
