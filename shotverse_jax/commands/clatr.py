"""`shotverse clatr`: latents of camera paths and of captions."""

import argparse

from shotverse_jax.commands.common import Terminal, say_notes, show, use_compilation_cache

HELP = "Write CLaTr's latents of camera paths and captions."
EXAMPLES = ("shotverse clatr features out/last_train/trajectory.json --out out/features",)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("what", choices=("features",), help="what to write: latents of every shot")
    parser.add_argument("folder", help="camera paths: DataDoP's or GenDoP's folder, plans, or files of any format")
    parser.add_argument("--out", required=True, help="folder of the results; a run that was stopped goes on there")
    network_arguments(parser)


def network_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds which CLaTr reads, and which captions."""
    parser.add_argument(
        "--clatr",
        default="clatr_small",
        metavar="MODEL",
        help="name or folder of a CLaTr (default: clatr_small, which ships and is not the published one)",
    )
    parser.add_argument(
        "--text-tower", metavar="FOLDER", help="its text tower, where it has none of its own: OpenAI's ViT-B/32"
    )
    parser.add_argument(
        "--caption",
        choices=("movement", "concise", "detailed"),
        default="movement",
        help="which caption of GenDoP's and DataDoP's files (default: movement)",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the latents; returns the exit code 0."""
    use_compilation_cache()
    from shotverse_jax.evaluation.features.clatr import CLaTrReader
    from shotverse_jax.evaluation.features.clatr_files import write_features

    terminal, reader = Terminal(args.quiet), CLaTrReader.load(args.clatr, args.text_tower)
    terminal.say(f"latents by {reader.title} …")
    say_notes(
        args, (f"left out: {text}" for text in write_features(args.folder, args.out, reader, args.caption, terminal))
    )
    show(args.out)
    return 0
