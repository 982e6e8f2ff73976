"""`shotverse get`: a published model by its name, downloaded, checked and converted."""

import argparse
import sys

from shotverse_jax.commands.common import Terminal, out_name, show
from shotverse_jax.files import check_place

HELP = "Download a published model and convert it, so that every command finds it by its name."
EXAMPLES = ("shotverse get holocine-full", "shotverse get --list")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="the model: holocine-full, qwen3-vl-2b, ...")
    parser.add_argument("--list", action="store_true", help="show what can be fetched, and what is there")
    parser.add_argument("--yes", action="store_true", help="do not ask: the licence is accepted")
    parser.add_argument(
        "--out",
        type=out_name,
        metavar="DIR",
        help="folder in which the model gets its folder (default: models/ in the user's cache)",
    )
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit in the repository (default: main)")
    parser.add_argument("--target-dtype", choices=("float32", "bfloat16"), help="default: as stored")
    parser.add_argument(
        "--shard-for", metavar="MESH", help="store in the parts that devices read, e.g. fsdp=8,tensor=2"
    )
    parser.add_argument(
        "--tokenizer", metavar="FILE", help="tokenizer.json for a model that is published without one (gendop-*)"
    )


def run(args: argparse.Namespace) -> int:
    """Shows what is to be downloaded, asks, and fetches it; --list shows the table.

    Returns the exit code: 0, 1 after a no, 130 after Ctrl-C.
    """
    try:
        return _run(args)
    except KeyboardInterrupt:
        Terminal(args.quiet).say("\nstopped; the same command goes on")
        return 130


def _run(args: argparse.Namespace) -> int:
    from shotverse_jax.conversion import hub
    from shotverse_jax.conversion.stream import parse_mesh

    if args.quiet:
        hub.be_quiet()
    out = hub.place(args.out)
    if args.list:
        for line in hub.listing(out):
            show(line)
        return 0
    if args.name is None:
        raise ValueError(f"say which model: {', '.join(hub.PUBLISHED)}")
    check_place(out, folder=True)
    names = hub.wanted(args.name, out, args.revision)
    if not names:
        show(f"{out / args.name} is there")
        return 0
    options = hub.Options(args.target_dtype, parse_mesh(args.shard_for) if args.shard_for else {}, args.tokenizer)
    offers = [hub.look(name, args.revision if name == args.name else None) for name in names]
    # Who is asked sees what it is about, also with --quiet.
    terminal = Terminal(args.quiet and args.yes)
    for line in hub.summary(offers, out):
        terminal.say(line)
    if not (args.yes or _agrees()):
        terminal.say("nothing was downloaded")
        return 1
    for offer in offers:
        own = options if offer.name == args.name else hub.Options(options.dtype, options.mesh)
        for line in hub.fetch(offer, args.out, own, progress=not args.quiet):
            show(line)
    return 0


def _agrees() -> bool:
    if not sys.stdin.isatty():
        raise ValueError("there is no terminal to ask on; give --yes to accept the licences and download")
    print("Accept the licences and download? [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201
    return sys.stdin.readline().strip().lower() in ("y", "yes")
