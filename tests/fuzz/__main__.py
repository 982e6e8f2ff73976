"""python -m tests.fuzz [--cases 20000] [--seed 0] [--only FAMILY] [--minutes M] [--out DIR] [--replay FAMILY:SEED]

Runs damaged inputs of every family, prints how they ended, and exits with code 1 if one of them failed. The inputs of
cases that failed are kept in DIR/FAMILY-SEED, with what happened in DIR/failures.txt. Every family runs in a process
of its own, which is started again after a case that killed it.
"""

import argparse
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from tests.fuzz.report import Tally, table

SILENT = 60
"""Seconds without a result after which the process of a family is taken for dead."""

ADDRESSES = 12 << 30
"""Bytes of addresses that a case may ask for beyond those of the process, before it gets a MemoryError."""


def main(argv: list[str] | None = None) -> int:
    """Runs the families; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n\n")[1])
    parser.add_argument("--cases", type=int, default=20_000, help="cases of all families together (default 20000)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first case of each family (default 0)")
    parser.add_argument("--only", metavar="FAMILY", action="append", help="one family; may be given several times")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes")
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"), help="folder of failures (default out/fuzz)")
    parser.add_argument("--replay", metavar="FAMILY:SEED", help="run one case here and show what happens")
    parser.add_argument("--worker", nargs=3, metavar=("FAMILY", "FIRST", "COUNT"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        return work(args.worker[0], int(args.worker[1]), int(args.worker[2]), args.out)
    if args.replay:
        return replay(*args.replay.rsplit(":", 1), args.out)
    return run(args)


def run(args: argparse.Namespace) -> int:
    """Runs all families, one after the other."""
    from tests.fuzz.families import FAMILIES, counts

    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    begun, tallies = time.monotonic(), []
    planned = counts(args.cases, args.only)
    for name, count in planned.items():
        share = count / sum(planned.values())
        until = time.monotonic() + 60 * args.minutes * share if args.minutes else None
        tally = Tally(name)
        tallies.append(tally)
        first = args.seed
        while first < args.seed + count and (until is None or time.monotonic() < until):
            first = _watch(tally, first, args.seed + count - first, args.out, until)
        print(f"{name}: {tally.cases} cases, {tally.failed} failed", file=sys.stderr, flush=True)
    assert planned.keys() <= FAMILIES.keys()
    print(table(tallies))
    print(f"{sum(t.cases for t in tallies)} cases in {time.monotonic() - begun:.0f} s, seeds from {args.seed}")
    failures = [line for tally in tallies for line in tally.failures]
    (args.out / "failures.txt").write_text("\n\n".join(failures) + "\n", encoding="utf-8", errors="replace")
    if failures:
        print(f"failures: {', '.join(f'{t.name}:{seed}' for t in tallies for seed in t.seeds)}; see {args.out}")
    return 1 if failures else 0


def _watch(tally: Tally, first: int, count: int, out: Path, until: float | None) -> int:
    """Runs cases of a family in a process, adds them to the tally, and returns the number of the next case."""
    results = out / f"{tally.name}.jsonl"
    results.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.fuzz", "--out", out, "--worker", tally.name, str(first), str(count)]
    log = (out / f"{tally.name}.log").open("ab")
    with log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        heard, size = time.monotonic(), -1
        while process.poll() is None:
            time.sleep(0.2)
            now = results.stat().st_size if results.exists() else 0
            if now != size:
                heard, size = time.monotonic(), now
            if time.monotonic() - heard > SILENT or (until is not None and time.monotonic() > until):
                process.kill()
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]
    if not found:
        raise SystemExit(f"the process of {tally.name} did not begin: see {out / tally.name}.log")
    for line in found:
        if "kind" in line:
            tally.add(line)
    last = found[-1]
    if "kind" in last:
        return last["seed"] + 1
    if until is None or time.monotonic() < until:
        text = f"the process ended, or said nothing for {SILENT} s: exit code {process.returncode}"
        dead = {"kind": "traceback", "seconds": 0.0, "megabytes": 0.0, "failures": ["traceback"], "text": text}
        tally.add({**last, **dead})
    return last["seed"] + 1


def work(name: str, first: int, count: int, out: Path) -> int:
    """Runs cases of a family in this process and writes a line before and after each."""
    from tests.fuzz.families import FAMILIES
    from tests.fuzz.harness import run_case

    quiet()
    with tempfile.TemporaryDirectory() as scratch, (out / f"{name}.jsonl").open("a", encoding="utf-8") as results:
        family = FAMILIES[name](Path(scratch) / "whole")
        limit_addresses()
        for seed in range(first, first + count):
            results.write(json.dumps({"seed": seed}) + "\n")
            results.flush()
            folder = Path(scratch) / "case"
            outcome = run_case(family, seed, folder)
            if outcome.failures:
                kept = out / f"{name}-{seed}"
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(folder, kept, symlinks=True)
            values = {"seed": seed, "kind": outcome.kind, "seconds": outcome.seconds, "megabytes": outcome.megabytes}
            text = outcome.text if outcome.failures else ""
            results.write(json.dumps({**values, "failures": outcome.failures, "text": text}) + "\n")
            results.flush()
    return 0


def replay(name: str, seed: str, out: Path) -> int:
    """Runs one case and shows how it ended; its input stays in the folder `out`."""
    from tests.fuzz.families import FAMILIES
    from tests.fuzz.harness import run_case

    quiet()
    with tempfile.TemporaryDirectory() as scratch:
        folder = out / f"{name}-{seed}"
        outcome = run_case(FAMILIES[name](Path(scratch) / "whole"), int(seed), folder)
    print(f"{outcome.kind}, {outcome.seconds:.2f} s, {outcome.megabytes:.0f} MB, the input is in {folder}")
    print(outcome.text)
    return 1 if outcome.failures else 0


def quiet() -> None:
    """Silences what libraries say of damaged files, which is the same thousands of times."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    os.environ["TQDM_DISABLE"] = "1"


def limit_addresses() -> None:
    """Bounds the memory that this process may ask for, so that one case cannot take down the machine."""
    with open("/proc/self/statm", encoding="ascii") as file:
        here = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (here + ADDRESSES, resource.RLIM_INFINITY))


if __name__ == "__main__":
    sys.exit(main())
