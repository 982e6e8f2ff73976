"""A comparison of films with and without adapters as plain values, and the networks that it takes."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shotverse_jax.cinematic.compare import CompareWork, Judges
from shotverse_jax.cinematic.guidance import Compose
from shotverse_jax.cinematic.scorer import SMALL, CameraScorer
from shotverse_jax.evaluation.features.movement import Mover
from shotverse_jax.infer.adapters import film_loras, load_controller
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.job import identity, lora_identity
from shotverse_jax.infer.ready import CONTROLLER
from shotverse_jax.weights import find
from shotverse_jax.weights.folder import digest

POSES, NO_POSES = "pose_small", "none"


@dataclasses.dataclass(frozen=True)
class CompareJob:
    """What a comparison is made with.

    Attributes:
        model: name or folder of the controller; None takes the shipped one.
        loras: adapters with names, each as `shotverse film --lora` takes it.
        compose: how adapters are put together; the rule is that of each film.
        judge: name or folder of the CameraCLIP that scores films; None takes the shipped one.
        poses: name or folder of the network that estimates cameras; None takes the shipped one, "none" none.
        sampling: options of films, as `infer.denoise.begin` takes them.
        place: how the controller is loaded, as `infer.adapters.load_controller` takes it.
    """

    model: str | None = None
    loras: tuple[str, ...] = ()
    compose: Compose = Compose()
    judge: str | None = None
    poses: str | None = None
    sampling: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    place: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def load(self, say: Callable[[str], None] = lambda text: None) -> tuple[CompareWork, Cinematographer, Judges]:
        """Loads the networks; returns the work, the controller and the judges.

        say: is given what the user should know of them.

        Raises:
            ValueError: one that is not there or is broken, or an estimator that cannot read films of this size.
        """
        model, judge, poses = self.model or CONTROLLER, self.judge or SMALL, self.poses or POSES
        scorer = CameraScorer.load(judge)
        mover = None if poses == NO_POSES else Mover.load(poses)
        crew = load_controller(model, say=say, **self.place)
        if any(crew.config.expert(name).camera for name in crew.design.experts):
            say(f"{model} is told that the camera stays, in all films; compare movements with one without cameras")
        if mover is not None:
            mover.check(crew.config.height, crew.config.width)
        film_loras((), (), self.loras, crew)  # what cannot be read is found before the first film
        settings = {
            "model": identity(model),
            "lora": lora_identity(self.loras),
            "judge": {"name": Path(judge).name, "digest": digest(find("camera_clip", judge))},
            "poses": None if mover is None else mover.record,
        }
        read = functools.partial(film_loras, (), named=self.loras, controller=crew)
        judges = Judges(scorer) if mover is None else Judges(scorer, mover.motion, mover.tells)
        return CompareWork(crew, read, judges, self.compose, settings, self.sampling), crew, judges
