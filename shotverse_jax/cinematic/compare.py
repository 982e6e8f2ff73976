"""Films with adapters beside films without, of the same seeds: how often each shows its class, and how surely.

Every film is one shot. A CameraCLIP says which class of each group it is nearest to, and an estimator of cameras which
movement it shows. Films are items of a batch (`infer.batch.run_batch`), so that a list goes on where it was stopped;
the record of a film has all that tables are made of.

Array axes: N films.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax.cinematic.clips import stage_clip
from shotverse_jax.cinematic.estimates import Motion
from shotverse_jax.cinematic.guidance import Compose, class_of
from shotverse_jax.cinematic.phrases import CLASSES
from shotverse_jax.cinematic.scorer import CameraScorer
from shotverse_jax.config import ControllerConfig
from shotverse_jax.files import read_json
from shotverse_jax.infer.batch import Made
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.composing import names_of
from shotverse_jax.infer.film import Film
from shotverse_jax.infer.take import prepare, still
from shotverse_jax.inputs.items import RECORD, Item
from shotverse_jax.lora import Lora
from shotverse_jax.screenplay import Screenplay, Shot
from shotverse_jax.screenplay.adapters import Asked, parsed
from shotverse_jax.views.video import enlargement, write_video

WITHOUT, SINGLE = "without", "single"
"""Ways of filming a case: without adapters, and with each of them alone; the other ways are rules of composition."""
FILM = "film.mp4"
GROUP = 8
"""Films that are prepared at once."""


@dataclasses.dataclass(frozen=True)
class Case:
    """Classes that films shall show together.

    Attributes:
        asked: their adapters, with strengths.
        names: the classes, as they are called in `CLASSES`.
    """

    asked: Asked

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(class_of(name) or name for name, _ in self.asked)

    @property
    def label(self) -> str:
        """ "pan-left+zoom-in"."""
        return "+".join(self.names)

    @classmethod
    def read(cls, text: str) -> "Case":
        """Reads a list like "pan-left, zoom-in 0.6".

        Raises:
            ValueError: a list that cannot be read, or a name that is no class.
        """
        case = cls(parsed(text))
        if not set(case.names) <= CLASSES.keys():
            raise ValueError(f"{text}: films are compared by classes, and these are {', '.join(CLASSES)}")
        return case


@dataclasses.dataclass(frozen=True)
class Compared(Item):
    """A film of a comparison.

    Attributes:
        case: the label of its case.
        classes: what it shall show.
        way: `WITHOUT`, `SINGLE` or a rule of composition.
        number: of the film; films of one number have one content and one seed.
    """

    case: str = ""
    classes: tuple[str, ...] = ()
    way: str = ""
    number: int = 0


@dataclasses.dataclass(frozen=True)
class Judges:
    """What looks at films.

    Attributes:
        scorer: the CameraCLIP.
        motion: (frames [T, H, W, 3] uint8) -> their motion; None where cameras are not estimated.
        tells: the movements that this can tell.
    """

    scorer: CameraScorer
    motion: Callable[[np.ndarray], Motion] | None = None
    tells: tuple[str, ...] = ()

    def __call__(self, frames_THWC: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
        """What they say of a film, as JSON values.

        Returns:
            cosine: of the film and the first phrase of each class.
            nearest: the nearest class, by group.
            motion, movement: numbers of the estimated camera, and the class that they show or null; where it is
                estimated.
        """
        [video_J] = self.scorer.video_features([frames_THWC])
        first_NJ = np.asarray(self.scorer.text_features([CLASSES[name].phrases[0] for name in classes]))
        said: dict[str, Any] = {
            "cosine": {name: round(float(c), 5) for name, c in zip(classes, first_NJ @ video_J, strict=True)},
            "nearest": self.scorer.nearest(video_J),
        }
        if self.motion is not None:
            motion = self.motion(frames_THWC)
            said["motion"] = {name: round(value, 3) for name, value in motion._asdict().items()}
            said["movement"] = motion.movement
        return said


def films_of(
    cases: Sequence[Case],
    ways: Sequence[str],
    films: int,
    config: ControllerConfig,
    seed: int = 0,
    contents: Sequence[str] = (),
) -> list[Compared]:
    """Returns the films of a comparison: of every case, in every way, as many of the same contents and seeds.

    The caption of a film is its content, followed by the first phrase of each of its classes; so it is without
    adapters, too, and what adapters add is more than what the words say.

    Args:
        cases: what films shall show.
        ways: how they are made.
        films: of each case and way.
        config: of the controller; it gives the size.
        seed: of the first film.
        contents: what films show beside their classes, used in turn; none (default) takes people of the stage.
    """
    size = config.fps, config.width, config.height, config.frames
    found = []
    for case in cases:
        words = ", ".join(CLASSES[name].phrases[0] for name in case.names)
        for number in range(films):
            content = contents[number % len(contents)] if contents else _content(case.names[0], number)
            for way in ways:
                choices: list[Asked] = {WITHOUT: [()], SINGLE: [(one,) for one in case.asked]}.get(way, [case.asked])
                for asked in choices:
                    only = f" {asked[0][0]}" if way == SINGLE else ""
                    play = Screenplay("", (Shot(f"{content}, {words}.", loras=asked),), *size)
                    name = f"{case.label} {way}{only} {number:03d}"
                    more = {"case": case.label, "classes": case.names, "way": way, "number": number}
                    found.append(Compared(name, play, seed + number, **more))
    return found


def _content(name: str, number: int) -> str:
    facts = stage_clip(name, number, "test").facts
    text = " ".join(facts[kind] for kind in ("who", "action", "sky"))
    return text[0].upper() + text[1:]


class CompareWork:
    """Makes the films of a comparison and has them judged; one of the works of `infer.batch.run_batch`.

    Args:
        cinematographer: a loaded controller.
        read_loras: (names) -> the adapters of these names.
        judges: who looks at the films.
        compose: how adapters are put together; its rule is that of each film.
        settings: what decides the films beside the items, JSON values.
        sampling: options of films, as `infer.denoise.begin` takes them.
    """

    group, notes = GROUP, ()

    def __init__(
        self,
        cinematographer: Cinematographer,
        read_loras: Callable[[Sequence[str]], Sequence[Lora]],
        judges: Judges,
        compose: Compose,
        settings: Mapping[str, Any],
        sampling: Mapping[str, Any],
    ):
        self._cinematographer, self._read_loras, self._judges = cinematographer, read_loras, judges
        self._compose, self._sampling = compose, dict(sampling)
        self.settings = {"task": "compare", **settings, **sampling, "compose": compose.record()}

    def buckets(self, items: Sequence[Compared]) -> list[Hashable | Exception]:
        """As `infer.batch.Work.buckets`."""
        return [(item.way, item.case, names_of([item.screenplay])) for item in items]

    def make(self, items: Sequence[Compared]) -> Iterator[Made]:
        """As `infer.batch.Work.make`."""
        for film in self.film(items):
            yield Made(film.index, functools.partial(self._write, items[film.index], film))

    def film(self, items: Sequence[Compared]) -> Iterator[Film]:
        """Yields the films of one way and case as they are made, not decoded."""
        crew, options = self._cinematographer, self._sampling
        if asked := names_of([items[0].screenplay]):
            crew = crew.with_loras(self._read_loras(asked), fold=False, balance=self._compose.balance)
            rule = "merge" if items[0].way == SINGLE else items[0].way
            options = options | {"rule": dataclasses.replace(self._compose, rule=rule)(crew)}
        takes = [prepare(crew, item.screenplay, still(item.screenplay)) for item in items]
        return crew.film(takes, [item.seed for item in items], **options)

    def _write(self, item: Compared, film: Film, folder: Path) -> dict[str, Any]:
        frames_THWC = film.frames_THWC
        write_video(folder / FILM, frames_THWC, film.trajectory.fps, enlargement(film.trajectory.height))
        said = {"case": item.case, "classes": list(item.classes), "way": item.way, "number": item.number}
        said |= {"caption": item.screenplay.shots[0].caption, "adapters": list(names_of([item.screenplay]))}
        weights = {} if film.weights is None else {"weights": film.weights.record()}
        return {**self.settings, **said, **weights, **self._judges(frames_THWC, item.classes)}


# ---------------------------------------------------------------------------------------------------- tables


def read_records(items: Sequence[Compared], out: Path) -> list[dict[str, Any]]:
    """Returns the records of the films of a list that are there."""
    paths = (item.place(out).folder / RECORD for item in items)
    return [read_json(path) for path in paths if path.is_file()]


@dataclasses.dataclass(frozen=True)
class Share:
    """How many films show something, without adapters and with them.

    Attributes:
        without, with_: shares of the films.
        gain: their difference.
        error: two standard errors of it, of films in pairs of one seed; NaN of fewer than two.
    """

    without: float
    with_: float
    gain: float
    error: float

    @property
    def clear(self) -> bool:
        """Whether the gain is more than two standard errors."""
        return self.gain > self.error

    @classmethod
    def of(cls, without_N: Sequence[bool], with_N: Sequence[bool]) -> "Share":
        """Those of films in pairs."""
        change_N = np.asarray(with_N, float) - np.asarray(without_N, float)
        error = 2 * change_N.std(ddof=1) / np.sqrt(len(change_N)) if len(change_N) > 1 else np.nan
        return cls(float(np.mean(without_N)), float(np.mean(with_N)), float(change_N.mean()), float(error))


@dataclasses.dataclass(frozen=True)
class Row:
    """A class of a case.

    Attributes:
        case: its label.
        name: the class, or "all" for films that show all of the case's.
        films: pairs of films.
        clip: by the CameraCLIP.
        camera: by the estimated camera; None where it cannot tell.
    """

    case: str
    name: str
    films: int
    clip: Share
    camera: Share | None

    def values(self) -> dict[str, Any]:
        """The row as plain values, one column each."""
        found: dict[str, Any] = {"case": self.case, "class": self.name, "films": self.films}
        for by, share in (("clip", self.clip), ("camera", self.camera)):
            for name in ("without", "with_", "gain", "error", "clear"):
                value = None if share is None else getattr(share, name)
                value = round(value, 4) if isinstance(value, float) else value
                found[f"{by}_{name.strip('_')}"] = None if value != value else value
        return found


def rows_of(records: Sequence[Mapping[str, Any]], cases: Sequence[Case], way: str, tells: Sequence[str]) -> list[Row]:
    """Returns the table of a comparison of `way` with films without adapters.

    tells: the movements that the estimated camera can tell. Films whose partner is not there are left out.
    """
    rows = []
    for case in cases:
        by_way = {
            each: {
                record["number"]: record for record in records if (record["case"], record["way"]) == (case.label, each)
            }
            for each in (WITHOUT, way)
        }
        numbers = sorted(set.intersection(*(set(found) for found in by_way.values())))
        if not numbers:
            continue
        pairs = [[by_way[each][number] for number in numbers] for each in (WITHOUT, way)]
        for classes in [*([name] for name in case.names), *([list(case.names)] if len(case.names) > 1 else [])]:
            name = classes[0] if len(classes) == 1 else "all"
            clip = Share.of(*([seems(record, classes) for record in part] for part in pairs))
            camera = None
            if set(classes) <= set(tells):
                camera = Share.of(*([moves(record, classes) for record in part] for part in pairs))
            rows.append(Row(case.label, name, len(numbers), clip, camera))
    return rows


def moves(record: Mapping[str, Any], classes: Sequence[str]) -> bool:
    """Whether the estimated camera of a film shows some movements; one that was asked for alone must be the largest."""
    if classes == record["classes"] == [record["movement"]]:
        return True
    return len(record["classes"]) > 1 and all(Motion(**record["motion"]).shows(name) for name in classes)


def seems(record: Mapping[str, Any], classes: Sequence[str]) -> bool:
    """Whether a film is nearest to some classes, of those of their groups."""
    return all(record["nearest"][CLASSES[name].group] == name for name in classes)
