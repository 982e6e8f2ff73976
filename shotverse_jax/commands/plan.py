"""`shotverse plan`: the cameras of a screenplay."""

import argparse

from shotverse_jax.commands import peak
from shotverse_jax.commands.common import (
    Terminal,
    candidates,
    out_folder,
    out_name,
    placement_arguments,
    placement_of,
    samples,
    screenplay_arguments,
    seed,
    use_compilation_cache,
)
from shotverse_jax.files import owned

HELP = "Plan the cameras of a screenplay."
EXAMPLES = ("shotverse plan examples/last_train.yaml",)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    screenplay_arguments(parser)
    parser.add_argument("--out", type=out_name, help="folder for the results (default: out/<name of the screenplay>)")
    parser.add_argument("--seed", type=seed, default=0, help="another seed, another plan (default 0)")
    parser.add_argument("--samples", type=samples, default=1, help="plans to write, each in a folder of its own")
    parser.add_argument(
        "--candidates",
        type=candidates,
        help="plans that are drawn for each one that is kept, the best (default 8; 1 takes the first)",
    )
    parser.add_argument(
        "--model", default="planner_small", help="name of a shipped or fetched planner, or the folder of one"
    )
    parser.add_argument(
        "--sampling", choices=("nucleus", "top_k", "greedy"), default="nucleus", help="how to pick tokens"
    )
    placement_arguments(parser, offload=False)
    parser.add_argument("--no-preview", action="store_true", help="write the trajectory and the plot only")
    peak.argument(parser)


def run(args: argparse.Namespace) -> int:
    """Plans and writes the cameras; returns the exit code 0."""
    from shotverse_jax.camera.motion_words import lines
    from shotverse_jax.screenplay import read_screenplay

    # Mistakes in the files are found before JAX is imported and a model is loaded.
    terminal, out = Terminal(args.quiet), out_folder(args)
    screenplay = read_screenplay(args.screenplay, args.scene)
    for note in screenplay.notes:
        terminal.say(note)
    frames = screenplay.layout().num_frames
    terminal.say(f"{len(screenplay.shots)} shots, {frames} frames at {screenplay.fps:g} fps; planning …")
    use_compilation_cache()
    from shotverse_jax import api
    from shotverse_jax.infer.outputs import write_plans
    from shotverse_jax.infer.plan_need import most_plan_memory
    from shotverse_jax.stage.review import review

    options = {"seed": args.seed, "samples": args.samples, "sampling": args.sampling, "candidates": args.candidates}
    with owned(out):
        planner = api.load_planner(args.model, **placement_of(args))
        for note in planner.notes(screenplay):
            terminal.say(note)
        trajectories = api.plan(screenplay, planner, **options)
        write_plans(trajectories, out, preview=not args.no_preview, progress=terminal)
    for trajectory in trajectories:
        told = zip(trajectory.spans, lines(trajectory), review(trajectory).shots, strict=True)
        for (start, end), words, shot in told:
            seconds = (end - start) / trajectory.fps
            terminal.say(f"  shot {shot.number}: frames {start}-{end - 1} ({seconds:.1f} s), {words}")
            terminal.say(f"    {shot.verdict}")
    folders = "sample_*/" if args.samples > 1 else ""
    preview = "" if args.no_preview else ", preview.mp4"
    terminal.say(f"wrote {out}/{folders}trajectory.json, trajectory.png{preview}")
    peak.say(args, lambda: most_plan_memory(args.model, args.dtype))
    return 0
