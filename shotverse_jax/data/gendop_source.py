"""Training batches of GenDoP: single shots of DataDoP's folders or of the stage, each with what the network reads.

Batch `step` is a pure function of (seed, step).
"""

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.tokens.gendop import GenDoPTokenizer
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import GenDoPConfig
from shotverse_jax.data.datadop.shots import ShotFiles, list_shots, read_captions
from shotverse_jax.data.records import shuffled
from shotverse_jax.data.steps import FieldsOnly, StepSource
from shotverse_jax.grammar.samples import Example, sample_example
from shotverse_jax.inputs.clip import load_clip_tokenizer, read_conditions, read_depth, read_image
from shotverse_jax.stage.preview import frame_at

_ATTEMPTS = 100
_STAGE_SIZE = (512, 288)  # width and height of the stage's first frames, in pixels; DataDoP's are 512 wide too


class Shot(NamedTuple):
    """One shot: its caption, its path, and its first frame with the depth of that; None for what is not asked for."""

    caption: str
    trajectory: Trajectory
    image_HWC: np.ndarray | None = None
    depth_HW: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class GenDoPSource(StepSource):
    """Random access over steps: `source[step]` → (None, this host's slice of the global batch).

    A batch has pose_ids_BN, of text_ids_BT, real_BT, image_BHWC and depth_BHW what the network reads, and for a network
    with an anchor head anchor_B3, rotation_B33 and lens_B4, as `camera.tokens.gendop.FirstView` has them.

    Attributes:
        config: the network that is trained.
        tokenizer_file: path of its tokenizer.json; "" for a network that reads no captions.
        shots: `shots(index, seed)` → sample `index` of an endless run.
        seed: seed of the run.
        global_batch: shots per step, over all hosts.
        num_steps: steps of the run.
        host, num_hosts: this process and the number of processes; default 0 of 1.

    Raises:
        ValueError: the batch does not divide over the hosts.
    """

    config: GenDoPConfig
    tokenizer_file: str
    shots: Callable[[int, int], Shot]
    seed: int
    global_batch: int
    num_steps: int
    host: int = 0
    num_hosts: int = 1

    @functools.cached_property
    def _tokenizer(self):
        return load_clip_tokenizer(self.tokenizer_file)

    def __getitem__(self, step: int) -> tuple[None, dict[str, np.ndarray]]:
        shots, config = [self.shots(index, self.seed) for index in self.samples(step)], self.config
        poses = GenDoPTokenizer(config.tokens)
        tokenizer = self._tokenizer if "text" in config.conditions else None
        captions, paths, images, depths = zip(*shots, strict=True)
        batch = read_conditions(config, config.conditions, tokenizer, captions, images, depths)
        batch["pose_ids_BN"] = np.stack([poses.encode(path) for path in paths])
        if config.tokens.anchor == "head":
            views = zip(*(poses.first_view(path) for path in paths), strict=True)
            batch |= dict(zip(("anchor_B3", "rotation_B33", "lens_B4"), map(np.stack, views), strict=True))
        return None, batch


@dataclasses.dataclass(frozen=True)
class DataDoPShots(FieldsOnly):
    """The shots of a DataDoP folder, each once per epoch in an order that depends on (seed, epoch) alone.

    A shot that cannot be read is left out with a warning, and the next one of the order takes its place.

    Attributes:
        folder: the data set.
        split: "train" or "test".
        caption: key of the caption file.
        conditions: what the network reads, as `GenDoPConfig.conditions` has it.

    Raises:
        ValueError: the folder has no shots of this split. On access: 100 shots in a row cannot be read.
    """

    folder: str
    split: str
    caption: str
    conditions: tuple[str, ...]

    def __post_init__(self):
        if not self._shots:
            raise ValueError(f"{self.folder} has no shots of DataDoP's layout for {self.split}: <video>/<shot>_…")

    @functools.cached_property
    def _shots(self) -> list[ShotFiles]:
        return list_shots(self.folder, self.split)

    def __call__(self, index: int, seed: int) -> Shot:
        for attempt in range(_ATTEMPTS):
            files = self._shots[shuffled(index + attempt, len(self._shots), seed)]
            try:
                return self._read(files)
            except ValueError as error:
                _warn(f"left out: {files.name}: {error}")
        raise ValueError(f"{self.folder}: {_ATTEMPTS} shots in a row cannot be read")

    def _read(self, files: ShotFiles) -> Shot:
        caption = read_captions(files.path("caption")).get(self.caption, "") if "text" in self.conditions else ""
        if "text" in self.conditions and not caption.strip():
            raise ValueError(f"it has no caption {self.caption!r}")
        return Shot(
            caption,
            read_trajectory(files.path("transforms"), "nerfstudio"),
            read_image(files.path("rgb")) if "image" in self.conditions else None,
            read_depth(files.path("depth")) if "depth" in self.conditions else None,
        )

    def captions(self, count: int) -> list[str]:
        """Returns the captions of the first `count` shots, where they can be read; a tokenizer learns from them."""
        found = []
        for files in self._shots[:count]:
            try:
                found.append(read_captions(files.path("caption")).get(self.caption, ""))
            except ValueError as error:
                _warn(f"left out: {files.name}: {error}")
        return [caption for caption in found if caption]


@functools.cache
def _warn(sentence: str) -> None:
    """Says it once in a process."""
    logging.getLogger(__name__).warning(sentence)


@dataclasses.dataclass(frozen=True)
class StageShots:
    """Shots of the scenes that the film grammar writes, each alone; its first frame is drawn where the network sees it.

    Scenes have one to four shots, as a planner sees them; one shot of each is taken.

    Attributes:
        split: "train" or "test".
        conditions: what the network reads, as `GenDoPConfig.conditions` has it.
        alone: whether the scenes have a single shot each. Its subject is then the main one of the stage, and stands at
            its origin when the shot begins, as tokens around the subject need it. Default no.
    """

    split: str
    conditions: tuple[str, ...]
    alone: bool = False

    def __call__(self, index: int, seed: int) -> Shot:
        words = np.random.SeedSequence((seed, index)).generate_state(2, np.uint64)
        example = self._example(int(words[0] >> 1))
        number = int(words[1] % len(example.screenplay.shots))
        picture = (None, None)
        if "image" in self.conditions:
            start, _ = example.trajectory.spans[number]
            picture = frame_at(start, example.trajectory, example.scene, *_STAGE_SIZE)
        return Shot(example.screenplay.words(number), example.trajectory.shot(number), *picture)

    def captions(self, count: int) -> list[str]:
        """Returns the captions of `count` shots; a tokenizer learns from them."""
        plays = (self._example(seed).screenplay for seed in range(count))
        return [play.words(seed % len(play.shots)) for seed, play in enumerate(plays)]

    def _example(self, number: int) -> Example:
        return sample_example(number, self.split, num_shots=1 if self.alone else None)
