"""Screenplay → multi-shot camera trajectories → multi-shot video, in JAX/Flax. Importing this touches no device."""

__version__ = "0.1.0"
