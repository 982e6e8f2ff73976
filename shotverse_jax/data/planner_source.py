"""Training batches of the planner, from the stage's grammar or from recorded scenes.

Batch `step` is a pure function of (seed, step).
"""

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.tokens.shotverse import PoseTokenizer
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import PlannerConfig
from shotverse_jax.data.records import SETTINGS, Record, Records, naming
from shotverse_jax.data.scenes import SceneRecords, find_scenes
from shotverse_jax.data.steps import FieldsOnly, StepSource
from shotverse_jax.inputs.planner_text import PlannerExample, collate, encode_text
from shotverse_jax.inputs.tokenizer import load_text_tokenizer
from shotverse_jax.screenplay import LATENT_STRIDE, Screenplay, parse_text
from shotverse_jax.text_files import printable

_SHOTS, _EXAMPLE = 0, 1  # the two uses of randomness in a batch
_ATTEMPTS = 100


@dataclasses.dataclass(frozen=True)
class PlannerSource(StepSource):
    """Random access over steps: `source[step]` → (number of shots K, this host's slice of the global batch).

    Element i of step s depends on (seed, s, i) alone, so the examples do not depend on the number of hosts or workers,
    and a resumed run needs the step only. All examples of a step have the same number of shots K, drawn with
    `shot_weights` (ShotVerse §4.1: 2, 3 and 4 shots as 6:3:1; single shots are added here). K fixes the shapes, so one
    program is compiled per K. An example whose captions exceed `text_lengths[K - 1]` is drawn again.

    Attributes:
        config: the planner that is trained.
        tokenizer_file: path of its tokenizer.json.
        sample: `sample(seed, split, num_shots=K)` → example with `.screenplay` and `.trajectory`.
        split: "train" or "test", passed to `sample`.
        seed: seed of the run.
        global_batch: examples per step, over all hosts.
        num_steps: steps of the run.
        shot_weights: how often a step has 1, 2, … shots, relative to each other.
        text_lengths: text tokens, query slots included, that examples of 1, 2, … shots are padded to.
        single_shot_steps: number of steps at the start that have single shots only; default 0.
        host, num_hosts: this process and the number of processes; default 0 of 1.

    Raises:
        ValueError: the batch does not divide over the hosts, or weights and lengths differ in number. On access: 100
            examples in a row are too long.
    """

    config: PlannerConfig
    tokenizer_file: str
    sample: Callable
    split: str
    seed: int
    global_batch: int
    num_steps: int
    shot_weights: tuple[float, ...]
    text_lengths: tuple[int, ...]
    single_shot_steps: int = 0
    host: int = 0
    num_hosts: int = 1

    def __post_init__(self):
        super().__post_init__()
        if len(self.shot_weights) != len(self.text_lengths):
            raise ValueError(f"{len(self.shot_weights)} shot weights but {len(self.text_lengths)} text lengths")

    @functools.cached_property
    def _tokenizers(self):
        return load_text_tokenizer(self.tokenizer_file), PoseTokenizer(self.config.tokens)

    def __getitem__(self, step: int) -> tuple[int, dict[str, np.ndarray]]:
        num_shots = self.num_shots(step)
        examples = [self.example(step, i, num_shots) for i in self.places]
        return num_shots, collate(examples, text_lengths=(self.text_lengths[num_shots - 1],), pose_lengths=1)

    def num_shots(self, step: int) -> int:
        """Number of shots of every example of this step."""
        if step < self.single_shot_steps:
            return 1
        weights = np.asarray(self.shot_weights, np.float64)
        return 1 + int(np.random.default_rng((self.seed, step, _SHOTS)).choice(len(weights), p=weights / weights.sum()))

    def example(self, step: int, index: int, num_shots: int) -> PlannerExample:
        """Example `index` of the global batch of `step`."""
        text_tokenizer, pose_tokenizer = self._tokenizers
        for attempt in range(_ATTEMPTS):
            # A seed sequence mixes all five numbers; adding them up would give neighbouring steps common examples.
            words = np.random.SeedSequence((self.seed, step, _EXAMPLE, index, attempt)).generate_state(1, np.uint64)
            example = self.sample(int(words[0] >> 1), self.split, num_shots=num_shots)
            play = example.screenplay
            text = encode_text(self.config, text_tokenizer, play.caption, [shot.caption for shot in play.shots])
            if len(text[0]) <= self.text_lengths[num_shots - 1]:
                return PlannerExample(*text, pose_tokenizer.encode(example.trajectory))
        raise ValueError(
            f"{_ATTEMPTS} screenplays of {num_shots} shots in a row exceed {self.text_lengths[num_shots - 1]} text "
            "tokens: raise text_lengths"
        )


class RecordedExample(NamedTuple):
    """A screenplay and its trajectory."""

    screenplay: Screenplay
    trajectory: Trajectory


@dataclasses.dataclass(frozen=True)
class RecordedScenes(FieldsOnly):
    """Recorded scenes as the `sample` of a `PlannerSource`, in the place of the stage's grammar.

    Screenplays and poses of all scenes are kept in memory. Records with latents or video are read whole once to get
    them; the records of `launch/encode.py --no_video` are small.

    Attributes:
        folder: a data set of `launch/encode.py`, or a table or folder that `data.scenes.find_scenes` reads. Scenes of
            the latter that cannot be used are left out with a warning.
        split: part of DataDoP's folder, "train" (default) or "test".

    Raises:
        ValueError: when the scenes are first read, if none can be used.
    """

    folder: str
    split: str = "train"

    @functools.cached_property
    def _scenes(self) -> dict[int, list[Record]]:
        """Number of shots → prompt, poses, shots and lens of every scene that has so many."""
        scenes: dict[int, list[Record]] = {}
        for record in self._records():
            parts = ("prompt", "pose_T34", "path_F34", "shot_T", "intrinsics", "world")
            kept = {name: record[name] for name in parts if name in record}
            scenes.setdefault(int(kept["shot_T"][-1]) + 1, []).append(kept)
        if not scenes:
            raise ValueError(f"{self.folder}: none of the scenes can be used")
        return scenes

    def _records(self) -> Iterator[Record]:
        if (Path(self.folder) / SETTINGS).is_file():
            records = Records(self.folder, ("prompt", "pose_T34", "shot_T", "intrinsics"))
            # Records of the stage's own films do not have this field; a record that has it overrules it.
            yield from ({"world": "stage"} | records[i] for i in range(len(records)))
            return
        records = SceneRecords(find_scenes(self.folder, self.split), videos=False)
        for i in range(len(records)):
            try:
                yield records[i]
            except ValueError as error:
                logging.getLogger(__name__).warning("left out: %s", printable(str(error)))

    def counts(self, most: int) -> tuple[int, ...]:
        """Returns how many scenes have 1, 2, … `most` shots.

        Raises:
            ValueError: a scene has more than `most` shots.
        """
        if max(self._scenes) > most:
            raise ValueError(
                f"{self.folder} has scenes of {max(self._scenes)} shots, and {most} is the most: give text_lengths an "
                "entry for each number of shots, and model.max_shots as many"
            )
        return tuple(len(self._scenes.get(shots, ())) for shots in range(1, most + 1))

    def has_stage(self) -> bool:
        """Returns True when every path knows its stage."""
        return all(record["world"] == "stage" for records in self._scenes.values() for record in records)

    def captions(self) -> Iterator[str]:
        """Iterates over all captions; a text tokenizer learns from them."""
        for _, records in sorted(self._scenes.items()):
            for record in records:
                play = parse_text(record["prompt"], "holocine")
                yield from (play.caption, *(shot.caption for shot in play.shots))

    def __call__(self, seed: int, split: str = "train", num_shots: int = 1) -> RecordedExample:
        """Returns scene number `seed`, modulo their number, of those with `num_shots` shots; `split` is not read."""
        records = self._scenes[num_shots]
        record = records[seed % len(records)]
        with naming(self.folder):
            return RecordedExample(parse_text(record["prompt"], "holocine"), _trajectory(record))


def _trajectory(record: Record) -> Trajectory:
    """The camera path of a record at every frame.

    Records without path_F34 have poses at latent frames only. Between those of one shot the path is interpolated, and
    the frames of a shot before its first latent frame get that frame's pose.
    """
    latent_T = record["shot_T"]
    frames = LATENT_STRIDE * (len(latent_T) - 1) + 1
    index_F = -(-np.arange(frames) // LATENT_STRIDE)  # latent i >= 1 is frames 4i-3 .. 4i
    poses, place_F = record.get("path_F34"), np.arange(frames)
    if poses is None:
        first_F = np.searchsorted(latent_T, latent_T[index_F])
        # The maximum keeps the first frames of a shot from a blend with the last pose of the shot before.
        poses, place_F = record["pose_T34"], np.maximum(place_F / LATENT_STRIDE, first_F)
    # Records hold float32. In float64 the nearest rotation is exact again, so products of many steps stay rigid.
    poses = se3.make(se3.project_to_so3(poses[:, :, :3].astype(np.float64)), poses[:, :, 3].astype(np.float64))
    fx, fy, cx, cy = record["intrinsics"].astype(np.float64)
    on_stage = record["world"] == "stage"
    path = Trajectory(
        pose_T34=se3.resample(poses, place_F),
        intrinsics_T4=np.array([fx, fy, cx, cy]),
        # Records do not hold the size of the image; a principal point in its middle gives it.
        width=max(1, round(2 * cx)),
        height=max(1, round(2 * cy)),
        shot_T=latent_T[index_F],
        stage_34=np.eye(3, 4) if on_stage else None,
    )
    return path.from_first_camera()
