"""Training batches of pairs of plans. Batch `step` is a pure function of (seed, step).

Axes: 2 is the better plan and then the worse one.
"""

import dataclasses
import functools
import logging
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from shotverse_jax.camera.tokens.gendop import GenDoPTokenizer
from shotverse_jax.camera.tokens.shotverse import BOS, PAD, PoseTokenizer, header_length, through_end
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import GenDoPConfig, PlannerConfig
from shotverse_jax.data.pairs import Pair, Plan, read_pairs
from shotverse_jax.data.steps import StepSource
from shotverse_jax.inputs.clip import read_conditions, read_depth, read_image
from shotverse_jax.inputs.items import Refused
from shotverse_jax.inputs.planner_text import PlannerExample, bucket, collate, encode_text
from shotverse_jax.text_files import printable

TEXT_STEP, TOKEN_STEP = 32, 32
"""Texts and tokens are padded to multiples of these, so that few shapes are compiled."""

NAMED = 10
"""How many pairs that are left out have their reason told."""


class Encoded(NamedTuple):
    """A pair as a planner reads it.

    Attributes:
        bucket: what decides the program: the number of shots of a ShotVerse planner, None for GenDoP.
        read: what the planner reads beside the plans: a `PlannerExample`, or the pair itself for GenDoP.
        ids_2: tokens of both plans, int32 [N], BOS … EOS.
        counts_2: of each token whether its probability counts in the plan's, bool [N]; never BOS.
        gap: by how much the better plan's score is higher.
    """

    bucket: Hashable
    read: Any
    ids_2: tuple[np.ndarray, np.ndarray]
    counts_2: tuple[np.ndarray, np.ndarray]
    gap: float


class PlannerPairs:
    """Encodes pairs for a ShotVerse planner.

    Args:
        config: the planner.
        tokenizer: of captions.
    """

    def __init__(self, config: PlannerConfig, tokenizer: Tokenizer):
        self._config, self._tokenizer, self._poses = config, tokenizer, PoseTokenizer(config.tokens)

    def encode(self, pair: Pair) -> Encoded:
        """Returns a pair in tokens.

        Raises:
            ValueError: captions or shots beyond what the planner takes, or plans that are not of this screenplay.
        """
        play, spans = pair.screenplay, list(pair.screenplay.layout().spans)
        if len(play.shots) > self._config.max_shots:
            raise ValueError(f"the planner takes {self._config.max_shots} shots, the screenplay has {len(play.shots)}")
        text = encode_text(self._config, self._tokenizer, play.caption, [shot.caption for shot in play.shots])
        ids_2 = tuple(self._ids(plan, spans) for plan in (pair.chosen, pair.rejected))
        counts_2 = tuple(self._counts(ids_N, pair.shot) for ids_N in ids_2)
        return Encoded(len(spans), PlannerExample(*text), ids_2, counts_2, pair.gap)

    def _ids(self, plan: Plan, spans: list[tuple[int, int]]) -> np.ndarray:
        if isinstance(plan, Trajectory):
            if plan.num_shots != len(spans):
                raise ValueError(f"a plan has {plan.num_shots} shots, the screenplay {len(spans)}")
            plan = self._poses.encode(plan)
        counts = [len(shot) for shot in self._poses.parse(plan).shots]
        if counts != self._poses.pose_counts(spans):
            raise ValueError(f"a plan has shots of {counts} poses, the screenplay {self._poses.pose_counts(spans)}")
        return through_end(plan)

    def _counts(self, ids_N: np.ndarray, shot: int | None) -> np.ndarray:
        if shot is None:
            return ids_N != BOS
        # A shot's part begins after the header or a SEP, and ends with the SEP or EOS that closes it.
        starts = [1 + header_length(self._config.tokens), *(np.flatnonzero(ids_N == self._poses.sep) + 1), len(ids_N)]
        place_N = np.arange(len(ids_N))
        return (place_N >= starts[shot]) & (place_N < starts[shot + 1])

    def read(self, pairs: Sequence[Encoded], longest: Sequence[Encoded]) -> dict[str, np.ndarray]:
        """Returns what the planner reads of pairs, padded to the longest text of `longest`."""
        length = bucket(max(len(pair.read.text_ids_S) for pair in longest), TEXT_STEP)
        return collate([pair.read for pair in pairs], [length])


class GenDoPPairs:
    """Encodes pairs for GenDoP.

    Args:
        config: the network.
        tokenizer: CLIP's; None for a network that reads no captions.
    """

    def __init__(self, config: GenDoPConfig, tokenizer: Tokenizer | None):
        self._config, self._tokenizer, self._poses = config, tokenizer, GenDoPTokenizer(config.tokens)

    def encode(self, pair: Pair) -> Encoded:
        """Returns a pair in tokens.

        Raises:
            ValueError: a screenplay of several shots, plans that are no tokens of GenDoP's, or no picture where the
                network sees one.
        """
        if len(pair.screenplay.shots) != 1:
            raise ValueError(f"GenDoP plans one shot, the screenplay has {len(pair.screenplay.shots)}")
        for name in ("image", "depth"):
            if name in self._config.conditions and getattr(pair, name) is None:
                raise ValueError(f"this GenDoP sees the {name} of a shot, and the pair has none")
        ids_2 = tuple(self._ids(plan) for plan in (pair.chosen, pair.rejected))
        return Encoded(None, pair, ids_2, tuple(ids_N != BOS for ids_N in ids_2), pair.gap)

    def _ids(self, plan: Plan) -> np.ndarray:
        ids_N = self._poses.encode(plan) if isinstance(plan, Trajectory) else plan
        self._poses.parse(ids_N)
        return through_end(ids_N)

    def read(self, pairs: Sequence[Encoded], longest: Sequence[Encoded]) -> dict[str, np.ndarray]:
        """Returns what the network reads of pairs; all of it has one size, so `longest` is not looked at."""
        conditions = self._config.conditions
        captions = [pair.read.screenplay.words(0) for pair in pairs]
        images = [read_image(pair.read.image) if "image" in conditions else None for pair in pairs]
        depths = [read_depth(pair.read.depth) if "depth" in conditions else None for pair in pairs]
        return read_conditions(self._config, conditions, self._tokenizer, captions, images, depths)


def read_encoded(paths: str, reader: PlannerPairs | GenDoPPairs) -> list[tuple[str, Encoded]]:
    """Reads lists of pairs and encodes them; those that cannot be used are named in a warning.

    Returns:
        the name of every pair that can be used, and the pair.

    Raises:
        ValueError: there is none.
    """
    found, left_out = [], []
    for pair in read_pairs(paths):
        try:
            if isinstance(pair, Refused):
                raise ValueError(pair.error)
            encoded = reader.encode(pair)
            if np.array_equal(*encoded.ids_2):
                raise ValueError("both of its plans are the same")
            found.append((pair.id, encoded))
        except ValueError as error:
            left_out.append(f"{pair.id}: {error}")
    for sentence in left_out[:NAMED]:
        logging.getLogger(__name__).warning("left out: %s", printable(sentence))
    if len(left_out) > NAMED:
        logging.getLogger(__name__).warning("and %d more pairs were left out", len(left_out) - NAMED)
    if not found:
        raise ValueError(f"{paths} holds no pairs that can be used: {left_out[0]}")
    return found


@dataclasses.dataclass(frozen=True, eq=False)
class PairSource(StepSource):
    """Random access over steps: `source[step]` → (bucket, this host's slice of the global batch).

    All pairs of a batch have one bucket. An epoch shows every pair once, in an order that depends on (seed, epoch)
    alone; the last batch of a bucket is filled up from its beginning.

    A batch has what the planner reads, and
        ids_B2N: int32, pose tokens and then PAD.
        counts_B2N: bool, which tokens count.
        reference_B2: float32, log-probabilities of both plans under the reference.
        gap_B: float32, by how much the better plan's score is higher.

    Attributes:
        reader: encodes and reads pairs.
        pairs: all pairs.
        reference_P2: the log-probabilities of every pair under the reference, float32; None while they are not known,
            and the batches have zeros.
        seed: seed of the run.
        shuffle: whether epochs have an order by chance.
        global_batch: pairs per step, over all hosts.
        num_steps: steps of the run.
        host, num_hosts: this process and the number of processes; default 0 of 1.
    """

    reader: PlannerPairs | GenDoPPairs
    pairs: tuple[Encoded, ...]
    reference_P2: np.ndarray | None
    seed: int
    shuffle: bool
    global_batch: int
    num_steps: int
    host: int = 0
    num_hosts: int = 1

    @functools.cached_property
    def _buckets(self) -> dict[Hashable, list[int]]:
        found: dict[Hashable, list[int]] = {}
        for number, pair in enumerate(self.pairs):
            found.setdefault(pair.bucket, []).append(number)
        return found

    @functools.cached_property
    def batches_per_epoch(self) -> int:
        """How many batches show every pair once."""
        return sum(-(-len(numbers) // self.global_batch) for numbers in self._buckets.values())

    def chosen(self, step: int) -> tuple[Hashable, list[int]]:
        """Returns the bucket of a step, and the numbers of the pairs of its global batch."""
        epoch, place = divmod(step, self.batches_per_epoch)
        return self._epoch(epoch)[place]

    def __getitem__(self, step: int) -> tuple[Hashable, dict[str, np.ndarray]]:
        shots, numbers = self.chosen(step)
        own = [numbers[place] for place in self.places]
        pairs, same = [self.pairs[number] for number in own], [self.pairs[number] for number in self._buckets[shots]]
        length = bucket(max(len(ids_N) for pair in same for ids_N in pair.ids_2), TOKEN_STEP)
        reference_B2 = np.zeros((len(own), 2), np.float32) if self.reference_P2 is None else self.reference_P2[own]
        return shots, self.reader.read(pairs, same) | {
            "ids_B2N": np.stack([_padded(pair.ids_2, length, PAD) for pair in pairs]),
            "counts_B2N": np.stack([_padded(pair.counts_2, length, False) for pair in pairs]),
            "reference_B2": reference_B2,
            "gap_B": np.asarray([pair.gap for pair in pairs], np.float32),
        }

    def _epoch(self, epoch: int) -> list[tuple[Hashable, list[int]]]:
        rng, batches = np.random.default_rng((self.seed, epoch)), []
        for shots, numbers in self._buckets.items():
            order = rng.permutation(numbers).tolist() if self.shuffle else numbers
            order = order * -(-self.global_batch // len(order)) + order[: self.global_batch]
            count = -(-len(numbers) // self.global_batch)
            batches += [(shots, order[i * self.global_batch : (i + 1) * self.global_batch]) for i in range(count)]
        return [batches[i] for i in rng.permutation(len(batches))] if self.shuffle else batches


def _padded(rows_2: Sequence[np.ndarray], length: int, value: Any) -> np.ndarray:
    return np.stack([np.pad(row_N, (0, length - len(row_N)), constant_values=value) for row_N in rows_2])
