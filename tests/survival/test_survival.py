"""A small share of `python -m tests.survival`: the cheap commands, and whatever a user meets first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_share_of_the_table(tmp_path, quick_environment):
    """One process for all of it, since the commands are its children and need no start-up of their own."""
    told = os.environ | quick_environment | {"PYTHONPATH": str(ROOT), "SHOTVERSE_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "tests.survival", "kills", "full", "unwritable", "second", "--brief"]
    ran = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "unwritable: " in ran.stdout and "convert |" in ran.stdout
