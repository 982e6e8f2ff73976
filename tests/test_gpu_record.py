"""docs/gpu.md shows the numbers of the record, as `python -m benchmarks.gpu --show` prints them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("record", sorted((ROOT / "benchmarks" / "records").glob("*.json")), ids=lambda path: path.stem)
def test_the_page_shows_the_record(record):
    command = [sys.executable, "-m", "benchmarks.gpu", "--show", str(record)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "| device |" in printed
    assert printed.strip() in (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
