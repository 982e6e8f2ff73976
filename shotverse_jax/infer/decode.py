"""Pose tokens from a pose decoder: one compiled program that reads the prefix and writes every token on the device.

A grammar says which tokens may come next, so that every sequence can be read back as cameras. Beside each token stands
its log-probability under the network, as teacher forcing would give it: before temperature, nucleus and grammar.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.camera.tokens.shotverse import BOS, EOS, FIRST_BIN, PAD, POSE_VALUES, header_length, separator
from shotverse_jax.config import Execution, OPTConfig, PlannerConfig
from shotverse_jax.models import opt
from shotverse_jax.models.planner import Planner

Params = Mapping[str, Any]

CACHE_STEP = 256
"""The cache of the OPT decoder grows by this many places, so that early tokens do not read the room of late ones."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the next token is drawn: logits / temperature, then the `top_k` likeliest, then the nucleus `top_p`.

    The defaults are ShotVerse's (§5.1); GenDoP's are Sampling(temperature=1.0, top_k=10, top_p=1.0).

    Attributes:
        temperature: 0 takes the likeliest token.
        top_k: how many of the likeliest tokens are kept; 0 keeps all.
        top_p: the kept tokens are the fewest whose probabilities sum to this; 1 keeps all.

    Raises:
        ValueError: a value outside its range.
    """

    temperature: float = 0.9
    top_k: int = 0
    top_p: float = 0.95

    def __post_init__(self):
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError(
                f"sampling needs temperature >= 0, top_k >= 0 and 0 < top_p <= 1, got temperature {self.temperature}, "
                f"top_k {self.top_k}, top_p {self.top_p}"
            )


GREEDY = Sampling(temperature=0.0)

SAMPLERS = {
    "nucleus": Sampling(),
    "top_k": Sampling(temperature=1.0, top_k=10, top_p=1.0),
    "greedy": GREEDY,
}
"""Ways to pick tokens by name: ShotVerse's nucleus (temperature 0.9, p 0.95), GenDoP's top-k 10, the likeliest."""


@dataclasses.dataclass(frozen=True)
class Grammar:
    """Which sequences may come out: `header` values, then per shot one or more poses, SEP between shots, EOS.

    Attributes:
        bins: how many ids are values: FIRST_BIN up to, but not including, FIRST_BIN + bins.
        header: values before the first shot.
        num_shots: shots of every sequence; a pose has POSE_VALUES values. 0: the header is the whole sequence and
            nothing closes it (GenDoP, which has 257 bins).
    """

    bins: int
    header: int
    num_shots: int = 0

    @classmethod
    def of_planner(cls, config: PlannerConfig, num_shots: int) -> "Grammar":
        """Returns the grammar of a ShotVerse planner's token layout."""
        return cls(config.tokens.bins, header_length(config.tokens), num_shots)

    @classmethod
    def of_gendop(cls, values: int) -> "Grammar":
        """Returns GenDoP's grammar, which is a fixed number of values."""
        return cls(bins=257, header=values)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Draw:
    """What is asked of one batch: its grammar, the poses of each shot, and the random numbers that pick its tokens.

    A row depends on its own key, counts and prefix, not on the rows beside it.

    Attributes:
        counts_BK: poses of each shot, int32; 0 where the network chooses. Then all shots still fit into `limit`.
        keys_B: the random key of each row.
        sampling: how tokens are picked; static, like the two below: another value compiles another program.
        grammar: which sequences may come out.
        limit: the most tokens after BOS.
    """

    counts_BK: jax.Array
    keys_B: jax.Array
    sampling: Sampling = dataclasses.field(metadata={"static": True})
    grammar: Grammar = dataclasses.field(metadata={"static": True})
    limit: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(
        cls,
        grammar: Grammar,
        key: jax.Array,
        rows: int,
        sampling: Sampling = Sampling(),
        counts_BK: Any = None,
        limit: int = 0,
    ) -> "Draw":
        """Returns a checked draw of `rows` sequences.

        key: one key, from which row b takes fold_in(key, b), or one key per row. counts_BK: None leaves all counts to
        the network. limit: 0 means the header, which is all of a GenDoP sequence.

        Raises:
            ValueError: counts that do not fit the rows or the limit, or another number of keys.
        """
        limit = limit or grammar.header
        shape = (rows, grammar.num_shots)
        counts_BK = np.zeros(shape, np.int32) if counts_BK is None else np.asarray(counts_BK, np.int32)
        if counts_BK.shape != shape or (counts_BK < 0).any():
            raise ValueError(
                f"pose counts must be {rows} rows of {grammar.num_shots} numbers >= 0, got {counts_BK.shape}"
            )
        needed = grammar.header + grammar.num_shots + POSE_VALUES * np.maximum(counts_BK, 1).sum(axis=1)
        if (needed > limit).any():
            raise ValueError(
                f"the shots need {needed.max()} tokens after BOS, there is room for {limit}; raise the limit"
            )
        return cls(counts_BK, row_keys(key, rows), sampling, grammar, limit)


class Drawn(NamedTuple):
    """The sequences of a `Draw`, N = 1 + limit places: BOS … EOS, then PAD.

    log_probs_BN float32 holds log p(token | all before it) under the network itself, over its whole vocabulary and
    without temperature; 0 at BOS and PAD, which are not drawn.
    """

    ids_BN: jax.Array
    log_probs_BN: jax.Array


def row_keys(key: jax.Array, rows: int) -> jax.Array:
    """Returns one random key per row: `key` itself when it is [rows], else fold_in(key, row)."""
    if key.ndim == 0:
        return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(rows))
    if key.shape != (rows,):
        raise ValueError(f"give one key or one per row: expected ({rows},), got {key.shape}")
    return key


def sample(logits_BV: jax.Array, keys_B: jax.Array, sampling: Sampling) -> jax.Array:
    """Returns one id per row, int32 [B]; logits of -inf are never drawn.

    The order is that of transformers: temperature, then top k, then the nucleus.
    """
    if sampling.temperature == 0:
        return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)
    logits_BV = logits_BV / sampling.temperature
    if sampling.top_k:
        top_BK, _ = jax.lax.top_k(logits_BV, min(sampling.top_k, logits_BV.shape[-1]))
        logits_BV = jnp.where(logits_BV < top_BK[:, -1:], -jnp.inf, logits_BV)
    if sampling.top_p < 1:
        sorted_BV = jnp.sort(logits_BV, axis=-1, descending=True)
        shares_BV = jax.nn.softmax(sorted_BV, axis=-1)
        # A token is in the nucleus when those likelier than it do not hold top_p yet, so the likeliest always is.
        kept_B1 = jnp.sum(jnp.cumsum(shares_BV, axis=-1) - shares_BV < sampling.top_p, axis=-1, keepdims=True)
        logits_BV = jnp.where(logits_BV < jnp.take_along_axis(sorted_BV, kept_B1 - 1, axis=-1), -jnp.inf, logits_BV)
    return jax.vmap(jax.random.categorical)(keys_B, logits_BV).astype(jnp.int32)


@functools.partial(jax.jit, static_argnames=("config",))
def decode_opt(weights: Params, config: OPTConfig, prefix_BPD: jax.Array, draw: Draw) -> Drawn:
    """Returns the sequences that an OPT decoder writes after a prefix.

    weights: as `opt.decode_weights` lays them out, once per set of parameters. prefix_BPD: projected conditions, as
    the decoder reads them before BOS.

    Raises:
        ValueError: more places than the decoder has positions.
    """
    places, end = prefix_BPD.shape[1], prefix_BPD.shape[1] + draw.limit
    opt.check_length(config, end)
    lengths = _cache_lengths(places, end)
    written, cache = _nothing_written(draw), opt.prefill(weights, config, prefix_BPD, lengths[0])

    def step(ids_B, count, cache):
        return opt.step(weights, config, ids_B, places + count, cache)

    # Attention reads all places of the cache, filled or not. One loop per length keeps that near what is filled.
    for length in lengths:
        written, cache = _write(draw, step, written, opt.grow(cache, length), length - places)
    return Drawn(written.ids_BN, written.log_probs_BN)


@functools.partial(jax.jit, static_argnames=("config", "execution"))
def decode_native(
    params: Params, config: PlannerConfig, execution: Execution, batch: Mapping[str, Any], draw: Draw
) -> Drawn:
    """Returns the sequences that a planner's text model writes itself (`decoder_kind` "native", Table 6).

    params: the planner's 'params', adapters folded in. batch: text_ids_BS, slot_BS, real_BS.
    """
    apply = functools.partial(Planner(config, execution).apply, {"params": params}, batch)
    step = functools.partial(apply, method="native_step")
    cache = apply(draw.limit, method="native_prefill")
    written, _ = _write(draw, step, _nothing_written(draw), cache, draw.limit)
    return Drawn(written.ids_BN, written.log_probs_BN)


def _cache_lengths(start: int, end: int) -> list[int]:
    """Lengths at which the cache grows from `start` places to `end`; each costs one more loop to compile."""
    # A last piece of at most a quarter of a step is joined with the one before: it is not worth another loop.
    return [*range((start // CACHE_STEP + 1) * CACHE_STEP, end - CACHE_STEP // 4, CACHE_STEP), end]


class _Written(NamedTuple):
    """What the loop carries beside the cache: the tokens so far, and where in the grammar each row is.

    count: tokens after BOS. shot_B: the shot that is being written; num_shots after EOS. poses_B: its complete poses.
    values_B: values since the last complete pose.
    """

    count: jax.Array
    ids_BN: jax.Array
    log_probs_BN: jax.Array
    shot_B: jax.Array
    poses_B: jax.Array
    values_B: jax.Array


def _nothing_written(draw: Draw) -> _Written:
    rows = len(draw.keys_B)
    ids_BN = jnp.full((rows, draw.limit + 1), PAD, jnp.int32).at[:, 0].set(BOS)
    return _Written(jnp.int32(0), ids_BN, jnp.zeros(ids_BN.shape), *(jnp.zeros(rows, jnp.int32),) * 3)


def _write(draw: Draw, step: Callable, written: _Written, cache: Any, stop: int) -> tuple[_Written, Any]:
    """Writes tokens until `stop` of them follow BOS or every row has its EOS.

    step(ids_B, count, cache) -> (logits_BV of the next token, cache) reads token number `count`, BOS being 0.
    """

    def last(written):
        return jax.lax.dynamic_index_in_dim(written.ids_BN, written.count, axis=1, keepdims=False)

    def body(carry):
        written, cache = carry
        logits_BV, cache = step(last(written), written.count, cache)
        return _append(draw, written, logits_BV), cache

    def unfinished(carry):
        last_B = last(carry[0])
        return (carry[0].count < stop) & jnp.any((last_B != EOS) & (last_B != PAD))

    # A while loop and not a scan: it ends with the longest row, which may be well before the limit.
    return jax.lax.while_loop(unfinished, body, (written, cache))


def _append(draw: Draw, written: _Written, logits_BV: jax.Array) -> _Written:
    """Draws the next token of every row among those that the grammar allows, and follows it through the grammar."""
    grammar, count = draw.grammar, written.count
    value_B, close_B = _allowed(draw, written)
    done_B = written.shot_B >= grammar.num_shots if grammar.num_shots else jnp.zeros_like(value_B)
    ids_V = jnp.arange(logits_BV.shape[1])
    is_value_V = (ids_V >= FIRST_BIN) & (ids_V < FIRST_BIN + grammar.bins)
    closing_B = jnp.where(written.shot_B + 1 < grammar.num_shots, separator(grammar.bins), EOS)
    allowed_BV = (value_B[:, None] & is_value_V) | (close_B[:, None] & (ids_V == closing_B[:, None]))

    # The key of a token follows from the row's key and the token's number alone: a row in another batch, or one that
    # goes on after its neighbours have ended, draws the same. Rows that have ended must draw something: all is allowed.
    keys_B = jax.vmap(jax.random.fold_in, (0, None))(draw.keys_B, count)
    ids_B = sample(jnp.where(allowed_BV | done_B[:, None], logits_BV, -jnp.inf), keys_B, draw.sampling)
    ids_B = jnp.where(done_B, PAD, ids_B)
    # These are the network's own, before grammar and temperature: teacher forcing must give the same numbers.
    log_probs_BV = jax.nn.log_softmax(logits_BV.astype(jnp.float32), axis=-1)
    log_probs_B = jnp.where(done_B, 0.0, jnp.take_along_axis(log_probs_BV, ids_B[:, None], axis=-1)[:, 0])

    # The header is not part of a pose: the values of one are counted from its end on, and from every SEP on.
    closed_B = ~done_B & (ids_B == closing_B)
    values_B = jnp.where(closed_B | (count < grammar.header), 0, written.values_B + 1)
    complete_B = values_B == POSE_VALUES
    place = (0, count + 1)
    return _Written(
        count=count + 1,
        ids_BN=jax.lax.dynamic_update_slice(written.ids_BN, ids_B[:, None], place),
        log_probs_BN=jax.lax.dynamic_update_slice(written.log_probs_BN, log_probs_B[:, None], place),
        shot_B=written.shot_B + closed_B,
        poses_B=jnp.where(closed_B, 0, written.poses_B + complete_B),
        values_B=jnp.where(complete_B, 0, values_B),
    )


def _allowed(draw: Draw, written: _Written) -> tuple[jax.Array, jax.Array]:
    """Whether the next token may be a value, and whether it may close the shot (SEP, or EOS after the last)."""
    grammar, counts_BK = draw.grammar, jnp.asarray(draw.counts_BK)
    inside_B = (written.count < grammar.header) | (written.values_B > 0)
    if grammar.num_shots == 0:
        return inside_B, jnp.zeros_like(inside_B)
    # After EOS the shot is one too many; those rows are masked later, they only must not index out of bounds.
    shot_B1 = jnp.minimum(written.shot_B, grammar.num_shots - 1)[:, None]
    count_B = jnp.take_along_axis(counts_BK, shot_B1, axis=1)[:, 0]
    # Tokens needed to close shot k and to write the shots after it, those of free length with a single pose. A free
    # shot may begin another pose only while these still fit, so that every row comes to its EOS within the limit.
    shots_BK = POSE_VALUES * jnp.maximum(counts_BK, 1) + 1
    rest_BK = jnp.sum(shots_BK, axis=1, keepdims=True) - jnp.cumsum(shots_BK, axis=1) + 1
    rest_B = jnp.take_along_axis(rest_BK, shot_B1, axis=1)[:, 0]
    room_B = draw.limit - written.count >= POSE_VALUES + rest_B
    more_B = jnp.where(count_B > 0, written.poses_B < count_B, room_B)
    enough_B = (written.poses_B > 0) & (written.poses_B >= count_B)
    return inside_B | more_B, ~inside_B & enough_B
