"""The front door: `load` a model, `plan` the cameras of a screenplay, make its `film`.

    import shotverse_jax

    [trajectory] = shotverse_jax.plan("examples/last_train.yaml")
    film = shotverse_jax.film("examples/red_coat.txt")
    film.write("out/red_coat")

Whoever has many screenplays loads a model once. `load("planner_small").plan(screenplays, seeds)` and
`load("controller_small").film(takes, seeds)` yield results as they finish. The command line calls the same functions.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.formats.explain import explain
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.infer.ready import CONTROLLER, PLANNER, load, load_planner
from shotverse_jax.screenplay import Screenplay, Shot, read_screenplay
from shotverse_jax.views.preview import Progress

__all__ = ["CONTROLLER", "PLANNER", "explain", "film", "gendop", "load", "load_planner", "plan", "read_trajectory"]

if TYPE_CHECKING:
    from shotverse_jax.cinematic.guidance import Compose
    from shotverse_jax.infer.film import Film
    from shotverse_jax.lora import Lora


def plan(
    screenplay: Screenplay | str | Path,
    model: Any = PLANNER,
    *,
    seed: int = 0,
    samples: int = 1,
    sampling: Literal["nucleus", "top_k", "greedy"] | None = None,
    candidates: int | None = None,
) -> list[Trajectory]:
    """Returns `samples` plans of a screenplay's cameras; `infer.outputs.write_plans` writes them.

    Args:
        screenplay: a screenplay or a file with one, as `read_screenplay` takes it.
        model: a loaded planner (ShotVerse's or GenDoP's), its name or its folder.
        seed: another seed, another plan.
        samples: how many plans; the first ones do not depend on how many follow.
        sampling: how tokens are picked; None (default) takes the model's own way.
        candidates: plans that are drawn for each that is kept, the best one (`stage.review`); None (default) takes the
            model's own number, 8 of a planner and 1 of a GenDoP.

    Raises:
        ValueError: a file that cannot be read, a model that is not there or no planner, or captions and shots beyond
            what it takes.
    """
    from shotverse_jax.infer.decode import SAMPLERS

    screenplay = _screenplay(screenplay)
    planner = load_planner(model) if isinstance(model, str | Path) else model
    if not hasattr(planner, "plan"):
        raise ValueError(f"a {type(planner).__name__} does not plan; give a planner")
    if sampling is not None and sampling not in SAMPLERS:
        raise ValueError(f"tokens are picked by {', '.join(SAMPLERS)}, got {sampling!r}")
    picking = {} if sampling is None else {"sampling": SAMPLERS[sampling]}
    picking |= {} if candidates is None else {"candidates": candidates}
    [planned] = planner.plan([screenplay], seed, samples, **picking)
    return planned.trajectories


def gendop(
    text: str | None = None,
    image: str | Path | None = None,
    depth: str | Path | None = None,
    model: Any = "gendop-text-motion",
    *,
    seed: int = 0,
    samples: int = 1,
    pred_scale: Literal["none", "exp", "pow10"] = "none",
) -> list[Trajectory]:
    """Returns `samples` paths that GenDoP makes of a caption, of a first frame and its depth, or of both.

    A path has 120 poses and an image of 512x512. `infer.gendop_work.write_prediction` writes GenDoP's own file of it.

    Args:
        text: the caption.
        image: the picture file of the first frame.
        depth: its depth file, as `inputs.clip.read_depth` takes it.
        model: a loaded `GenDoPPlanner`, its name or its folder.
        seed: another seed, another path.
        samples: how many paths.
        pred_scale: "none" (default) leaves the longest way at 1, as GenDoP's files do; "pow10" takes the scale that the
            network wrote; "exp" that of GenDoP's pictures.

    Raises:
        ValueError: what is given is none of GenDoP's modes, the network has no tower for it, or a file cannot be read.
    """
    from shotverse_jax.infer.gendop import Picture, mode_of, predictions

    planner = load(model, "gendop") if isinstance(model, str | Path) else model
    planner = planner.conditioned(mode_of(text is not None, image is not None, depth is not None))
    play = Screenplay("", (Shot(text if text is not None else "no caption"),))
    options = {"seed": seed, "samples": samples, "pred_scale": pred_scale}
    [made] = predictions(planner, [play], None if image is None else [Picture.read(image, depth)], **options)
    return made.trajectories


def film(
    screenplay: Screenplay | str | Path,
    trajectory: Trajectory | str | Path | None = None,
    model: Any = CONTROLLER,
    *,
    planner: Any = PLANNER,
    candidates: int | None = None,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    loras: Sequence["str | Lora"] = (),
    compose: "Compose | None" = None,
    progress: Progress | None = None,
    place: Mapping[str, Any] | None = None,
    **sampling: Any,
) -> "Film":
    """Returns the film of a screenplay, made but not decoded: `film.frames_THWC` and `film.write(folder)` do that.

    Args:
        screenplay: a screenplay, or a file with one, as `plan` takes it.
        trajectory: its cameras, or a file of any format that can be read; `read_trajectory` takes options of reading.
            None (default) plans them with the same seed.
        model: a loaded `Cinematographer`, its name or its folder.
        planner: what plans the cameras, as `plan` takes it.
        candidates: plans of which the best is filmed, as `plan` takes them.
        frames: frames of the film, 4t+1; None (default) takes the screenplay's, at most the model's.
        size: (height, width) in pixels; None (default) takes the model's.
        loras: adapters, each a text [NAME=]FILE[@SCALE][:high|low] or what `conversion.adapters.read_loras` made of
            one. Without a name they are folded into the model for this film; with one they count in the shots that
            ask for it.
        compose: how the adapters that shots ask for are put together, and whether all shots ask for some; None
            (default) merges what the screenplay names.
        progress: called with a message and two zeros before each part of the work, for example
            progress("planning 2 shots …", 0, 0), and with ("denoise", steps done, steps).
        place: how a controller that is given by name is loaded: mesh, dtype, attention and offload, as
            `Cinematographer.load` takes them; and quantize, "int8" or "float8", as `Cinematographer.quantized` does.
        sampling: seed, steps, guidance and solver, as `infer.denoise.begin` takes them; negative, the prompt that
            guidance steers away from.

    Raises:
        ValueError: files that cannot be read, models that are not there, a film that cannot be made, or, before its
            model is loaded, one that will not fit the memory of the devices.
    """
    from shotverse_jax.conversion.adapters import is_named
    from shotverse_jax.infer.adapters import adapted, asked_for, load_controller
    from shotverse_jax.infer.composing import names_of
    from shotverse_jax.infer.fits import check_fits
    from shotverse_jax.infer.options import check_film
    from shotverse_jax.infer.take import prepare

    check_film(frames, size, **sampling)
    say = (lambda text: None) if progress is None else (lambda text: progress(text, 0, 0))
    screenplay, seed = _screenplay(screenplay), sampling.pop("seed", 0)
    for note in screenplay.notes:
        say(note)
    screenplay = screenplay if compose is None else compose.asking(screenplay)
    if isinstance(trajectory, str | Path):
        trajectory = read_trajectory(trajectory)
        for note in trajectory.notes:
            say(note)
    named = isinstance(model, str | Path)
    place = dict(place or {})
    quantize = place.pop("quantize", None)
    if named:
        where = {name: place.get(name) for name in ("mesh", "dtype", "offload")}
        check_fits(model, frames, size, whole=screenplay.layout().num_frames, quantize=quantize, **where)
        cinematographer = load_controller(model, loras, quantize, say, **place)
    else:
        everywhere = [spec for spec in loras if not is_named(spec)]
        cinematographer = adapted(model, everywhere, say) if everywhere else model
        cinematographer = cinematographer.quantized(quantize) if quantize else cinematographer
    asked = names_of([screenplay])
    cinematographer = asked_for(cinematographer, loras, asked, say, compose is not None and compose.balance)
    if compose is not None and asked:
        sampling |= {"rule": compose(cinematographer), "ramp": compose.ramp}
    if trajectory is None:
        say(f"planning {len(screenplay.shots)} shots …")
        planner = load_planner(planner) if isinstance(planner, str | Path) else planner
        for note in planner.notes(screenplay):
            say(note)
        [trajectory] = plan(screenplay, planner, seed=seed, candidates=candidates)
    options = {"frames": frames, "size": size, "negative": sampling.pop("negative", None)}
    take = prepare(cinematographer, screenplay, trajectory, **options)
    for note in take.notes:
        say(note)
    shape = f"{len(take.trajectory)} frames of {take.trajectory.height}x{take.trajectory.width}"
    say(f"filming {shape} in {sampling.get('steps') or cinematographer.config.steps} steps …")
    [made] = cinematographer.film([take], seed, progress, **sampling)
    return made


def _screenplay(screenplay: Screenplay | str | Path) -> Screenplay:
    return screenplay if isinstance(screenplay, Screenplay) else read_screenplay(screenplay)
