"""What commands say of their memory with --verbose."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shotverse_jax.commands import peak
from shotverse_jax.infer import fits
from shotverse_jax.infer.job import Job
from shotverse_jax.infer.plan_need import most_plan_memory
from shotverse_jax.inputs.items import read_items

ROOT = Path(__file__).parents[1]


def test_a_conversion_stays_under_what_is_expected(tmp_path):
    small = ROOT / "shotverse_jax" / "pretrained" / "controller_small"
    words = [
        "convert",
        small,
        "--as",
        "wan-dit",
        "--expert",
        "high",
        "--to",
        "wan",
        "--out",
        tmp_path / "a.safetensors",
    ]
    command = [sys.executable, "-m", "shotverse_jax.cli", *map(str, words), "--verbose"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = re.search(r"peak memory of this process: ([\d.]+) GiB, expected at most ([\d.]+)", done.stderr)
    assert 0.1 < float(said[1]) < float(said[2]) < 1.5


def test_the_peak_of_this_process_grows_with_an_array():
    before = peak.host_peak()
    array = np.ones(before // 8 + (64 << 20) // 8)
    assert peak.host_peak() > before + (32 << 20) and array.nbytes > before


def test_every_kind_of_planner_and_film_has_an_estimate(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"text": "A man walks."}\n{"text": "A man walks.", "frames": 129, "size": "128x192"}'
    )
    items = read_items(tmp_path / "a.jsonl")
    plans, films, small = (Job(task).memory(items[:n]) for task, n in (("plan", 2), ("film", 2), ("film", 1)))
    assert most_plan_memory("planner_small") < plans < films and small < films
    assert most_plan_memory("paper") > 8 << 30
    assert fits.film_memory("controller_small", 129, (128, 192)) > fits.film_memory("controller_small", 33)
    with pytest.raises(ValueError, match="no planner or GenDoP called|called nowhere"):
        most_plan_memory("nowhere")
