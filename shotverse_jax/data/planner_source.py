"""Training batches of the planner, drawn from the stage: batch `step` is a pure function of (seed, step)."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from shotverse_jax.camera.tokenizer import PoseTokenizer
from shotverse_jax.config import PlannerConfig
from shotverse_jax.data.batching import PlannerExample, collate, encode_text
from shotverse_jax.data.bpe import load_text_tokenizer

_SHOTS, _EXAMPLE = 0, 1  # the two uses of randomness in a batch
_ATTEMPTS = 100


@dataclasses.dataclass(frozen=True)
class PlannerSource:
    """Random access over steps: `source[step]` → (number of shots K, this host's slice of the global batch).

    Element i of step s depends on (seed, s, i) alone, so the order of examples does not depend on the number of hosts
    or workers, and resuming needs the step only. All examples of a step have the same K, drawn with `shot_weights`
    (ShotVerse §4.1: 2/3/4 shots as 6:3:1, plus single shots); K fixes the shapes, so there is one compiled program
    per K. A caption too long for its `text_lengths[K - 1]` is drawn again.

    Attributes:
        single_shot_steps: the steps before this one are of single shots, whatever the weights say.
        sample: `sample(seed, split, num_shots=K)` → Example with `.screenplay` and `.trajectory`.
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
        if self.global_batch % self.num_hosts:
            raise ValueError(f"a batch of {self.global_batch} does not divide over {self.num_hosts} hosts")
        if len(self.shot_weights) != len(self.text_lengths):
            raise ValueError(f"{len(self.shot_weights)} shot weights but {len(self.text_lengths)} text lengths")

    @functools.cached_property
    def _tokenizers(self):
        return load_text_tokenizer(self.tokenizer_file), PoseTokenizer(self.config.tokens)

    def __getstate__(self):
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __len__(self) -> int:
        return self.num_steps

    def __getitem__(self, step: int) -> tuple[int, dict[str, np.ndarray]]:
        num_shots = self.num_shots(step)
        share = self.global_batch // self.num_hosts
        examples = [self.example(step, i, num_shots) for i in range(self.host * share, (self.host + 1) * share)]
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
