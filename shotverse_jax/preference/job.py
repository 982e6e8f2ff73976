"""Making pairs as plain values, which can be sent to another process."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import PairsConfig
from shotverse_jax.evaluation.features.clatr import SMALL, CLaTrReader
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer.job import captioner_identity, identity
from shotverse_jax.infer.ready import load_planner
from shotverse_jax.inputs.items import Item
from shotverse_jax.preference.judges import Cyclic, Direct, Embed, Geometric, Judge
from shotverse_jax.preference.previews import FolderRenderer, Renderer, StageRenderer
from shotverse_jax.preference.selection import Rule
from shotverse_jax.preference.work import PairsWork, Recipe

TEMPERATURE = 0.7
"""Of the captions of a preview, which are averaged."""

SCENE = "scene_"
"""Scenes of the stage have this name and their number."""


@dataclasses.dataclass(frozen=True)
class PairsJob:
    """What is done with every screenplay of a list; `infer.ray_workers.RayWorkers` takes it as it takes `Job`.

    Attributes:
        config: how pairs are made.
    """

    config: PairsConfig

    def load(self) -> PairsWork:
        """Loads the planner and the judges.

        Raises:
            ValueError: a network that is not there.
        """
        config = self.config
        rule = Rule(config.unit, config.margin, config.judges, config.agreed)
        recipe = Recipe(config.candidates, rule, config.contrast)
        settings = {"planner": identity(config.planner), "truth": config.truth}
        truth = {"none": None, "list": _of_list, "stage": _of_stage}[config.truth]
        planner = load_planner(config.planner)
        drawn = Path(config.drawn) if config.drawn else None
        return PairsWork(planner, self.judges(), self.renderer(), recipe, settings, truth=truth, drawn=drawn)

    def judges(self) -> list[Judge]:
        """The judges that have a weight."""
        names, judges = self.config.judges, []
        seer = Seer.load(self.config) if names.keys() & {"cyclic", "direct"} else None
        if "geometric" in names:
            judges.append(Geometric(self.config.motion))
        if "cyclic" in names:
            judges.append(Cyclic(seer.caption, clatr_embedding(), self.config.captions, model=seer.model))
        if "direct" in names:
            judges.append(Direct(seer.compare, model=seer.model))
        return judges

    def renderer(self) -> Renderer | None:
        """What films candidates, where a judge looks at them."""
        config = self.config
        if not config.judges.keys() & {"cyclic", "direct"}:
            return None
        size = {"frames": config.frames, "height": config.height, "width": config.width}
        return FolderRenderer(config.previews, **size) if config.previews else StageRenderer(**size)


@dataclasses.dataclass(frozen=True)
class Seer:
    """A model that looks at clips, in the two ways in which judges ask it.

    Attributes:
        captioner: the network, or the model behind an endpoint.
        model: what tells it from others, for records.
    """

    captioner: Any
    model: Any

    @classmethod
    def load(cls, config: PairsConfig) -> "Seer":
        """Loads the captioner of a config, or connects to it. Raises ValueError if it is not there."""
        # Here, because most runs ask geometry alone.
        from shotverse_jax.infer.captions import load_captioner

        name, model = config.captioner, config.captioner_model
        return cls(load_captioner(name, model), captioner_identity(name, model))

    def caption(self, clips: Sequence[np.ndarray], samples: int, seed: int, fps: float) -> list[list[str]]:
        """Captions clips, as `judges.Caption`."""
        return self.captioner.captions(clips, samples, TEMPERATURE, seed, fps)

    def compare(self, question: str, first: np.ndarray, second: np.ndarray, fps: float) -> str:
        """Asks about two clips, as `judges.Compare`."""
        return self.captioner.answer([("A:", first), ("B:", second)], question, fps)


def _of_list(item: Item) -> Trajectory | None:
    return None if item.trajectory is None else read_trajectory(item.trajectory, **dict(item.read))


def _of_stage(item: Item) -> Trajectory:
    """The cameras of a scene that `loop.stage_prompts` named."""
    number = item.id.removeprefix(SCENE)
    if not number.isdigit():
        raise ValueError(f"{item.id} is no scene of the stage, so its true cameras are not known")
    return sample_example(int(number), "train").trajectory


def clatr_embedding(model: str = SMALL) -> Embed:
    """Texts as the unit vectors that a CLaTr makes of captions: it has learned which words are which motion."""
    reader = CLaTrReader.load(model)

    def embed(texts: Sequence[str]) -> np.ndarray:
        mean_ND = reader.read_captions(list(texts)).latents.mu_ND
        return mean_ND / np.maximum(np.linalg.norm(mean_ND, axis=1, keepdims=True), 1e-9)

    return embed
