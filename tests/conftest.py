"""Shared fixtures."""

import os
import tempfile
from pathlib import Path

import jax
import pytest

# Programs that several tests compile are compiled once, also across worker processes and runs.
jax.config.update("jax_compilation_cache_dir", str(Path(tempfile.gettempdir()) / "shotverse_jax_tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder with records of the original programs and real trajectory files; named by SHOTVERSE_REFERENCE."""
    folder = os.environ.get("SHOTVERSE_REFERENCE")
    if not folder:
        pytest.skip("SHOTVERSE_REFERENCE is not set: the records of the original programs are not here")
    return Path(folder)
