"""Text that Qwen3-VL writes about text, images and videos: one compiled program reads the prompt and writes the answer.

Prompts of unequal length are filled up on the left, so that all answers begin at one place of the cache. Lengths are
rounded up to a few values (`bucket`), so that few programs are compiled.

Axes: B answers; T tokens of the prompts; N tokens of the answers; F, S, P as in the vision tower.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.config import Execution, Qwen3VLConfig
from shotverse_jax.infer.decode import GREEDY, Sampling, row_keys, sample
from shotverse_jax.inputs.chat import Chat, Question
from shotverse_jax.inputs.qwen3_vl import arrange, pack
from shotverse_jax.models import qwen3_vl_decode
from shotverse_jax.models.qwen3_vl import Qwen3VL

LEAST_BUCKET = 32


def bucket(length: int, least: int = LEAST_BUCKET) -> int:
    """Returns the next allowed length: a multiple of `least`, and of an eighth of the power of two below it."""
    step = max(least, 1 << max(length.bit_length() - 4, 0))
    return max(least, -(-length // step) * step)


class Prompts(NamedTuple):
    """A batch of prompts as the program reads it.

    Attributes:
        ids_BT, real_BT: tokens, filled up on the left, and which of them are tokens of the prompt.
        positions_3BT, feature_BT: places of tokens and pictures (`inputs.qwen3_vl.Arrangement`).
        next_B: position of the answer's first token.
        pixels_FSP, size_F2: the pictures of all prompts; None for prompts of text alone.
    """

    ids_BT: np.ndarray
    real_BT: np.ndarray
    positions_3BT: np.ndarray
    feature_BT: np.ndarray
    next_B: np.ndarray
    pixels_FSP: np.ndarray | None = None
    size_F2: np.ndarray | None = None


def prompts(questions: Sequence[Question], config: Qwen3VLConfig, pad: int, copies: int = 1) -> Prompts:
    """Returns the batch of some questions, each `copies` times in a row; copies share their pictures.

    Raises:
        ValueError: a question whose tokens do not fit its pictures.
    """
    length = bucket(max(len(question.ids) for question in questions))
    ids_BT = np.full((len(questions), length), pad, np.int32)
    for row, question in zip(ids_BT, questions, strict=True):
        row[length - len(question.ids) :] = question.ids
    real_BT = np.arange(length) >= length - np.array([[len(question.ids)] for question in questions])
    pictures = [picture for question in questions for picture in question.pictures]
    grids = [picture.grid for picture in pictures]
    pixels = {}
    if pictures:
        patches, frames = max(h * w for _, h, w in grids), sum(t for t, _, _ in grids)
        packed = np.concatenate([picture.rows_NP for picture in pictures])
        pixels_FSP, size_F2 = pack(packed, grids, config.vision, patches, bucket(frames, 1))
        pixels = {"pixels_FSP": pixels_FSP, "size_F2": size_F2}
    places = arrange(ids_BT, grids, config, patches if pictures else config.vision.merged_patches, real_BT)
    rows = {
        "ids_BT": ids_BT,
        "real_BT": real_BT,
        "feature_BT": places.feature_BT,
        "next_B": real_BT.sum(1) + places.delta_B,
    }
    rows = {name: np.repeat(array, copies, axis=0) for name, array in rows.items()}
    return Prompts(**rows, positions_3BT=np.repeat(places.positions_3BT, copies, axis=1), **pixels)


@dataclasses.dataclass(frozen=True)
class Writing:
    """How answers are written; hashable, another value compiles another program.

    Attributes:
        limit: the most tokens of an answer.
        stop: tokens that end an answer.
        pad: the token after its end.
        sampling: how tokens are picked.
    """

    limit: int
    stop: tuple[int, ...]
    pad: int
    sampling: Sampling = GREEDY


@functools.partial(jax.jit, static_argnames=("config", "execution", "writing"))
def generate(
    weights: Mapping[str, Any],
    config: Qwen3VLConfig,
    execution: Execution,
    batch: Prompts,
    keys_B: jax.Array,
    writing: Writing,
) -> jax.Array:
    """Returns the answers, int32 [B, limit]: tokens, the one that ends the answer, then `writing.pad`.

    weights: {"vision", "text"}, the text as `qwen3_vl_decode.decode_weights` lays it out. keys_B: a random key for each
    answer; an answer depends on its own key and prompt, not on those beside it.
    """
    samples, length = batch.ids_BT.shape
    extend = functools.partial(qwen3_vl_decode.extend, weights["text"], config.text, execution)
    call = functools.partial(Qwen3VL(config, execution).apply, {"params": weights})
    embed = functools.partial(call, method=lambda network, ids_BT: network.text.embed(ids_BT))
    if batch.pixels_FSP is None:
        x_BTD, deepstack_KBTD = embed(batch.ids_BT), None
    else:
        pictures = batch.pixels_FSP, batch.size_F2, batch.feature_BT
        x_BTD, deepstack_KBTD = call(batch.ids_BT, *pictures, method="embed")
    # Places behind the prompt are hidden by causality until they are written.
    real_BS = jnp.pad(batch.real_BT, ((0, 0), (0, writing.limit)), constant_values=True)
    cache = qwen3_vl_decode.empty_cache(config.text, execution, samples, length + writing.limit)
    states_BTD, cache = extend(x_BTD, cache, 0, batch.positions_3BT, real_BS, deepstack_KBTD)

    def pick(states_B1D, count):
        logits_BV = call(states_B1D, method="logits")[:, 0]
        # The key of a token follows from its answer's key and its number alone.
        return sample(logits_BV, jax.vmap(jax.random.fold_in, (0, None))(keys_B, count), writing.sampling)

    def ends(ids_B):
        return functools.reduce(jnp.logical_or, (ids_B == token for token in writing.stop), jnp.zeros(samples, bool))

    def unfinished(carry):
        count, _, _, done_B, _ = carry
        return (count < writing.limit) & ~jnp.all(done_B)

    def step(carry):
        count, written_BN, last_B, done_B, cache = carry
        positions_3B1 = jnp.broadcast_to((batch.next_B + count - 1)[:, None], (3, samples, 1))
        states_B1D, cache = extend(embed(last_B[:, None]), cache, length + count - 1, positions_3B1, real_BS)
        ids_B = jnp.where(done_B, writing.pad, pick(states_B1D, count))
        written_BN = jax.lax.dynamic_update_slice(written_BN, ids_B[:, None], (0, count))
        return count + 1, written_BN, ids_B, done_B | ends(ids_B), cache

    first_B = pick(states_BTD[:, -1:], 0)
    written_BN = jnp.full((samples, writing.limit), writing.pad, jnp.int32).at[:, 0].set(first_B)
    # A while loop and not a scan: it ends with the longest answer, which may be well before the limit.
    return jax.lax.while_loop(unfinished, step, (jnp.int32(1), written_BN, first_B, ends(first_B), cache))[1]


@dataclasses.dataclass(frozen=True, eq=False)
class Writer:
    """A network that answers questions.

    Attributes:
        chat: its tokenizer and config.
        weights: {"vision", "text"}, the text as `qwen3_vl_decode.decode_weights` lays it out.
        execution: how it runs.
        batch: questions that are answered together.
    """

    chat: Chat
    weights: Mapping[str, Any]
    execution: Execution
    batch: int = 8

    @classmethod
    def of(cls, params: Mapping[str, Any], chat: Chat, execution: Execution, batch: int = 8) -> "Writer":
        """Returns a writer of a network's parameters, adapters folded in."""
        text = qwen3_vl_decode.decode_weights(params["text"], chat.config.text, execution)
        return cls(chat, jax.tree.map(jnp.asarray, {"vision": params["vision"], "text": text}), execution, batch)

    def answers(
        self,
        questions: Sequence[Question],
        *,
        copies: int = 1,
        limit: int = 128,
        sampling: Sampling = GREEDY,
        seed: int = 0,
    ) -> list[list[str]]:
        """Returns `copies` answers to every question.

        Args:
            questions: what is asked (`Chat.ask`).
            copies: answers to each; more than one make sense only with a `sampling` that draws.
            limit: the most tokens of an answer.
            sampling: how tokens are picked; default the likeliest.
            seed: another seed, other answers. The first answers to a question do not depend on how many follow.
        """
        writing, found = Writing(limit, self.chat.stop, self.chat.pad, sampling), []
        keys_Q = row_keys(jax.random.key(seed), len(questions))
        for start in range(0, len(questions), self.batch):
            part = list(questions[start : start + self.batch])
            keys_BK = jax.vmap(lambda key: row_keys(key, copies))(keys_Q[start : start + len(part)])
            batch = prompts(part, self.chat.config, self.chat.pad, copies)
            ids_BN = generate(self.weights, self.chat.config, self.execution, batch, keys_BK.reshape(-1), writing)
            texts = [self.chat.text(ids) for ids in np.asarray(ids_BN)]
            found += [texts[i * copies : (i + 1) * copies] for i in range(len(part))]
        return found
