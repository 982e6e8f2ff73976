"""`shotverse convert`: a published checkpoint as a model folder of ours, and back."""

import argparse
import functools
import itertools
from collections.abc import Iterable

from shotverse_jax.commands import peak
from shotverse_jax.commands.common import out_name, show

HELP = "Convert a published checkpoint to a model folder of ours, or back."
EXAMPLES = (
    "shotverse convert shotverse_jax/pretrained/controller_small --as wan-dit --expert high --to wan "
    "--out high.safetensors",
    "shotverse convert high.safetensors --as wan-dit --expert high --out controller",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("source", metavar="SRC", help=".safetensors, .pth, .pt, .ckpt, an index of shards, or a folder")
    parser.add_argument("--as", dest="name", metavar="NAME", help="the network: qwen3-vl, wan-dit, holocine, umt5, ...")
    parser.add_argument("--out", type=out_name, metavar="DIR", help="folder to write; with --to the .safetensors file")
    parser.add_argument("--expert", choices=("high", "low", "base"), help="which expert of a controller it is")
    parser.add_argument("--target-dtype", choices=("float32", "bfloat16"), help="default: as stored")
    parser.add_argument(
        "--shard-for", metavar="MESH", help="store in the parts that devices read, e.g. fsdp=8,tensor=2"
    )
    parser.add_argument(
        "--tokenizer", metavar="FILE", help="tokenizer.json to keep, or none (default: that beside SRC)"
    )
    parser.add_argument("--allow-nan", action="store_true", help="convert weights with NaN or infinity all the same")
    parser.add_argument("--dry-run", action="store_true", help="show names, shapes and sizes, and what is missing")
    parser.add_argument("--to", metavar="STYLE", help="the way back: SRC is our folder, names of wan, diffusers, ...")
    peak.argument(parser)


def run(args: argparse.Namespace) -> int:
    """Converts a checkpoint, or a folder of ours with --to; --dry-run describes it only. Returns the exit code 0."""
    for line in _lines(args):
        show(line)
    if not args.dry_run:
        peak.say(args, functools.partial(_expected, args), devices=False)
    return 0


def _expected(args: argparse.Namespace) -> int:
    """The bytes that the conversion was expected to take, by the checkpoint that was read or written."""
    from shotverse_jax.conversion import released
    from shotverse_jax.conversion.networks import network
    from shotverse_jax.conversion.sources import open_checkpoint
    from shotverse_jax.conversion.stream import memory

    if args.to:
        return memory(open_checkpoint(_out(args)).shapes.values())
    expert = args.expert or next(iter(released.experts(args.source)), None)
    kind = network(args.name).kind
    return memory(open_checkpoint(released.part(args.source, kind, expert)).shapes.values())


def _lines(args: argparse.Namespace) -> Iterable[str]:
    """What was done, a line at a time."""
    from shotverse_jax.conversion import released
    from shotverse_jax.conversion.commands import convert_back
    from shotverse_jax.conversion.networks import NETWORKS, network

    if args.to:
        return convert_back(args.source, args.to, _out(args), args.name, args.expert, not args.quiet)
    if args.name is None:
        raise ValueError(f"say what it is with --as: {', '.join(NETWORKS)}")
    experts = released.experts(args.source) if network(args.name).is_expert and not args.expert else [args.expert]
    return itertools.chain.from_iterable(_converted(args, expert) for expert in experts)


def _converted(args: argparse.Namespace, expert: str | None) -> Iterable[str]:
    """What was done with one checkpoint, a line at a time."""
    from shotverse_jax.conversion import released
    from shotverse_jax.conversion.commands import convert
    from shotverse_jax.conversion.networks import network
    from shotverse_jax.conversion.prepare import describe, prepare
    from shotverse_jax.conversion.sources import open_checkpoint
    from shotverse_jax.conversion.stream import parse_mesh

    source = open_checkpoint(released.part(args.source, network(args.name).kind, expert))
    conversion = prepare(source, args.name, args.target_dtype, parse_mesh(args.shard_for) if args.shard_for else None)
    if args.dry_run:
        return describe(conversion)
    return convert(conversion, _out(args), expert, args.allow_nan, args.tokenizer, progress=not args.quiet)


def _out(args: argparse.Namespace) -> str:
    if not args.out:
        raise ValueError("say where to write it with --out")
    return args.out
