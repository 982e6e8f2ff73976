"""Training batches of CLaTr: single shots with a caption, of the stage's grammar or of scenes that are there.

Batch `step` is a pure function of (seed, step).
"""

import dataclasses
import functools
import logging
import zlib
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.motion_tags import describe, tag_shot
from shotverse_jax.config import CLaTrConfig
from shotverse_jax.data.records import shuffled
from shotverse_jax.data.scenes import find_scenes, scene_screenplay
from shotverse_jax.data.steps import FieldsOnly, StepSource
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.inputs.clatr import shot_features, to_items
from shotverse_jax.inputs.clip import load_clip_tokenizer, tokenize

STYLES = ("movement", "film", "shot")
"""Captions of a shot of the stage: its motion in the words of GenDoP's `Movement` captions, its motion in the words of
a film set, and the grammar's own caption, which says what is seen too."""
_BLOCK = 8  # places of a batch that are filled with the shots of common examples


class Shot(NamedTuple):
    """One shot.

    Attributes:
        features_TC: as `shot_features` returns them.
        caption: what is said of it.
        same: shots with one such text are no wrong answers for each other; where nothing better is known the caption.
    """

    features_TC: np.ndarray
    caption: str
    same: str


@dataclasses.dataclass(frozen=True)
class StageShots(FieldsOnly):
    """Shots of the stage, endlessly: `shots(*numbers)` yields those of example after example.

    Attributes:
        split: "train" or "test".
        styles: which captions shots get, of `STYLES`; each shot gets one of them by chance.
    """

    split: str
    styles: tuple[str, ...] = STYLES

    def pick(self, seed: int, places: Sequence[int]) -> list[Shot]:
        """Returns one shot for every place of the run's samples, counted over all steps."""
        blocks = {block: self._block(seed, block) for block in sorted({place // _BLOCK for place in places})}
        return [blocks[place // _BLOCK][place % _BLOCK] for place in places]

    def _block(self, seed: int, block: int) -> list[Shot]:
        # Shots of one film cost less than as many films. A block has the same shots whoever reads it.
        words = np.random.SeedSequence((seed, block)).generate_state(_BLOCK, np.uint64)
        found: list[Shot] = []
        for word in words:
            found += self.shots(int(word >> 1))
            if len(found) >= _BLOCK:
                break
        return found[:_BLOCK]

    def shots(self, seed: int) -> Iterator[Shot]:
        """Yields the shots of example number `seed`."""
        example, rng = sample_example(seed, self.split), np.random.default_rng((seed, len(STYLES)))
        for shot, (start, end) in zip(example.screenplay.shots, example.trajectory.spans, strict=True):
            pose_T34 = example.trajectory.pose_T34[start:end]
            tags = tag_shot(pose_T34)
            movement = describe(tags)
            style = self.styles[int(rng.integers(len(self.styles)))]
            caption = {"movement": movement, "film": describe(tags, "film"), "shot": shot.caption}[style]
            yield Shot(shot_features(pose_T34), caption, movement)


@dataclasses.dataclass(frozen=True)
class SceneShots(FieldsOnly):
    """The shots of a folder or a table of scenes, or of DataDoP's folder, which are kept in memory.

    Scenes that cannot be used are left out with a warning.

    Attributes:
        folder: what `data.scenes.find_scenes` reads.
        split: part of DataDoP's folder, "train" or "test".
        caption: which caption of DataDoP's shots, a key of `data.scenes.CAPTIONS`.

    Raises:
        ValueError: when the shots are first read, if there are none.
    """

    folder: str
    split: str = "train"
    caption: Literal["movement", "concise", "detailed"] = "movement"

    @functools.cached_property
    def all(self) -> list[Shot]:
        """Every shot."""
        found: list[Shot] = []
        for scene in find_scenes(self.folder, self.split, self.caption):
            try:
                play, trajectory = scene_screenplay(scene), read_trajectory(scene.trajectory)
                if trajectory.num_shots != len(play.shots):
                    raise ValueError(f"{len(play.shots)} captions for {trajectory.num_shots} shots of the path")
            except ValueError as error:
                logging.getLogger(__name__).warning("left out: %s: %s", scene.name, error)
                continue
            for shot, (start, end) in zip(play.shots, trajectory.spans, strict=True):
                found.append(Shot(shot_features(trajectory.pose_T34[start:end]), shot.caption, shot.caption))
        if not found:
            raise ValueError(f"{self.folder}: none of the scenes can be used")
        return found

    def pick(self, seed: int, places: Sequence[int]) -> list[Shot]:
        """Returns one shot for every place of the run's samples; each comes once per epoch, in a shuffled order."""
        return [self.all[shuffled(place, len(self.all), seed)] for place in places]


@dataclasses.dataclass(frozen=True)
class CLaTrSource(StepSource):
    """Random access over steps: `source[step]` → (None, this host's slice of the global batch).

    A batch has `traj_BIC` (`inputs/clatr.py`), `ids_BS` int32 and `real_BS` bool of the captions, and `same_B` int32:
    samples with one number are no wrong answers for each other.

    Attributes:
        config: the network that is trained.
        tokenizer_file: tokenizer.json of its text tower.
        length: tokens S that captions are cut or padded to.
        shots: where shots come from.
        seed: seed of the run.
        global_batch: samples per step, over all hosts.
        num_steps: steps of the run.
        host, num_hosts: this process and the number of processes; default 0 of 1.

    Raises:
        ValueError: the batch does not divide over the hosts.
    """

    config: CLaTrConfig
    tokenizer_file: str
    length: int
    shots: StageShots | SceneShots
    seed: int
    global_batch: int
    num_steps: int
    host: int = 0
    num_hosts: int = 1

    @functools.cached_property
    def _tokenizer(self):
        return load_clip_tokenizer(self.tokenizer_file)

    def __getitem__(self, step: int) -> tuple[None, dict[str, np.ndarray]]:
        shots = self.shots.pick(self.seed, self.samples(step))
        ids_BS, real_BS = tokenize(self._tokenizer, [shot.caption for shot in shots], self.length)
        return None, {
            "traj_BIC": to_items(self.config, np.stack([shot.features_TC for shot in shots])),
            "ids_BS": ids_BS,
            "real_BS": real_BS,
            "same_B": np.asarray([zlib.crc32(shot.same.encode()) for shot in shots], np.uint32).astype(np.int32),
        }
