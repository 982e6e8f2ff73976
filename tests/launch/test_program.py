"""How the programs of `launch/` speak: an input error is all that they say about it."""

import os
import subprocess
import sys


def test_a_refusal_is_one_line(tmp_path):
    """JAX looks for every backend first, and its notices of those that are not there are not shown."""
    command = [sys.executable, "-m", "shotverse_jax.launch.encode", f"--out={tmp_path}", "--source=nowhere.csv"]
    surroundings = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("launch.encode: ") and done.stderr.count("\n") == 1, done.stderr
