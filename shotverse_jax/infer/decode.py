"""Pose tokens from a planner: one compiled function that reads the prefix and writes every token on the device."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

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

    temperature 0 takes the likeliest token; top_k 0 and top_p 1 keep every token. The defaults are ShotVerse's (§5.1);
    GenDoP's are Sampling(temperature=1.0, top_k=10, top_p=1.0).
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


@dataclasses.dataclass(frozen=True)
class Grammar:
    """Which sequences may come out: `header` values, then per shot one or more poses, SEP between shots, EOS.

    A value is an id in [FIRST_BIN, FIRST_BIN + bins), a pose POSE_VALUES values. num_shots 0: the header is all there
    is and nothing closes it (GenDoP: ten values a pose, 257 bins).
    """

    bins: int
    header: int
    num_shots: int = 0

    @classmethod
    def of_planner(cls, config: PlannerConfig, num_shots: int) -> "Grammar":
        return cls(config.tokens.bins, header_length(config.tokens), num_shots)

    @classmethod
    def of_gendop(cls, poses: int = 30) -> "Grammar":
        return cls(bins=257, header=10 * poses)


def decode(
    params: Params,
    config: PlannerConfig,
    execution: Execution,
    batch: Mapping[str, Any],
    counts_BK: Any,
    key: jax.Array,
    sampling: Sampling = Sampling(),
    *,
    num_shots: int,
    max_tokens: int,
) -> jax.Array:
    """Pose tokens ids_BN, N = max_tokens: BOS … EOS, then PAD; every row follows the planner's token layout.

    params: the planner's 'params', adapters folded in. batch: text_ids_BS, slot_BS, real_BS of screenplays with
    `num_shots` shots. counts_BK: poses of each shot, 0 where the planner chooses; then all shots still fit into
    max_tokens. key: one key, from which row b takes fold_in(key, b), or one key per row; what comes out for a row
    depends on its key and its screenplay, not on the rows beside it.
    Raises ValueError when the counts do not fit the batch or max_tokens.
    """
    names = ("text_ids_BS", "slot_BS", "real_BS")
    batch = {name: jnp.asarray(batch[name]) for name in names}
    rows = batch["text_ids_BS"].shape[0]
    grammar = Grammar.of_planner(config, num_shots)
    counts_BK = check_counts(grammar, counts_BK, rows, max_tokens - 1)
    rule = counts_BK, row_keys(key, rows), sampling, grammar, max_tokens - 1
    if config.decoder_kind == "native":
        return _decode_native(params, config, execution, batch, *rule)
    prefix_BPD = _read_screenplays(params, config, execution, batch, num_shots)
    weights = opt.decode_weights(params["decoder"], config.decoder, execution.dtype)
    return _decode_opt(weights, config.decoder, prefix_BPD, *rule)


def decode_opt(
    decoder_params: Params,
    config: OPTConfig,
    prefix_BPD: jax.Array,
    grammar: Grammar,
    key: jax.Array,
    sampling: Sampling = Sampling(),
    max_new_tokens: int = 0,
    *,
    counts_BK: Any = None,
    dtype: str = "float32",
) -> jax.Array:
    """Tokens after BOS, ids_BN with N = max_new_tokens (0: the header, which is all of a GenDoP sequence).

    decoder_params: the tree of `OPTDecoder`, or what `opt.decode_weights` made of it (which saves a copy per call).
    prefix_BPD: projected conditions, as the decoder reads them. Otherwise as `decode`.
    """
    limit = max_new_tokens or grammar.header
    counts_BK = check_counts(grammar, counts_BK, len(prefix_BPD), limit)
    ready = isinstance(decoder_params["layers"], list)
    weights = decoder_params if ready else opt.decode_weights(decoder_params, config, dtype)
    keys_B = row_keys(key, len(prefix_BPD))
    return _decode_opt(weights, config, prefix_BPD, counts_BK, keys_B, sampling, grammar, limit)[:, 1:]


def check_counts(grammar: Grammar, counts_BK: Any, rows: int, limit: int) -> np.ndarray:
    """Pose counts as int32 [rows, num_shots] (None: all free); ValueError unless they fit `limit` tokens after BOS."""
    shape = (rows, grammar.num_shots)
    counts_BK = np.zeros(shape, np.int32) if counts_BK is None else np.asarray(counts_BK, np.int32)
    if counts_BK.shape != shape or (counts_BK < 0).any():
        raise ValueError(f"pose counts must be {rows} rows of {grammar.num_shots} numbers >= 0, got {counts_BK.shape}")
    needed = grammar.header + grammar.num_shots + POSE_VALUES * np.maximum(counts_BK, 1).sum(axis=1)
    if (needed > limit).any():
        raise ValueError(f"the shots need {needed.max()} tokens after BOS, there is room for {limit}; raise max_tokens")
    return counts_BK


def row_keys(key: jax.Array, rows: int) -> jax.Array:
    """One random key per row: `key` itself when it is [rows], else fold_in(key, row)."""
    if key.ndim == 0:
        return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(rows))
    if key.shape != (rows,):
        raise ValueError(f"give one key or one per row: expected ({rows},), got {key.shape}")
    return key


def sample(logits_BV: jax.Array, keys_B: jax.Array, sampling: Sampling) -> jax.Array:
    """One id per row, int32 [B]; logits of -inf are never drawn. Order as in transformers: temperature, k, nucleus."""
    if sampling.temperature == 0:
        return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)
    logits_BV = logits_BV / sampling.temperature
    if sampling.top_k:
        top_BK, _ = jax.lax.top_k(logits_BV, min(sampling.top_k, logits_BV.shape[-1]))
        logits_BV = jnp.where(logits_BV < top_BK[:, -1:], -jnp.inf, logits_BV)
    if sampling.top_p < 1:
        sorted_BV = jnp.sort(logits_BV, axis=-1, descending=True)
        shares_BV = jax.nn.softmax(sorted_BV, axis=-1)
        kept_B1 = jnp.sum(jnp.cumsum(shares_BV, axis=-1) - shares_BV < sampling.top_p, axis=-1, keepdims=True)
        logits_BV = jnp.where(logits_BV < jnp.take_along_axis(sorted_BV, kept_B1 - 1, axis=-1), -jnp.inf, logits_BV)
    return jax.vmap(jax.random.categorical)(keys_B, logits_BV).astype(jnp.int32)


@functools.partial(jax.jit, static_argnames=("config", "execution", "num_shots"))
def _read_screenplays(params, config, execution, batch, num_shots):
    return Planner(config, execution).apply({"params": params}, batch, num_shots, method="prefix")


@functools.partial(jax.jit, static_argnames=("config", "sampling", "grammar", "limit"))
def _decode_opt(weights, config, prefix_BPD, counts_BK, keys_B, sampling, grammar, limit):
    places = prefix_BPD.shape[1]
    opt.check_length(config, places + limit)
    choose = functools.partial(_choose, counts_BK, keys_B, sampling, grammar, limit)
    lengths = _cache_lengths(places, places + limit)
    carry = (*_start(len(keys_B), limit), opt.prefill(weights, config, prefix_BPD, lengths[0]))
    for length in lengths:
        *rest, cache = carry
        carry = _loop(
            choose,
            lambda ids_B, index, cache: opt.step(weights, config, ids_B, places + index, cache),
            (*rest, opt.grow(cache, length)),
            length - places,
        )
    return carry[1]


@functools.partial(jax.jit, static_argnames=("config", "execution", "sampling", "grammar", "limit"))
def _decode_native(params, config, execution, batch, counts_BK, keys_B, sampling, grammar, limit):
    apply = functools.partial(Planner(config, execution).apply, {"params": params}, batch)
    choose = functools.partial(_choose, counts_BK, keys_B, sampling, grammar, limit)
    carry = (*_start(len(keys_B), limit), apply(limit, method="native_prefill"))
    return _loop(choose, functools.partial(apply, method="native_step"), carry, limit)[1]


def _cache_lengths(start: int, end: int) -> list[int]:
    """Lengths at which the cache grows from `start` places to `end`; each costs one more loop to compile."""
    return [*range((start // CACHE_STEP + 1) * CACHE_STEP, end - CACHE_STEP // 4, CACHE_STEP), end]


# The loop carries (index of the last token, ids_BN, state of the grammar, cache). The state is three integers per row:
# the shot that is being written (num_shots after EOS), its complete poses, and the values since the last boundary.


def _start(rows, limit):
    ids_BN = jnp.full((rows, limit + 1), PAD, jnp.int32).at[:, 0].set(BOS)
    return jnp.int32(0), ids_BN, (jnp.zeros(rows, jnp.int32),) * 3


def _loop(choose: Callable, step: Callable, carry, stop: int):
    """Writes tokens until `stop` of them follow BOS or every row has its EOS."""

    def last(carry):
        return jax.lax.dynamic_index_in_dim(carry[1], carry[0], axis=1, keepdims=False)

    def body(carry):
        index, ids_BN, state, cache = carry
        logits_BV, cache = step(last(carry), index, cache)
        ids_B, state = choose(logits_BV, index, state)
        ids_BN = jax.lax.dynamic_update_slice(ids_BN, ids_B[:, None], (0, index + 1))
        return index + 1, ids_BN, state, cache

    def unfinished(carry):
        last_B = last(carry)
        return (carry[0] < stop) & jnp.any((last_B != EOS) & (last_B != PAD))

    return jax.lax.while_loop(unfinished, body, carry)


def _choose(counts_BK, keys_B, sampling, grammar, limit, logits_BV, index, state):
    """Token number `index` after BOS (from 0) of every row, and the state after it."""
    value_B, close_B = _allowed(grammar, counts_BK, limit, index, state)
    shot_B, poses_B, values_B = state
    done_B = shot_B >= grammar.num_shots if grammar.num_shots else jnp.zeros_like(value_B)
    ids_V = jnp.arange(logits_BV.shape[1])
    is_value_V = (ids_V >= FIRST_BIN) & (ids_V < FIRST_BIN + grammar.bins)
    closing_B = jnp.where(shot_B + 1 < grammar.num_shots, separator(grammar.bins), EOS)
    allowed_BV = (value_B[:, None] & is_value_V) | (close_B[:, None] & (ids_V == closing_B[:, None]))
    keys_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, index)
    ids_B = sample(jnp.where(allowed_BV | done_B[:, None], logits_BV, -jnp.inf), keys_B, sampling)
    ids_B = jnp.where(done_B, PAD, ids_B)

    closed_B = ~done_B & (ids_B == closing_B)
    values_B = jnp.where(closed_B | (index < grammar.header), 0, values_B + 1)
    whole_B = values_B == POSE_VALUES
    poses_B = jnp.where(closed_B, 0, poses_B + whole_B)
    return ids_B, (shot_B + closed_B, poses_B, jnp.where(whole_B, 0, values_B))


def _allowed(grammar, counts_BK, limit, index, state):
    """Whether token number `index` may be a value, and whether it may close the shot (SEP, or EOS after the last)."""
    shot_B, poses_B, values_B = state
    inside_B = (index < grammar.header) | (values_B > 0)
    if grammar.num_shots == 0:
        return inside_B, jnp.zeros_like(inside_B)
    shot_B1 = jnp.minimum(shot_B, grammar.num_shots - 1)[:, None]
    count_B = jnp.take_along_axis(jnp.asarray(counts_BK), shot_B1, axis=1)[:, 0]
    # Tokens needed to close shot k and to write the shots after it, the free ones with a single pose.
    shots_BK = POSE_VALUES * jnp.maximum(counts_BK, 1) + 1
    rest_BK = jnp.sum(shots_BK, axis=1, keepdims=True) - jnp.cumsum(shots_BK, axis=1) + 1
    rest_B = jnp.take_along_axis(rest_BK, shot_B1, axis=1)[:, 0]
    more_B = jnp.where(count_B > 0, poses_B < count_B, limit - index >= POSE_VALUES + rest_B)
    enough_B = (poses_B > 0) & (poses_B >= count_B)
    return inside_B | more_B, ~inside_B & enough_B
