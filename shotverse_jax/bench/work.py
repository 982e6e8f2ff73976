"""The two lists of a bench, films and scenes, by the machinery of batches: in any order, resumed, on any workers."""

import dataclasses
import functools
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from shotverse_jax.bench import captions, scenes
from shotverse_jax.bench.films import Film
from shotverse_jax.bench.scenes import Scene
from shotverse_jax.calibration import sources
from shotverse_jax.calibration.film import calibrate_part
from shotverse_jax.config import BenchConfig
from shotverse_jax.infer.batch import Made, made_of
from shotverse_jax.infer.captions import load_captioner
from shotverse_jax.infer.job import captioner_identity
from shotverse_jax.inputs.items import Entry


def silent(what: str, done: int, total: int) -> None:
    """A progress callback that says nothing: workers are many."""


class CutsWork:
    """Finds the shots of films; one of the works of `infer.batch.run_batch`."""

    def __init__(self):
        self.settings, self.group, self.notes = {"task": "cuts"}, 1, ()

    def buckets(self, items: Sequence[Entry]) -> list[Hashable | Exception]:
        """As `infer.batch.Work.buckets`."""
        return [item.id for item in items]

    def make(self, items: Sequence[Film]) -> Iterator[Made]:
        """As `infer.batch.Work.make`."""
        [film] = items
        shots = sources.find(Path(film.video), film.calibration.cuts, silent)
        values = {
            "source": film.source,
            "info": list(shots.info),
            "picture": list(shots.picture),
            "spans": [list(span) for span in shots.spans],
        }
        yield Made(0, lambda folder: values)


class SceneWork:
    """Makes scenes; one of the works of `infer.batch.run_batch`.

    Args:
        config: how.
        stages: folder in which what is reconstructed is kept until its scene is whole.
    """

    def __init__(self, config: BenchConfig, stages: Path):
        self._config, self._stages, self._captioner, model = config, stages, None, None
        if config.captions != "template":
            self._captioner = load_captioner(config.captions, config.captions_model)
            model = captioner_identity(config.captions, config.captions_model)
        names = ("frames", "width", "height", "fps", "depth", "captions")
        self.settings = {"task": "scene", **{name: getattr(config, name) for name in names}, "captioner": model}
        self.group, self.notes = 1, ()

    def buckets(self, items: Sequence[Entry]) -> list[Hashable | Exception]:
        """As `infer.batch.Work.buckets`."""
        return [item.id for item in items]

    def make(self, items: Sequence[Scene]) -> Iterator[Made]:
        """As `infer.batch.Work.make`."""
        [scene] = items
        digest, window = made_of(scene, self.settings), scene.window
        keys = dict.fromkeys(("masks", "reconstruction", "all"), digest)
        part = window.start, window.end
        folder = self._stages / scene.id
        made = calibrate_part(scene.video, scene.shots, part, folder, scene.calibration, keys, silent)
        record = scenes.record_of(scene, made)
        if not record["accepted"]:
            yield Made(0, lambda folder: record)
            return
        shown = scenes.filmed(scene, made, self._config)
        video_FHWC = scenes.frames_of(scene, shown, self._config)
        if self._captioner is None:
            said = captions.template(shown.trajectory)
        else:
            said = captions.seen(shown.trajectory, video_FHWC, self._captioner)
        path = dataclasses.replace(shown.trajectory, captions=said.shots, global_caption=said.scene)
        record |= {"scale": round(shown.scale, 9), "caption": said.scene}
        for shot, caption, moves, (start, end) in zip(record["shots"], said.shots, said.moves, path.spans, strict=True):
            focal_mm = round(float(path.focal_mm_T[start]), 3)
            shot |= {"seconds": round((end - start) / path.fps, 6), "focal_mm": focal_mm}
            shot |= {"caption": caption, "moves": list(moves)}
        yield Made(0, functools.partial(self._write, video_FHWC, path, record))

    def _write(self, video_FHWC: Any, path: Any, record: dict[str, Any], folder: Path) -> dict[str, Any]:
        scenes.write(folder, video_FHWC, path)
        return record


@dataclasses.dataclass(frozen=True)
class BenchJob:
    """What is done with every film or scene; `infer.ray_workers.RayWorkers` takes it as it takes `Job`.

    Attributes:
        task: "cuts" of films, or "scenes".
        config: how.
        stages: as `SceneWork` takes it.
    """

    task: Literal["cuts", "scenes"]
    config: BenchConfig
    stages: str

    def load(self) -> CutsWork | SceneWork:
        """Returns the work, with the captioner that it needs.

        Raises:
            ValueError: there is no such captioner.
        """
        return CutsWork() if self.task == "cuts" else SceneWork(self.config, Path(self.stages))
