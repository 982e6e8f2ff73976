"""What a batch makes of an item: the plans of a screenplay, or its films."""

import dataclasses
import functools
import platform
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

import shotverse_jax
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.motion_tags import tag_lines
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.infer.batch import Made, each
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.composing import names_of
from shotverse_jax.infer.film import Film
from shotverse_jax.infer.film import bucket_of as film_bucket
from shotverse_jax.infer.outputs import write_film, write_plans
from shotverse_jax.infer.plan import Plan
from shotverse_jax.infer.samples import block_rows
from shotverse_jax.infer.take import Take, prepare, still
from shotverse_jax.inputs.items import Item
from shotverse_jax.lora import Lora
from shotverse_jax.screenplay import Screenplay
from shotverse_jax.stage.review import review


def versions() -> dict[str, str]:
    """What made a result: this package, JAX, and the kind of device."""
    device = jax.devices()[0].device_kind
    device = device if device != "cpu" else f"cpu {platform.machine()}"
    return {"shotverse_jax": shotverse_jax.__version__, "jax": jax.__version__, "device": device}


def of_trajectories(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """The part of a record that tells of cameras: frames, the motions of every shot, and shares of a review.

    off_screen, misframed: shares of frames in which the subject of the shot is not seen, or badly (`stage.review`).
    """
    reviews = [review(trajectory) for trajectory in trajectories]
    return {
        "frames": len(trajectories[0]),
        "tags": [tag_lines(trajectory) for trajectory in trajectories],
        "off_screen": [round(one.off_screen, 4) for one in reviews],
        "misframed": [round(one.misframed, 4) for one in reviews],
    }


def _cameras(item: Item) -> Trajectory:
    """The cameras of an item's own file."""
    options = dict(item.read)
    return read_trajectory(item.trajectory, options.pop("from", None), **options)


class PlanWork:
    """Plans: an item's folder is that of `infer.outputs.write_plans`.

    Args:
        planner: a loaded planner, ShotVerse's or GenDoP's.
        settings: what decides results beside the items, for their records: model, sampling, and the number of
            candidates, the planner's own where it is not there.
        preview: whether trajectory.png and preview.mp4 are made too, which takes most of the time.
        sampling: how tokens are picked; None takes the planner's own way.
    """

    def __init__(self, planner: Any, settings: dict[str, Any], preview: bool = False, sampling: Any = None):
        self._planner, self._preview = planner, preview
        self._sampling = {"candidates": settings.get("candidates")} | (
            {} if sampling is None else {"sampling": sampling}
        )
        self.settings, self.notes = {"task": "plan", "preview": preview, **settings}, ()
        self.group = block_rows(planner.parts)

    def buckets(self, items: Sequence[Item]) -> list[Hashable | Exception]:
        """As `batch.Work.buckets`."""
        return each(lambda item: (self._planner.bucket(_screenplay(item)), item.samples), items)

    def make(self, items: Sequence[Item]) -> Iterator[Made]:
        """As `batch.Work.make`."""
        screenplays, seeds = [_screenplay(item) for item in items], [item.seed for item in items]
        plans = self._planner.plan(screenplays, seeds, items[0].samples, **self._sampling)
        return (Made(plan.index, functools.partial(self._write, screenplays[plan.index], plan)) for plan in plans)

    def _write(self, screenplay: Screenplay, plan: Plan, folder: Path) -> dict[str, Any]:
        trajectories, notes = plan.trajectories, (*screenplay.notes, *self._planner.notes(screenplay))
        write_plans(trajectories, folder, plot=self._preview, preview=self._preview)
        return {**self.settings, "versions": versions(), "notes": notes, **of_trajectories(trajectories)}


@dataclasses.dataclass(frozen=True)
class _Adapted:
    """A controller with the adapters of an item beside its weights, its rule, and what the adapters' readers said."""

    specs: tuple[tuple[str, ...], tuple[str, ...]]
    cinematographer: Cinematographer
    rule: Any = None
    notes: tuple[str, ...] = ()


class FilmWork:
    """Films: an item's folder is that of `infer.outputs.write_film`; several samples have folders of their own.

    Args:
        cinematographer: a loaded controller.
        planner: a loaded planner, for items without cameras of their own.
        settings: what decides results beside the items, for their records: models, steps and so on.
        sampling: steps, guidance and solver, as `infer.denoise.begin` takes them.
        preview: whether preview.mp4, the plan on the stage, is made too.
        read_loras: (the adapters of an item, the names that its shots ask for) -> the adapters to keep beside the
            weights; those of one item at a time.
        compose: how the adapters that shots ask for are put together, as `api.film` takes it; None merges them.
        check_fits: refuses a film of (frames, size, whole=frames of the screenplay) that the devices cannot hold.
        notes: what the user should know of the controller, for example what was left out of its adapters.
    """

    def __init__(
        self,
        cinematographer: Cinematographer,
        planner: Any,
        settings: dict[str, Any],
        sampling: dict[str, Any] | None = None,
        preview: bool = False,
        read_loras: Callable[[Sequence[str], Sequence[str]], Sequence[Lora]] = lambda specs, asked: (),
        compose: Any = None,
        check_fits: Callable[..., None] = lambda *film, whole: None,
        notes: tuple[str, ...] = (),
    ):
        self._cinematographer, self._planner, self._preview = cinematographer, planner, preview
        self._sampling, self._read_loras, self._check_fits = sampling or {}, read_loras, check_fits
        self._adapted, self._compose = _Adapted(((), ()), cinematographer), compose
        self.settings, self.notes = {"task": "film", "preview": preview, **settings}, notes
        self.group = max(block_rows(planner.parts), cinematographer.parts)

    def buckets(self, items: Sequence[Item]) -> list[Hashable | Exception]:
        """As `batch.Work.buckets`; the trajectory of an item is read here, so that a bad one is found early."""
        return each(self._bucket, items)

    def _bucket(self, item: Item) -> Hashable:
        planned = self._planner.bucket(item.screenplay) if item.trajectory is None else None
        take = self._take(item, None if planned else _cameras(item))
        self._check_fits(item.frames, item.size, whole=item.screenplay.layout().num_frames)
        asked = names_of([item.screenplay])
        self._read_loras(item.lora, asked)
        return planned, film_bucket(self._cinematographer, take), item.samples, item.lora, asked

    def make(self, items: Sequence[Item]) -> Iterator[Made]:
        """As `batch.Work.make`."""
        samples, planned = items[0].samples, {}
        wanted = [index for index, item in enumerate(items) if item.trajectory is None]
        if wanted:
            plays, seeds = [items[index].screenplay for index in wanted], [items[index].seed for index in wanted]
            plans = self._planner.plan(plays, seeds, samples, candidates=self.settings.get("candidates"))
            planned = {wanted[plan.index]: plan.trajectories for plan in plans}
        takes: list[Take] = []
        for index, item in enumerate(items):
            given = planned.get(index) or [_cameras(item)] * samples
            takes += [self._take(item, trajectory) for trajectory in given]
        numbers = list(range(samples)) * len(items)
        seeds = [item.seed for item in items for _ in range(samples)]
        made: dict[int, list[Film]] = {}
        adapted = self._with_loras(items[0].lora, names_of([items[0].screenplay]))
        composed = {} if adapted.rule is None else {"rule": adapted.rule, "ramp": self._compose.ramp}
        for film in adapted.cinematographer.film(takes, seeds, samples=numbers, **composed, **self._sampling):
            index = film.index // samples
            made.setdefault(index, []).append(film)
            if len(made[index]) == samples:
                notes = (*self._said(items[index]), *adapted.notes)
                yield Made(index, functools.partial(self._write, made.pop(index), notes))

    def _with_loras(self, specs: tuple[str, ...], asked: tuple[str, ...]) -> "_Adapted":
        if (specs, asked) != self._adapted.specs:
            read, crew, rule = self._read_loras(specs, asked), self._cinematographer, None
            if read:
                balance = self._compose is not None and self._compose.balance
                crew = crew.with_loras(read, fold=False, balance=balance)
            if asked and self._compose is not None:
                rule = self._compose(crew)
            notes = tuple(note for lora in read for note in lora.notes)
            self._adapted = _Adapted((specs, asked), crew, rule, notes)
        return self._adapted

    def _said(self, item: Item) -> tuple[str, ...]:
        """What the readers of an item's screenplay noted, and its planner."""
        planned = self._planner.notes(item.screenplay) if item.trajectory is None else ()
        return (*item.screenplay.notes, *planned)

    def _take(self, item: Item, trajectory: Trajectory | None) -> Take:
        options = {"frames": item.frames, "size": item.size, "negative": item.negative}
        return prepare(self._cinematographer, item.screenplay, trajectory or still(item.screenplay), **options)

    def _write(self, films: Sequence[Film], notes: tuple[str, ...], folder: Path) -> dict[str, Any]:
        for number, film in enumerate(films):
            write_film(film, folder / (f"sample_{number}" if len(films) > 1 else ""), preview=self._preview)
        paths = [film.trajectory for film in films]
        weights = [film.weights.record() for film in films if film.weights is not None]
        return {
            **self.settings,
            **({"adapters": weights} if weights else {}),
            "versions": versions(),
            "notes": (*notes, *films[0].take.plan.notes, *films[0].take.notes),
            **of_trajectories(paths),
        }


def _screenplay(item: Item) -> Screenplay:
    """The screenplay that is planned, with as many frames as the item asks for."""
    return item.screenplay if item.frames is None else dataclasses.replace(item.screenplay, frames=item.frames)
