"""Shared fixtures."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder with records of the original programs and real trajectory files; named by SHOTVERSE_REFERENCE."""
    folder = os.environ.get("SHOTVERSE_REFERENCE")
    if not folder:
        pytest.skip("SHOTVERSE_REFERENCE is not set: the records of the original programs are not here")
    return Path(folder)
