"""Everything worth measuring on one GPU, in one command of at most nine minutes: the numbers of docs/gpu.md.

    python -m benchmarks.gpu                      # on an 80 GB GPU; writes benchmarks/records/<device>.json
    python -m benchmarks.gpu --only train         # the device and one section; the record's others stay
    python -m benchmarks.gpu --small --minutes 5  # a laptop, without a record: every section at a tiny size
    python -m benchmarks.gpu --show benchmarks/records/nvidia_h200.json    # the tables of a record

A section runs in a process of its own, so that its memory is its own and a crash leaves the others alone; what fails
is recorded with its error in one line. A section that would not fit the time left is skipped, and its table says so.
Weights are random, of the real widths; `blocks` says how many of the transformer's 40 there are. `of peak` is the
share of the fastest matrix product in the section `device`. docs/gpu.md says what every column means.
"""

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

RECORDS = Path(__file__).parents[1] / "records"


class Section(NamedTuple):
    """where: module and function. seconds: what it needs on an H200; skipped when fewer are left, stopped at thrice as
    many. flags: XLA's, of its process."""

    where: str
    seconds: int
    flags: str = ""


SECTIONS = {
    "device": Section("benchmarks.gpu.kernels:device", 20),
    # Without XLA's search for the fastest products, which parity has no use for.
    "parity": Section("benchmarks.gpu.kernels:parity", 45, "--xla_gpu_autotune_level=0"),
    "attention": Section("benchmarks.gpu.kernels:attention", 15),
    "forward": Section("benchmarks.gpu.networks:forward", 100),
    "memory": Section("benchmarks.gpu.networks:memory", 50),
    "train": Section("benchmarks.gpu.networks:train", 110),
    "planner": Section("benchmarks.gpu.networks:planner", 50),
    "vae": Section("benchmarks.gpu.networks:vae", 50),
    "small_film": Section("benchmarks.gpu.networks:small_film", 100),
    "torch": Section("benchmarks.gpu.torch_dit:sections", 80),
}

UNITS = {"ms": "ms", "tflops": "TFLOP/s", "gb_s": "GB/s", "compile_s": "compile s", "peak_gib": "peak GiB"}
UNITS |= {"share": "of peak", "program_gib": "program GiB", "tokens_s": "tokens/s", "ms_a_step": "ms a step"}
UNITS |= {"first_s": "first s", "error_text": "failed with", "error_xla": "error of xla", "error": "error"}
UNITS |= {"gradient_error": "of gradients", "gradient_error_xla": "of gradients, xla"}


def run_section(name: str, small: bool, rows: Path) -> None:
    """Runs one section in this process and appends each row to a file as soon as it is measured."""
    module, _, function = SECTIONS[name].where.partition(":")
    with rows.open("a") as file:
        for row in getattr(importlib.import_module(module), function)(small):
            numbers = (f"{UNITS.get(key, key)} {shown(key, value)}" for key, value in row.items() if key != "what")
            print(f"  {row['what']}: {', '.join(numbers)}")
            file.write(json.dumps(row) + "\n")
            file.flush()


def child(name: str, small: bool, limit: float) -> list[dict]:
    """The rows of a section that runs in a process of its own for at most `limit` seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        rows, log = Path(scratch) / "rows.jsonl", Path(scratch) / "log"
        rows.touch()
        command = [sys.executable, "-u", "-m", "benchmarks.gpu", "--only", name, "--rows", str(rows)]
        # JAX leaves a quarter of the memory unused by default; this is the share that the files in launch/ set.
        environment = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.92"} | os.environ
        environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {SECTIONS[name].flags}".strip()
        with log.open("w") as errors:
            process = subprocess.Popen(command + ["--small"] * small, stderr=errors, env=environment)
            try:
                code, problem = process.wait(limit), ""
            except subprocess.TimeoutExpired:
                process.kill()
                code, problem = process.wait(), f"stopped after {limit:.0f} s"
        found = [json.loads(line) for line in rows.read_text().splitlines()]
        if code:
            # The end of a log has the error itself; the record keeps its last line only.
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            sys.stderr.write("\n".join(lines[-12:]) + "\n")
            found.append({"what": name, "error_text": problem or (lines[-1][:300] if lines else f"exit code {code}")})
    return found


def measure(names: list[str], small: bool, minutes: float) -> dict:
    """The sections that were measured, {name: {"date", "seconds", "rows"}}."""
    start, found = time.monotonic(), {}
    for name in names:
        begin = time.monotonic()
        left = 60 * minutes - (begin - start)
        needed = SECTIONS[name].seconds
        print(f"{name} ({left:.0f} s left)", flush=True)
        if not small and left < needed:
            rows = [{"what": name, "error_text": f"skipped: it needs about {needed} s, {left:.0f} s are left"}]
        else:
            rows = child(name, small, left if small else min(left, 3 * needed))
        found[name] = {"date": time.strftime("%Y-%m-%d"), "seconds": time.monotonic() - begin, "rows": rows}
    return found


def add_shares(sections: dict) -> None:
    """Adds to every row with a rate its share of the fastest matrix product of the section `device`."""
    peak = max((row.get("tflops", 0) for row in sections["device"]["rows"]), default=0)
    for name, section in sections.items():
        for row in section["rows"]:
            if peak and name != "device" and "tflops" in row:
                row["share"] = row["tflops"] / peak


def table(sections: dict) -> Iterator[str]:
    """Sections as Markdown, one table each."""
    for name, section in sections.items():
        rows = section["rows"]
        keys = list(dict.fromkeys(key for row in rows for key in row))
        yield f"### {name}"
        yield ""
        yield "| " + " | ".join(UNITS.get(key, key.replace("_", " ")) for key in keys) + " |"
        yield "|" + "---|" * len(keys)
        for row in rows:
            yield "| " + " | ".join(shown(key, row[key]) if key in row else "" for key in keys) + " |"
        yield ""
    dates = sorted({section["date"] for section in sections.values()})
    yield f"{sum(section['seconds'] for section in sections.values()):.0f} s in all, {' and '.join(dates)}"


def shown(key: str, value: object) -> str:
    """A value as text, as many digits as it is worth."""
    if not isinstance(value, float):
        return str(value).replace("|", "/")
    if key == "share":
        return f"{value:.0%}"
    if "error" in key:
        return f"{value:.1e}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write_record(sections: dict, folder: Path) -> dict:
    """Puts the sections into the record of their device and returns all of it: what else it had stays."""
    device = next((row["device"] for row in sections["device"]["rows"] if "device" in row), "device")
    path = folder / (re.sub(r"\W+", "_", device.lower()) + ".json")
    before = json.loads(path.read_text()) if path.is_file() else {}
    merged = before | sections
    record = {name: merged[name] for name in SECTIONS if name in merged}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {path}")
    return record


def main() -> None:
    """Runs the benchmark, or shows a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="these sections (default: all)")
    parser.add_argument("--minutes", type=float, default=9.0, help="the most that it takes in all")
    parser.add_argument("--small", action="store_true", help="tiny sizes, for a laptop; writes no record")
    parser.add_argument("--out", type=Path, help="folder of the record (default: benchmarks/records)")
    parser.add_argument("--show", type=Path, help="print the table of this record, and measure nothing")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)  # this process is the one of a section
    args = parser.parse_args()
    if args.rows is not None:
        return run_section(args.only[0], args.small, args.rows)
    if args.show is not None:
        print("\n".join(table(json.loads(args.show.read_text()))))
        return None
    chosen = dict.fromkeys(("device", *(args.only or SECTIONS)))  # every share needs the device's own rate
    sections = measure(list(chosen), args.small, args.minutes)
    add_shares(sections)
    if not args.small or args.out is not None:
        sections = write_record(sections, args.out or RECORDS)
    print("\n".join(table(sections)))


if __name__ == "__main__":
    main()
