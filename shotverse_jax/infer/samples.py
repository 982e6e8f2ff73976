"""Samples of a planner, drawn in blocks of rows: which screenplays share a program, and the random key of every sample.

A plan must not depend on what is planned beside it. Rows of a batch do not see each other, but a program for another
number of rows, or for longer rows, adds the same numbers in another order, and a last digit that differs may one day
decide which token is drawn. So all programs have the same number of rows, the last block is filled up with copies, and
the lengths of a program follow from each screenplay alone (its bucket).
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from shotverse_jax.infer.decode import Drawn
from shotverse_jax.limits import SAMPLES, SEEDS, whole

BLOCK = {"cpu": 4}
"""Rows of a block by platform: a few fill a CPU."""

ACCELERATOR_BLOCK = 64
"""Rows of a block elsewhere. A step reads all weights for a block of one row too, so the other rows cost little."""


class Sampled(NamedTuple):
    """Pose tokens of one screenplay, a row per sample; places as in `infer.decode.Drawn`.

    Attributes:
        ids_JN: int32, BOS … EOS and then PAD.
        log_probs_JN: float32, log p(token | screenplay, tokens before it) under the network, whatever the sampling.
        anchor_J3: float32, what the anchor head of a GenDoP that has one predicts (`GenDoPTokenizer.decode`), the same
            for all samples; None for every other planner.
    """

    ids_JN: np.ndarray
    log_probs_JN: np.ndarray
    anchor_J3: np.ndarray | None = None


def block_rows(parts: int = 1) -> int:
    """The number of rows of every block on this platform, a multiple of `parts`.

    parts: how many parts of a mesh the rows are split over.
    """
    rows = BLOCK.get(jax.default_backend(), ACCELERATOR_BLOCK)
    return -(-rows // parts) * parts


def seeds_of(seed: int | Sequence[int], count: int) -> list[int]:
    """The seed of each of `count` items: one for all, or one for each.

    Raises:
        ValueError: another number of seeds, or one that is no whole number from 0 to 4294967295.
    """
    if not isinstance(seed, Sequence | np.ndarray) or isinstance(seed, str):
        seed = [seed] * count
    if len(seed) != count:
        raise ValueError(f"{count} items and {len(seed)} seeds; give one seed, or one for each item")
    return [whole(s, "a seed", 0, SEEDS - 1) for s in seed]


def keys_of(seeds: Sequence[int], samples: Sequence[int]) -> jax.Array:
    """The random keys [B] of samples: sample j of seed s has fold_in(key(s), j), wherever it is drawn."""
    return _keys(np.asarray(seeds, np.uint32), np.asarray(samples, np.uint32))


@jax.jit
def _keys(seeds_B, samples_B):
    return jax.vmap(lambda seed, sample: jax.random.fold_in(jax.random.key(seed), sample))(seeds_B, samples_B)


def draw_samples(
    buckets: Sequence[Hashable],
    seed: int | Sequence[int],
    samples: int,
    rows: int,
    run: Callable[[Any, list[int], jax.Array], Drawn | tuple[jax.Array, ...]],
) -> Iterator[tuple[int, Sampled]]:
    """Yields (i, the samples of screenplay i) as soon as they are drawn; screenplays of one bucket share blocks.

    Args:
        buckets: of each screenplay, what decides the shapes of its program.
        seed: one for all screenplays, or one for each.
        samples: of each screenplay.
        rows: of every block, as of `block_rows`.
        run: (bucket, the screenplay of each row, keys_B) -> the pose tokens of the rows, or the fields of `Sampled`.

    Raises:
        ValueError: seeds as of `seeds_of`, or a number of samples that is not from 1 to `limits.SAMPLES`.
    """
    seeds, samples = seeds_of(seed, len(buckets)), whole(samples, "the samples", 1, SAMPLES)
    groups: dict[Hashable, list[tuple[int, int]]] = {}
    for index, bucket in enumerate(buckets):
        groups.setdefault(bucket, []).extend((index, number) for number in range(samples))
    for bucket, wanted in groups.items():
        drawn: dict[int, list] = {}
        for start in range(0, len(wanted), rows):
            block = wanted[start : start + rows]
            filled = block + [block[-1]] * (rows - len(block))
            keys_B = keys_of([seeds[index] for index, _ in filled], [number for _, number in filled])
            result = run(bucket, [index for index, _ in filled], keys_B)
            arrays = zip(*(np.asarray(x_BN) for x_BN in result), strict=True)
            for (index, _), row in zip(block, arrays, strict=False):
                drawn.setdefault(index, []).append(row)
                if len(drawn[index]) == samples:
                    yield index, Sampled(*map(np.stack, zip(*drawn.pop(index), strict=True)))
