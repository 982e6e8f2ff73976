"""`shotverse caption`: what the shots of a film or a plan show, in words."""

import argparse
import sys

from shotverse_jax.commands.common import Terminal, number, positive, seed, show, use_compilation_cache
from shotverse_jax.files import check_place, write_json
from shotverse_jax.text_files import printable

HELP = "Say in words what each shot of a film or a plan shows."
EXAMPLES = (
    "shotverse caption out/red_coat/trajectory.json",
    "shotverse caption film.mp4 --cuts 97 180 --endpoint http://localhost:8000/v1 --endpoint-model NAME",
)
FAILED = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("source", help="a video, a folder with film.mp4 or trajectory.json, or a trajectory")
    parser.add_argument(
        "--cuts", type=positive, nargs="+", metavar="FRAME", help="first frames of the shots after the first"
    )
    parser.add_argument("--model", metavar="MODEL", help="name or folder of a Qwen3-VL (default: captioner_small)")
    parser.add_argument("--prompt", help="what is asked about each shot (default: the model's own question)")
    parser.add_argument("--endpoint", metavar="URL", help="ask an OpenAI-compatible server in place of --model")
    parser.add_argument("--endpoint-model", metavar="NAME", help="the name that the server knows its model by")
    parser.add_argument(
        "--key-variable", default="OPENAI_API_KEY", metavar="NAME", help="environment variable with the server's key"
    )
    parser.add_argument(
        "--temperature",
        type=number("the temperature", 0, 10),
        default=0.0,
        help="0 (default) takes the likeliest words, more draws them",
    )
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--out", metavar="FILE", help="JSON file to write as well")


def run(args: argparse.Namespace) -> int:
    """Captions every shot; returns the exit code: 0, or 3 where shots have no caption."""
    if bool(args.endpoint) != bool(args.endpoint_model) or (args.endpoint and args.model):
        raise ValueError("--endpoint and --endpoint-model go together, without --model")
    if args.out:
        check_place(args.out)
    use_compilation_cache()
    from shotverse_jax.endpoint import NoAnswer
    from shotverse_jax.infer.captions import CAPTIONER, Captioner, EndpointCaptioner
    from shotverse_jax.infer.clips import shot_clips

    terminal, clips = Terminal(args.quiet), shot_clips(args.source, args.cuts)
    if args.endpoint:
        captioner = EndpointCaptioner.connect(
            args.endpoint, args.endpoint_model, args.prompt, key_name=args.key_variable
        )
    else:
        captioner = Captioner.load(args.model or CAPTIONER, args.prompt)
    results = []
    for clip in clips:
        row = {"shot": clip.shot, "frames": [clip.start, clip.end]}
        try:
            [[caption]] = captioner.captions([clip.frames_THWC], 1, args.temperature, args.seed, clip.fps)
            row["caption"] = caption
            show(f"shot {clip.shot} ({clip.start}-{clip.end - 1}): {printable(caption)}")
        except ValueError as error:
            if isinstance(error, NoAnswer) and not results:
                raise  # a server that is not there will not answer about other shots either
            row["error"] = " ".join(str(error).split())
            print(printable(f"shot {clip.shot}: {row['error']}"), file=sys.stderr)  # noqa: T201
        results.append(row)
        terminal("shots", clip.shot, len(clips))
    if args.out:
        write_json(args.out, results, indent=2)
        terminal.say(f"wrote {args.out}")
    return FAILED if any("error" in row for row in results) else 0
