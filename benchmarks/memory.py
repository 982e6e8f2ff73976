"""Memory of the commands beside what is expected of them: each is run as a process of its own with --verbose.

    python -m benchmarks.memory                # films of three sizes, plans, batches, conversions both ways
    python -m benchmarks.memory --only plan

The exit code is 1 if a command used more than was expected.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PLAY = str(ROOT / "examples" / "red_coat.txt")
SMALL = str(ROOT / "shotverse_jax" / "pretrained" / "controller_small")


class Used(NamedTuple):
    """A line of the table: a process or a device, and GiB."""

    where: str
    peak: float
    expected: float | None


def commands(folder: Path) -> Iterator[list[str]]:
    """Yields the command lines; a conversion back comes after the conversion that it reads."""
    for number, size in enumerate(([], ["--size", "256x384"], ["--frames", "129", "--size", "128x192"])):
        yield ["film", PLAY, "--steps", "2", "--out", str(folder / f"film_{number}"), *size]
    yield ["plan", PLAY, "--out", str(folder / "plan")]
    yield ["plan", str(ROOT / "examples" / "last_train.yaml"), "--samples", "16", "--out", str(folder / "plans")]
    for task, more in (("plan", []), ("film", ["--steps", "2"])):
        yield ["batch", str(ROOT / "examples"), "--task", task, "--out", str(folder / f"batch_{task}"), *more]
    file = str(folder / "high.safetensors")
    yield ["convert", SMALL, "--as", "wan-dit", "--expert", "high", "--to", "wan", "--out", file]
    yield ["convert", file, "--as", "wan-dit", "--expert", "high", "--out", str(folder / "controller")]


def run(arguments: list[str]) -> list[Used]:
    """Runs a command and returns what it said of its memory.

    Raises:
        RuntimeError: it failed, or said nothing.
    """
    command = [sys.executable, "-m", "shotverse_jax.cli", *arguments, "--verbose", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = re.findall(r"peak memory of (.*): ([\d.]+) GiB(?:, expected at most ([\d.]+))?", done.stderr)
    if done.returncode or not lines:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr[-500:]}")
    return [Used(where, float(peak), float(expected) if expected else None) for where, peak, expected in lines]


def main() -> int:
    """Prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("film", "plan", "batch", "convert"))
    args = parser.parse_args()
    over = False
    print("| command | where | GiB | expected at most |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for arguments in commands(Path(folder)):
            if args.only in (None, arguments[0]):
                shown = " ".join(Path(word).name if "/" in word else word for word in arguments)
                for used in run(arguments):
                    print(f"| `{shown}` | {used.where} | {used.peak:.2f} | {used.expected or ''} |", flush=True)
                    over |= used.expected is not None and used.peak > used.expected
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
