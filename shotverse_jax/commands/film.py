"""`shotverse film`: the film of a screenplay."""

import argparse
import functools

from shotverse_jax.commands import peak
from shotverse_jax.commands.common import (
    Terminal,
    candidates,
    compose_arguments,
    compose_of,
    faster_arguments,
    faster_of,
    frames,
    lora_argument,
    out_folder,
    out_name,
    placement_arguments,
    placement_of,
    read_arguments,
    read_trajectory,
    screenplay_arguments,
    seed,
    size,
    steps,
    strength,
    use_compilation_cache,
)
from shotverse_jax.files import owned

HELP = "Make the film of a screenplay."
EXAMPLES = (
    "shotverse film examples/red_coat.txt --compare",
    'shotverse film examples/red_coat.txt --style "zoom-in, low-angle 0.6" --compose switch --ramp 8',
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    screenplay_arguments(parser)
    parser.add_argument("--trajectory", help="cameras in any format that can be read (default: they are planned)")
    read_arguments(parser)
    parser.add_argument("--out", type=out_name, help="folder for the results (default: out/<name of the screenplay>)")
    parser.add_argument("--steps", type=steps, help="denoising steps (default: the model's)")
    parser.add_argument("--cfg", type=strength, help="strength of text guidance, 1 is none (default: the model's)")
    parser.add_argument(
        "--solver", choices=("unipc", "euler"), default="unipc", help="how noise is followed to the film"
    )
    parser.add_argument("--seed", type=seed, default=0, help="another seed, another film (default 0)")
    parser.add_argument("--size", type=size, metavar="HxW", help="height and width in pixels (default: the model's)")
    parser.add_argument("--frames", type=frames, help="frames of the film, 4t+1 (default: the model's)")
    parser.add_argument(
        "--compare", action="store_true", help="show the stage through the same cameras beside the film"
    )
    lora_argument(parser)
    compose_arguments(parser)
    faster_arguments(parser)
    parser.add_argument(
        "--model", default="controller_small", help="name of a shipped or fetched controller, or the folder of one"
    )
    parser.add_argument("--planner", default="planner_small", help="name of a planner, or the folder of one")
    parser.add_argument(
        "--candidates", type=candidates, help="plans of which the best is filmed (default: the planner's)"
    )
    parser.add_argument("--negative", help="prompt that the film is steered away from (default: the model's)")
    placement_arguments(parser)
    peak.argument(parser)


def run(args: argparse.Namespace) -> int:
    """Makes and writes the film; returns the exit code 0."""
    from shotverse_jax.screenplay import read_screenplay

    # Mistakes in the files are found before JAX is imported and a model is loaded.
    terminal, out = Terminal(args.quiet), out_folder(args)
    screenplay = read_screenplay(args.screenplay, args.scene)
    if args.trajectory is None and (args.read or args.fmt):
        raise ValueError("--read and --from say how a --trajectory is read; give one")
    trajectory = None if args.trajectory is None else read_trajectory(args)
    compose = compose_of(args)
    use_compilation_cache()
    from shotverse_jax import api

    with owned(out):
        film = api.film(
            screenplay,
            trajectory,
            args.model,
            planner=args.planner,
            candidates=args.candidates,
            frames=args.frames,
            size=args.size,
            loras=args.lora,
            compose=compose,
            progress=terminal,
            seed=args.seed,
            steps=args.steps,
            guidance=args.cfg,
            solver=args.solver,
            negative=args.negative,
            place=placement_of(args),
            **faster_of(args),
        )
        film.write(out, compare=args.compare, progress=terminal)
    terminal.say(f"wrote {out}/film.mp4, film.png, shot_*.mp4, cameras.json and the plan's files")
    peak.say(args, functools.partial(_expected, args, len(film.trajectory)))
    return 0


def _expected(args: argparse.Namespace, made: int) -> int:
    from shotverse_jax.infer.fits import film_memory

    place = placement_of(args)
    place.pop("attention")
    return film_memory(args.model, made, args.size, **place)
