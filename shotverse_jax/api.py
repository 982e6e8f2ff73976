"""The front door: `load` a model, `plan` the cameras of a screenplay, make its `film`.

    import shotverse_jax

    [trajectory] = shotverse_jax.plan("examples/last_train.yaml")
    film = shotverse_jax.film("examples/red_coat.txt")
    film.write("out/red_coat")

The command line calls these functions. Whoever plans many screenplays loads the planner once and calls
`infer.plan.plan` with all of them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.evaluation.features.stage_camera import StageCamera
from shotverse_jax.infer import film as filming
from shotverse_jax.infer import gendop
from shotverse_jax.infer import plan as planning
from shotverse_jax.infer.outputs import Film
from shotverse_jax.screenplay import Screenplay, read_screenplay
from shotverse_jax.views.preview import Progress
from shotverse_jax.weights.folder import CONFIG, find, kind_of

PLANNER, CONTROLLER = "planner_small", "controller_small"
"""The models that ship and are used unless others are named."""

READY: dict[str, Callable[..., Any]] = {
    "planner": planning.Director.load,
    "controller": filming.Cinematographer.load,
    "gendop": gendop.GenDoPPlanner.load,
    "pose_net": StageCamera.load,
}
"""What is loaded for each kind of the catalogue that does something by itself; the other kinds are parts of these."""

PLAN = {
    planning.Director: (planning.plan, "nucleus"),
    gendop.GenDoPPlanner: (gendop.plan, "top_k"),
}
"""How a planner plans, and the way to pick tokens that it was published with."""


def load(name_or_folder: str | Path, kind: str | None = None, **place: Any) -> Any:
    """Returns a model ready to use, by the name of a shipped one or by its folder.

    A planner becomes a `Director`, a controller a `Cinematographer`, GenDoP a `GenDoPPlanner`, a pose net a
    `StageCamera`.

    Args:
        name_or_folder: for example "planner_small".
        kind: the kind that it must be; None (default) takes the kind that the folder's config.json names.
        place: what the class takes beside its name: mesh, and dtype of a controller.

    Raises:
        ValueError: it is not there, is a part of a model (a text encoder, a VAE) or of another kind than asked for, or
            its config.json, of an earlier version, does not name its kind.
    """
    if kind is None:
        folder = find(tuple(READY), name_or_folder, (CONFIG,))
        kind = kind_of(folder)
        if kind is None:
            raise ValueError(f"{folder / CONFIG} does not name its kind; give one of {', '.join(READY)}")
    if kind not in READY:
        raise ValueError(f"no model of the kind {kind!r} is used by itself; the kinds are {', '.join(READY)}")
    return READY[kind](name_or_folder, **place)


def plan(
    screenplay: Screenplay | str | Path,
    model: Any = PLANNER,
    *,
    seed: int = 0,
    samples: int = 1,
    sampling: Literal["nucleus", "top_k", "greedy"] | None = None,
) -> list[Trajectory]:
    """Returns `samples` plans of a screenplay's cameras; `infer.outputs.write_plans` writes them.

    Args:
        screenplay: a screenplay or a file with one: text, YAML, JSON or a HoloCine prompt.
        model: a loaded planner (ShotVerse's or GenDoP's), its name or its folder.
        seed: another seed, another plan.
        samples: how many plans; the first ones do not depend on how many follow.
        sampling: how tokens are picked; None (default) takes the model's own way.

    Raises:
        ValueError: a file that cannot be read, a model that is not there or no planner, or captions and shots beyond
            what it takes.
    """
    screenplay = _screenplay(screenplay)
    planner = _planner(model) if isinstance(model, str | Path) else model
    if type(planner) not in PLAN:
        raise ValueError(f"a {type(planner).__name__} does not plan; give a planner")
    run, own = PLAN[type(planner)]
    if sampling is not None and sampling not in planning.SAMPLERS:
        raise ValueError(f"tokens are picked by {', '.join(planning.SAMPLERS)}, got {sampling!r}")
    picking = planning.SAMPLERS[sampling or own]
    [trajectories] = run(planner, [screenplay], seed=seed, samples=samples, sampling=picking)
    return trajectories


def film(
    screenplay: Screenplay | str | Path,
    trajectory: Trajectory | str | Path | None = None,
    model: Any = CONTROLLER,
    *,
    planner: Any = PLANNER,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    progress: Progress | None = None,
    **sampling: Any,
) -> Film:
    """Returns the film of a screenplay, made but not decoded: `film.frames_THWC` and `film.write(folder)` do that.

    Args:
        screenplay: a screenplay, or a file with one, as `plan` takes it.
        trajectory: its cameras, or a file of any format that can be read; None (default) plans them with the same seed.
        model: a loaded `Cinematographer`, its name or its folder.
        planner: what plans the cameras, as `plan` takes it.
        frames: frames of the film, 4t+1; None (default) takes the screenplay's, at most the model's.
        size: (height, width) in pixels; None (default) takes the model's.
        progress: called with a message and two zeros before each part of the work, for example
            progress("planning 2 shots …", 0, 0).
        sampling: seed, steps, guidance and solver, as `infer.film.generate` takes them.

    Raises:
        ValueError: files that cannot be read, models that are not there, or a film that cannot be made.
    """
    say = (lambda text: None) if progress is None else (lambda text: progress(text, 0, 0))
    screenplay = _screenplay(screenplay)
    if isinstance(trajectory, str | Path):
        trajectory = read_trajectory(trajectory)
    cinematographer = load(model, "controller") if isinstance(model, str | Path) else model
    if trajectory is None:
        say(f"planning {len(screenplay.shots)} shots …")
        [trajectory] = plan(screenplay, planner, seed=sampling.get("seed", 0))
    take, notes = filming.prepare(cinematographer, screenplay, trajectory, frames=frames, size=size)
    for note in notes:
        say(note)
    shape = f"{len(take.trajectory)} frames of {take.trajectory.height}x{take.trajectory.width}"
    say(f"filming {shape} in {sampling.get('steps') or cinematographer.config.steps} steps …")
    latents_BTHWC = filming.generate(cinematographer, [take], **sampling)
    return Film(trajectory, take, tuple(notes), latents_BTHWC, cinematographer)


def _screenplay(screenplay: Screenplay | str | Path) -> Screenplay:
    return screenplay if isinstance(screenplay, Screenplay) else read_screenplay(screenplay)


def _planner(name_or_folder: str | Path) -> Any:
    """A planner of either kind; a folder that says nothing, or is not there, is looked for among ShotVerse's."""
    is_gendop = Path(name_or_folder).is_dir() and kind_of(Path(name_or_folder)) == "gendop"
    return load(name_or_folder, "gendop" if is_gendop else "planner")
