"""The memory that a command used, beside what was expected: `--verbose` of the commands that need much."""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from shotverse_jax.commands.common import Terminal

GIB = 1 << 30


def argument(parser: argparse.ArgumentParser) -> None:
    """Adds --verbose."""
    parser.add_argument(
        "--verbose", action="store_true", help="say at the end how much memory was used, and how much was expected"
    )


def host_peak() -> int | None:
    """Returns the most bytes of memory that this process has had; None where the system does not say.

    Pages of mapped files count as long as they are there.
    """
    try:
        # Unlike getrusage, it does not begin with what the program that started this one had.
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    if found:
        return 1024 * int(found[1])
    try:
        import resource
    except ImportError:  # Windows
        return None
    # Kilobytes, on macOS bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def device_peaks() -> dict[str, int]:
    """Returns the most bytes that were in use of each device of this process that says so; a CPU does not."""
    import jax

    stats = {f"{device.device_kind} {device.id}": device.memory_stats() or {} for device in jax.local_devices()}
    return {name: found["peak_bytes_in_use"] for name, found in stats.items() if "peak_bytes_in_use" in found}


def say(args: argparse.Namespace, expected: Callable[[], int], devices: bool = True) -> None:
    """Says, with --verbose, the peak of the process and of its devices.

    Args:
        args: the command's.
        expected: returns the bytes that were expected: of each device, or of the process where it has only a CPU.
        devices: whether the command's work is on the devices; True (default).
    """
    if not args.verbose:
        return
    terminal, host = Terminal(quiet=False), host_peak()
    peaks = device_peaks() if devices else {}
    estimate = f", expected at most {expected() / GIB:.2f}"
    if host is not None:
        terminal.say(f"peak memory of this process: {host / GIB:.2f} GiB{'' if peaks else estimate}")
    for name, peak in peaks.items():
        terminal.say(f"peak memory of {name}: {peak / GIB:.2f} GiB{estimate}")
