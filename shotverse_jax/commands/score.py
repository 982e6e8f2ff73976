"""`shotverse score`: how well videos fit texts, by a CameraCLIP."""

import argparse
import json

from shotverse_jax.commands.common import Terminal, show, use_compilation_cache

HELP = "Score how well videos fit texts, such as classes of cinematic language."
EXAMPLES = ('shotverse score out/red_coat/film.mp4 --text "the camera pans left" --text "zoom in"',)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="video files")
    parser.add_argument(
        "--text", action="append", required=True, dest="texts", help="a text; may be given several times"
    )
    parser.add_argument("--model", help="name or folder of a CameraCLIP or a CLIP (default: clip_small)")
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Shows the cosine of every video with every text; returns the exit code 0."""
    use_compilation_cache()
    from shotverse_jax.cinematic.scorer import SMALL, CameraScorer

    scorer, terminal = CameraScorer.load(args.model or SMALL), Terminal(args.quiet)
    scorer.text_features(args.texts)  # texts are refused before videos are read
    clips = []
    for number, video in enumerate(args.videos, 1):
        clips.append(scorer.read(video))
        terminal("videos", number, len(args.videos))
    cosine_BN = scorer.scores(clips, args.texts).tolist()
    if args.json:
        show(json.dumps({"texts": args.texts, "videos": args.videos, "scores": cosine_BN}, indent=2))
        return 0
    for video, row in zip(args.videos, cosine_BN, strict=True):
        show(video)
        for text, cosine in sorted(zip(args.texts, row, strict=True), key=lambda pair: -pair[1]):
            show(f"  {cosine:7.4f}  {text}")
    return 0
