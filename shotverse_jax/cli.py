"""The `shotverse` command: parse, build, call. Input errors end with one sentence on stderr and exit code 2."""

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path

from shotverse_jax.files import replacing

DEFAULT_PLANNER, DEFAULT_CONTROLLER = "planner_small", "controller_small"


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code (0 done, 1 a check failed, 2 bad input)."""
    parser = _parser()
    args, args.overrides = parser.parse_known_args(argv)
    if wrong := [text for text in args.overrides if args.command != "fit" or not text.startswith("--config.")]:
        parser.error(f"unrecognized arguments: {' '.join(wrong)}")
    try:
        return args.run(args) or 0
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            return 0
        return refuse(f"shotverse {args.command}", error)


def refuse(program: str, error: Exception) -> int:
    """Says in one sentence on stderr what is wrong with the input; returns the exit code for that, 2."""
    print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shotverse",
        description="From a screenplay to multi-shot camera trajectories.",
        epilog="example: shotverse film examples/red_coat.txt",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, run, help_text, *examples):
        sub = commands.add_parser(
            name,
            help=help_text,
            description=help_text,
            epilog="example: " + "\n         ".join(examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("--quiet", action="store_true", help="say nothing but errors")
        sub.set_defaults(run=run)
        return sub

    sub = command("plan", _plan, "Plan the cameras of a screenplay.", "shotverse plan examples/last_train.yaml")
    sub.add_argument("screenplay", help="text, YAML, JSON or HoloCine prompt file; - reads standard input")
    sub.add_argument("--out", help="folder for the results (default: out/<name of the screenplay>)")
    sub.add_argument("--seed", type=int, default=0, help="another seed, another plan (default 0)")
    sub.add_argument("--samples", type=_positive, default=1, help="plans to write, each in a folder of its own")
    sub.add_argument("--model", default=DEFAULT_PLANNER, help="name of a shipped planner, or the folder of one")
    sub.add_argument("--sampling", choices=("nucleus", "top_k", "greedy"), default="nucleus", help="how to pick tokens")
    sub.add_argument("--no-preview", action="store_true", help="write the trajectory and the plot only")

    sub = command("film", _film, "Make the film of a screenplay.", "shotverse film examples/red_coat.txt --compare")
    sub.add_argument("screenplay", help="text, YAML, JSON or HoloCine prompt file; - reads standard input")
    sub.add_argument("--trajectory", help="cameras in any format that can be read (default: they are planned)")
    sub.add_argument("--out", help="folder for the results (default: out/<name of the screenplay>)")
    sub.add_argument("--steps", type=_positive, help="denoising steps (default: the model's)")
    sub.add_argument("--cfg", type=float, help="strength of text guidance, 1 is none (default: the model's)")
    sub.add_argument("--solver", choices=("unipc", "euler"), default="unipc", help="how noise is followed to the film")
    sub.add_argument("--seed", type=int, default=0, help="another seed, another film (default 0)")
    sub.add_argument("--size", type=_size, metavar="HxW", help="height and width in pixels (default: the model's)")
    sub.add_argument("--frames", type=_positive, help="frames of the film, 4t+1 (default: the model's)")
    sub.add_argument("--compare", action="store_true", help="show the stage through the same cameras beside the film")
    sub.add_argument("--model", default=DEFAULT_CONTROLLER, help="name of a shipped controller, or the folder of one")
    sub.add_argument("--planner", default=DEFAULT_PLANNER, help="name of a shipped planner, or the folder of one")

    sub = command(
        "preview", _preview, "Film a trajectory on the stage.", "shotverse preview out/last_train/trajectory.json"
    )
    _add_trajectory(sub)
    sub.add_argument("--out", help="video to write (default: preview.mp4 beside the trajectory)")
    sub.add_argument("--height", type=_positive, default=None, help="height of the video in pixels")

    sub = command(
        "export",
        _export,
        "Convert a trajectory to another format.",
        "shotverse export out/last_train/trajectory.json --to blender",
    )
    _add_trajectory(sub)
    sub.add_argument("--to", required=True, metavar="FORMAT", help="; ".join(_format_names()))
    sub.add_argument("--out", help="file or folder to write (default: beside the trajectory)")
    sub.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="option of the format, e.g. frames=81"
    )

    sub = command(
        "export-lora",
        _export_lora,
        "Write a trained adapter (LoRA) as other programs load it.",
        "python -m launch.train --config=configs/controller/small_high.py --workdir=runs/high",
        "shotverse export-lora runs/high --to comfyui --out lora",
    )
    sub.add_argument("adapter", metavar="RUN_OR_ADAPTER", help="folder of a training run, or its export/adapter")
    sub.add_argument(
        "--to", required=True, metavar="FORMAT", help="diffsynth, comfyui, kohya, musubi, diffusers or peft"
    )
    sub.add_argument("--out", required=True, metavar="DIR", help="folder to write; each expert has a folder in it")

    sub = command(
        "tags", _tags, "Name the camera motions of a trajectory.", "shotverse tags out/last_train/trajectory.json"
    )
    _add_trajectory(sub)
    sub.add_argument("--json", action="store_true", help="machine-readable output")

    sub = command(
        "verify",
        _verify,
        "Replay a recorded run of a PyTorch network with ours and compare.",
        "shotverse verify examples/wan_dit.npz",
    )
    sub.add_argument("record", help="record: weights under param/, inputs and outputs by the names in meta")
    sub.add_argument("--tol", type=float, default=1e-4, help="largest error over the output's RMS (default 1e-4)")

    sub = command(
        "convert",
        _convert,
        "Convert a published checkpoint to a model folder of ours, or back.",
        "shotverse convert shotverse_jax/pretrained/controller_small --as wan-dit --expert high --to wan "
        "--out high.safetensors",
        "shotverse convert high.safetensors --as wan-dit --expert high --out controller",
    )
    sub.add_argument("source", metavar="SRC", help=".safetensors, .pth, .pt, .ckpt, an index of shards, or a folder")
    sub.add_argument("--as", dest="name", metavar="NAME", help="the network: qwen3-vl, wan-dit, holocine, umt5, ...")
    sub.add_argument("--out", metavar="DIR", help="folder to write; with --to the .safetensors file")
    sub.add_argument("--expert", choices=("high", "low", "base"), help="which expert of a controller it is")
    sub.add_argument("--target-dtype", choices=("float32", "bfloat16"), help="default: as stored")
    sub.add_argument("--shard-for", metavar="MESH", help="store in the parts that devices read, e.g. fsdp=8,tensor=2")
    sub.add_argument("--tokenizer", metavar="FILE", help="tokenizer.json to keep (default: that beside SRC)")
    sub.add_argument("--allow-nan", action="store_true", help="convert weights with NaN or infinity all the same")
    sub.add_argument("--dry-run", action="store_true", help="show names, shapes and sizes, and what is missing")
    sub.add_argument("--to", metavar="STYLE", help="the way back: SRC is our folder, names of wan, diffusers, ...")

    sub = command(
        "inspect",
        _inspect,
        "Tell what a checkpoint is and holds.",
        "shotverse inspect shotverse_jax/pretrained/controller_small/high.safetensors",
    )
    sub.add_argument("checkpoint", metavar="CHECKPOINT", help="file or folder, of others or ours")

    sub = command(
        "fit",
        _fit,
        "Compile a training run for a cluster that need not be there: memory, traffic, time.",
        "shotverse fit configs/controller/pod.py --topology cpu:96 --device h100 --config.batch=12",
    )
    sub.add_argument(
        "config", metavar="CONFIG", help="config file of launch.train; values change by --config.NAME=VALUE"
    )
    sub.add_argument("--topology", required=True, help="a TPU slice like v5p:4x4x4, or cpu:<devices> for GPUs")
    sub.add_argument("--device", help="what the devices of cpu:… stand for, e.g. h100, h200, h20")
    sub.add_argument("--mfu", type=float, default=0.4, help="share of the peak for the predicted time (default 0.4)")
    sub.add_argument("--json", action="store_true", help="machine-readable output")

    sub = command("eval", _eval, "Score a model on held-out data.", "shotverse eval planner --scenes 300")
    sub.add_argument("what", choices=("planner", "film"), help="what to score: plans, or films of true cameras")
    sub.add_argument("--model", help="name of a shipped planner or controller, or the folder of one")
    sub.add_argument("--scenes", type=_positive, help="held-out scenes of the stage (default 300; of films 64)")
    sub.add_argument("--steps", type=_positive, help="of films: denoising steps (default: the model's)")
    sub.add_argument("--cfg", type=float, help="of films: strength of text guidance (default: the model's)")
    sub.add_argument("--prompts", help="YAML file of prompts with the motion each asks for (default: those that ship)")
    sub.add_argument("--sampling", choices=("nucleus", "top_k", "greedy"), default="nucleus", help="how to pick tokens")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--json", action="store_true", help="machine-readable output")
    return parser


def _add_trajectory(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("trajectory", help="trajectory file in any format that can be read")
    sub.add_argument(
        "--from", dest="fmt", metavar="FORMAT", help="format of the file (default: by its name and content)"
    )
    sub.add_argument(
        "--read", action="append", default=[], metavar="NAME=VALUE", help="option of the format, e.g. camera=cam05"
    )


def _read_trajectory(args):
    from shotverse_jax.camera.formats import read_trajectory

    return read_trajectory(args.trajectory, args.fmt, **_options(args.read))


def _options(pairs: list[str]) -> dict:
    """["frames=81", "mirror_world=true"] → {"frames": 81, "mirror_world": True}."""
    import yaml

    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"options are written NAME=VALUE, got {pair!r}")
        options[name.strip().replace("-", "_")] = yaml.safe_load(value)
    return options


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text}")
    return value


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH like 64x96, got {text}") from error
    return height, width


def _format_names() -> tuple[str, ...]:
    from shotverse_jax.camera.formats import FORMATS

    return tuple(name for name, fmt in FORMATS.items() if fmt.write)


def _say(args, text: str) -> None:
    if not args.quiet:
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def _show(text: str) -> None:
    print(text)  # noqa: T201


def _use_compilation_cache() -> None:
    """Compiled programs are kept between runs, in the user's cache folder."""
    import jax

    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    with contextlib.suppress(OSError):
        (home / "shotverse_jax").mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(home / "shotverse_jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _plan(args) -> int:
    from shotverse_jax.screenplay import read_screenplay

    screenplay = read_screenplay(args.screenplay)
    layout = screenplay.layout()
    stem = "screenplay" if args.screenplay == "-" else Path(args.screenplay).stem
    out = Path(args.out) if args.out else Path("out") / stem
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; give a folder with --out")
    _say(args, f"{len(screenplay.shots)} shots, {layout.num_frames} frames at {screenplay.fps:g} fps; planning …")
    _use_compilation_cache()
    from shotverse_jax.infer.plan import SAMPLERS, Director, plan

    director, sampling = Director.load(args.model), SAMPLERS[args.sampling]
    [trajectories] = plan(director, [screenplay], seed=args.seed, samples=args.samples, sampling=sampling)
    with replacing(out) as scratch:
        for index, trajectory in enumerate(trajectories):
            name = f"sample_{index}" if args.samples > 1 else ""
            (scratch / name).mkdir(parents=True, exist_ok=True)
            _write_plan(args, trajectory, scratch / name)
            _say(args, _shot_list(trajectory))
    _say(
        args,
        f"wrote {out}/"
        + ("sample_*/" if args.samples > 1 else "")
        + "trajectory.json, trajectory.png"
        + ("" if args.no_preview else ", preview.mp4"),
    )
    return 0


def _write_plan(args, trajectory, folder: Path) -> None:
    from shotverse_jax.camera.formats import write_trajectory
    from shotverse_jax.views.plot import plot_trajectory

    tags = _tag_lines(trajectory)
    write_trajectory(trajectory, folder / "trajectory.json", "shotverse")
    plot_trajectory(trajectory, folder / "trajectory.png", tags=tags)
    if not args.no_preview:
        _render(args, trajectory, folder / "preview.mp4", tags)


def _render(args, trajectory, path: Path, tags, **options) -> None:
    from shotverse_jax.views.preview import render_preview

    render_preview(trajectory, None, path, tags=tags, progress=not args.quiet, **options)


def _tag_lines(trajectory) -> list[str]:
    """What each shot's camera does, in the words of its motion tags."""
    from shotverse_jax.camera.motion_tags import tag_trajectory

    return [", then ".join(segment.name for segment in shot) for shot in tag_trajectory(trajectory)]


def _shot_list(trajectory) -> str:
    lines = []
    for number, ((start, end), tags) in enumerate(zip(trajectory.spans, _tag_lines(trajectory), strict=True), 1):
        lines.append(f"  shot {number}: frames {start}-{end - 1} ({(end - start) / trajectory.fps:.1f} s), {tags}")
    return "\n".join(lines)


def _film(args) -> int:
    from shotverse_jax.camera.formats import read_trajectory
    from shotverse_jax.screenplay import read_screenplay

    screenplay = read_screenplay(args.screenplay)
    path = None if args.trajectory is None else read_trajectory(args.trajectory)
    _use_compilation_cache()
    from shotverse_jax.infer.film import Cinematographer, decode, generate, prepare
    from shotverse_jax.infer.plan import Director, plan

    cinematographer = Cinematographer.load(args.model)
    if path is None:
        _say(args, f"planning {len(screenplay.shots)} shots …")
        [[path]] = plan(Director.load(args.planner), [screenplay], seed=args.seed)
    take, notes = prepare(cinematographer, screenplay, path, frames=args.frames, size=args.size)
    for note in notes:
        _say(args, note)
    steps = args.steps or cinematographer.config.steps
    _say(args, f"filming {_shape(take.trajectory)} in {steps} steps …")
    latents = generate(cinematographer, [take], seed=args.seed, steps=steps, guidance=args.cfg, solver=args.solver)
    out = _out_folder(args)
    frames = _write_shots(args, take.trajectory, decode(cinematographer, latents), out)
    _write_film(args, take.trajectory, frames, out)
    args.no_preview = False
    with replacing(out) as scratch:
        scratch.mkdir(exist_ok=True)
        _write_plan(args, path, scratch)
    _say(args, f"wrote {out}/film.mp4, film.png, shot_*.mp4, cameras.json and the plan's files")
    return 0


def _shape(trajectory) -> str:
    return f"{len(trajectory)} frames of {trajectory.height}x{trajectory.width}"


def _write_shots(args, trajectory, chunks, out: Path):
    """Every shot's film as soon as its last frame is decoded; → all frames [T, H, W, 3]."""
    import numpy as np
    from tqdm import tqdm

    from shotverse_jax.views.video import enlargement, write_video

    frames: list = []
    waiting = list(enumerate(trajectory.spans, 1))
    with tqdm(total=len(trajectory), desc="decode", unit="frame", disable=args.quiet, leave=False) as bar:
        for chunk in chunks:
            frames.extend(chunk[0])
            bar.update(len(chunk[0]))
            while waiting and len(frames) >= waiting[0][1][1]:
                number, (start, end) = waiting.pop(0)
                write_video(
                    out / f"shot_{number}.mp4", frames[start:end], trajectory.fps, enlargement(trajectory.height)
                )
    return np.stack(frames)


def _write_film(args, trajectory, frames, out: Path) -> None:
    import numpy as np

    from shotverse_jax.camera.formats import write_trajectory
    from shotverse_jax.stage.casting import scene_from_screenplay
    from shotverse_jax.stage.preview import preview_frames
    from shotverse_jax.views.contact_sheet import plot_film
    from shotverse_jax.views.video import enlargement, write_video

    write_video(out / "film.mp4", frames, trajectory.fps, enlargement(trajectory.height))
    write_trajectory(trajectory, out / "cameras.json", "shotverse")
    stage = None
    if args.compare:
        captions = [trajectory.global_caption, *trajectory.captions]
        seconds = None if trajectory.time_T is None else trajectory.time_T[-1] + 1 / trajectory.fps
        scene = scene_from_screenplay(captions, seconds or len(trajectory) / trajectory.fps)
        stage = np.stack(list(preview_frames(trajectory, scene, trajectory.width, trajectory.height)))
        both = np.concatenate([frames, stage], axis=2)
        write_video(out / "compare.mp4", both, trajectory.fps, enlargement(trajectory.height))
    plot_film(frames, trajectory, out / "film.png", stage)


def _out_folder(args) -> Path:
    stem = "screenplay" if args.screenplay == "-" else Path(args.screenplay).stem
    return Path(args.out) if args.out else Path("out") / stem


def _preview(args) -> int:
    trajectory = _read_trajectory(args)
    _use_compilation_cache()
    source = Path(args.trajectory)
    out = Path(args.out) if args.out else (source if source.is_dir() else source.parent) / "preview.mp4"
    options = {"height": args.height} if args.height else {}
    _render(args, trajectory, out, _tag_lines(trajectory), **options)
    _say(args, f"wrote {out}")
    return 0


def _export(args) -> int:
    from shotverse_jax.camera.formats import FORMATS, write_trajectory

    if args.to not in FORMATS or not FORMATS[args.to].write:
        raise ValueError(f"cannot write {args.to!r}; formats that can be written: {', '.join(_format_names())}")
    trajectory = _read_trajectory(args)
    source = Path(args.trajectory)
    out = Path(args.out) if args.out else source.parent / f"{source.stem}.{args.to}{FORMATS[args.to].extension}"
    write_trajectory(trajectory, out, args.to, **_options(args.set))
    _say(args, f"wrote {out} ({FORMATS[args.to].convention})")
    return 0


def _export_lora(args) -> int:
    from shotverse_jax.conversion.lora import export

    paths = export(args.adapter, args.to, args.out)
    _say(args, "wrote " + ", ".join(map(str, paths)))
    return 0


def _tags(args) -> int:
    from shotverse_jax.camera.motion_tags import describe, tag_trajectory

    trajectory = _read_trajectory(args)
    rows = []
    for index, (span, shot) in enumerate(zip(trajectory.spans, tag_trajectory(trajectory), strict=True)):
        segments = [{"start": s.start, "end": s.end, "name": s.name} for s in shot]
        rows.append({"shot": index, "start": span[0], "end": span[1], "segments": segments, "caption": describe(shot)})
    if args.json:
        _show(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        _show(f"shot {row['shot'] + 1}  frames {row['start']}-{row['end'] - 1}  {row['caption']}")
        for s in row["segments"]:
            _show(f"    {row['start'] + s['start']:>5}-{row['start'] + s['end'] - 1:<5} {s['name']}")
    return 0


def _verify(args) -> int:
    from shotverse_jax.conversion.verify import verify_record

    report = verify_record(args.record, tol=args.tol)
    for output in report.outputs:
        _show(f"{output.name}: max_abs {output.max_abs:.3g}, max_rel_rms {output.max_rel_rms:.3g}")
    _show(f"{report.model}: {'ok' if report.ok else 'FAILED'}, tolerance {args.tol:g}")
    return 0 if report.ok else 1


def _convert(args) -> int:
    from shotverse_jax.conversion.commands import run

    for line in run(args):
        _show(line)
    return 0


def _inspect(args) -> int:
    from shotverse_jax.conversion.commands import inspect

    for line in inspect(args.checkpoint):
        _show(line)
    return 0


def _fit(args) -> int:
    import dataclasses

    from shotverse_jax.fit.config_file import read
    from shotverse_jax.fit.report import fit, lines

    report = fit(read(args.config, args.overrides), args.topology, args.device, args.mfu)
    if args.json:
        _show(json.dumps({**dataclasses.asdict(report), "seconds": report.seconds}, indent=2))
    else:
        for line in lines(report):
            _show(line)
    return 1 if report.problem else 0


def _eval(args) -> int:
    _use_compilation_cache()
    scores = _eval_planner(args) if args.what == "planner" else _eval_film(args)
    if args.json:
        _show(json.dumps(scores, indent=2))
        return 0
    for name, value in scores.items():
        _show(f"{name:<32} {value:.4f}" if isinstance(value, float) else f"{name:<32} {value}")
    return 0


def _eval_film(args) -> dict:
    from shotverse_jax.evaluation.features.stage_camera import StageCamera
    from shotverse_jax.evaluation.tracks.stage_films import film_held_out
    from shotverse_jax.infer.film import Cinematographer

    cinematographer = Cinematographer.load(args.model or DEFAULT_CONTROLLER)
    options = {"seed": args.seed, "steps": args.steps, "guidance": args.cfg, "progress": not args.quiet}
    return film_held_out(cinematographer, StageCamera.load(), args.scenes or 64, **options)


def _eval_planner(args) -> dict:
    from shotverse_jax.evaluation.tracks.stage_plans import read_prompts, score_prompts, score_scenes
    from shotverse_jax.grammar.samples import sample_example
    from shotverse_jax.infer.plan import SAMPLERS, Director, plan

    prompts = read_prompts(args.prompts)
    scenes = args.scenes or 300
    director, sampling = Director.load(args.model or DEFAULT_PLANNER), SAMPLERS[args.sampling]

    def planned(screenplays):
        return [samples[0] for samples in plan(director, screenplays, seed=args.seed, sampling=sampling)]

    _say(args, f"planning {scenes} held-out scenes …")
    examples = [sample_example(i, "test") for i in range(scenes)]
    scores = score_scenes(planned([e.screenplay for e in examples]), [e.trajectory for e in examples])
    _say(args, f"planning {len(prompts)} hand-written prompts …")
    scores |= score_prompts(planned([p.screenplay for p in prompts]), prompts)
    return scores


if __name__ == "__main__":
    sys.exit(main())
