"""`shotverse verify`: a recorded run of a PyTorch network, replayed."""

import argparse

from shotverse_jax.commands.common import number, show

HELP = "Replay a recorded run of a PyTorch network with ours and compare."
EXAMPLES = ("shotverse verify examples/wan_dit.npz",)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("record", help="record: weights under param/, inputs and outputs by the names in meta")
    parser.add_argument(
        "--tol",
        type=number("the tolerance", 0, 1e6),
        default=1e-4,
        help="largest error over the output's RMS (default 1e-4)",
    )


def run(args: argparse.Namespace) -> int:
    """Replays the record and shows the errors; returns the exit code 0, or 1 if an error is above the tolerance."""
    from shotverse_jax.conversion.verify import verify_record

    report = verify_record(args.record, tol=args.tol)
    for output in report.outputs:
        show(f"{output.name}: max_abs {output.max_abs:.3g}, max_rel_rms {output.max_rel_rms:.3g}")
    show(f"{report.model}: {'ok' if report.ok else 'FAILED'}, tolerance {args.tol:g}")
    return 0 if report.ok else 1
