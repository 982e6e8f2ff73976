"""`shotverse eval`: scores of a planner or a controller on held-out data, and of planned cameras against others."""

import argparse
import json

from shotverse_jax.commands import eval_track_a
from shotverse_jax.commands.common import (
    Terminal,
    candidates,
    positive,
    seed,
    show,
    steps,
    strength,
    use_compilation_cache,
)

HELP = "Score a model on held-out data, or planned cameras against others."
EXAMPLES = (
    "shotverse eval planner --scenes 300",
    "shotverse eval track-a PRED REF --upstream",
    "shotverse eval camera-clip clips",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "what",
        choices=("planner", "film", "captioner", "camera-clip", "track-a"),
        help="what to score: plans of the stage, films of true cameras, captions of previews, a CameraCLIP, or cameras "
        "in files",
    )
    parser.add_argument(
        "folders",
        nargs="*",
        metavar="PRED REF",
        help="of track-a: predicted and reference cameras; of camera-clip: a folder of clips (default: of the stage)",
    )
    parser.add_argument("--model", help="name of a network of the kind that is scored, or its folder")
    parser.add_argument(
        "--scenes", type=positive, help="held-out scenes of the stage (default 300; of films 64, of camera-clip 200)"
    )
    parser.add_argument("--steps", type=steps, help="of films: denoising steps (default: the model's)")
    parser.add_argument("--cfg", type=strength, help="of films: strength of text guidance (default: the model's)")
    parser.add_argument(
        "--prompts", help="YAML file of prompts with the motion each asks for (default: those that ship)"
    )
    parser.add_argument(
        "--sampling", choices=("nucleus", "top_k", "greedy"), default="nucleus", help="how to pick tokens"
    )
    parser.add_argument(
        "--candidates",
        type=candidates,
        help="of plans: drawn for each that is kept, the best (default 1: the planner's)",
    )
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    eval_track_a.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Scores and shows the scores; returns the exit code 0."""
    use_compilation_cache()
    if args.what == "track-a":
        return eval_track_a.run(args)
    if len(args.folders) > (args.what == "camera-clip"):
        most = "one folder" if args.what == "camera-clip" else "no folders"
        raise ValueError(f"shotverse eval {args.what} takes {most}, got {' '.join(args.folders)}")
    kinds = {"planner": _planner, "film": _film, "captioner": _captioner, "camera-clip": _camera_clip}
    scores = kinds[args.what](args)
    if args.json:
        show(json.dumps(scores, indent=2))
        return 0
    for name, value in scores.items():
        show(f"{name:<32} {value:.4f}" if isinstance(value, float) else f"{name:<32} {value}")
    return 0


def _film(args: argparse.Namespace) -> dict:
    from shotverse_jax import api
    from shotverse_jax.evaluation.tracks.stage_films import film_held_out

    cinematographer, estimator = api.load(args.model or api.CONTROLLER, "controller"), api.load("pose_small")
    options = {"seed": args.seed, "steps": args.steps, "guidance": args.cfg, "progress": Terminal(args.quiet)}
    return film_held_out(cinematographer, estimator, args.scenes or 64, **options)


def _captioner(args: argparse.Namespace) -> dict:
    from shotverse_jax.evaluation.tracks.stage_captions import caption_held_out
    from shotverse_jax.infer.captions import CAPTIONER, Captioner

    captioner = Captioner.load(args.model or CAPTIONER)
    return caption_held_out(captioner, args.scenes or 300, args.seed, Terminal(args.quiet))


def _camera_clip(args: argparse.Namespace) -> dict:
    from shotverse_jax.cinematic.scorer import SMALL, CameraScorer
    from shotverse_jax.evaluation.tracks.camera_clip import score_held_out

    if args.folders and args.scenes:
        raise ValueError("--scenes counts clips of the stage; of a folder all clips of the split test are scored")
    scorer, folder = CameraScorer.load(args.model or SMALL), args.folders[0] if args.folders else None
    return score_held_out(scorer, folder, args.scenes or 200, args.seed, Terminal(args.quiet))


def _planner(args: argparse.Namespace) -> dict:
    from shotverse_jax import api
    from shotverse_jax.evaluation.tracks.stage_plans import read_prompts, score_framing, score_prompts, score_scenes
    from shotverse_jax.grammar.samples import sample_example
    from shotverse_jax.infer.decode import SAMPLERS
    from shotverse_jax.infer.plan import plan

    terminal, prompts, scenes = Terminal(args.quiet), read_prompts(args.prompts), args.scenes or 300
    director, sampling = api.load(args.model or api.PLANNER, "planner"), SAMPLERS[args.sampling]

    def planned(screenplays):
        options = {"seed": args.seed, "sampling": sampling, "candidates": args.candidates or 1}
        return [samples[0] for samples in plan(director, screenplays, **options)]

    terminal.say(f"planning {scenes} held-out scenes …")
    examples = [sample_example(i, "test") for i in range(scenes)]
    found = planned([e.screenplay for e in examples])
    scores = score_scenes(found, [e.trajectory for e in examples])
    scores |= score_framing(found, [e.trajectory for e in examples], [e.scene for e in examples])
    terminal.say(f"planning {len(prompts)} hand-written prompts …")
    scores |= score_prompts(planned([p.screenplay for p in prompts]), prompts)
    return scores
