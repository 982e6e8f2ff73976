"""The planner's batch, built from captions and pose tokens, for training and inference."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from shotverse_jax.config import PlannerConfig
from shotverse_jax.screenplay import Screenplay

TEXT_PAD = 0
POSE_PAD = 0
NO_SLOT = -1
SPELLED, KNOWN = 1.5, 3.0
"""Bytes of text for each piece of a tokenizer: below the first it spells words, above the second it knows them."""
ENGLISH = frozenset(re.findall(r"\w+", "the a an of and with from at to in on by is his her he she they camera shot"))
OTHER = frozenset(
    re.findall(
        r"\w+",
        "der die das den dem und ein eine einen einer ist nach mit auf im am le la les des une du et dans est sur el"
        " los las una un en del con y il lo di che uma um ao com het een van naar op och ett till",
    )
)
"""The most common words of English, and of other languages in Latin letters."""


class PlannerExample(NamedTuple):
    """One screenplay as ids.

    Attributes:
        text_ids_S: [S] int32 text tokens, 0 at query slots.
        slot_S: [S] int32, -1 at text tokens, k*M + m at query slot m of shot k (M slots per shot).
        pose_ids_N: [N] int32 pose tokens, BOS … EOS; None (default) at inference.
    """

    text_ids_S: np.ndarray
    slot_S: np.ndarray
    pose_ids_N: np.ndarray | None = None


def encode_text(
    config: PlannerConfig, tokenizer: Tokenizer, global_caption: str, shot_captions: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Encodes captions as the planner's text (ShotVerse §3.1 Eq. 1).

    The text is the tokens of the global caption, then for every shot the tokens of its caption and M query slots. With
    a `config.encoder` other than "queries" there are no slots.

    Returns:
        text_ids_S, slot_S: as in `PlannerExample`.

    Raises:
        ValueError: there are no shots or no text, the text has more than `config.max_text_tokens` tokens, or the
            tokenizer has more tokens than the planner knows.
    """
    if not shot_captions:
        raise ValueError("a screenplay needs at least one shot")
    slots_per_shot = config.num_queries if config.encoder == "queries" else 0
    texts = tokenizer.encode_batch([global_caption, *shot_captions], add_special_tokens=False)
    ids, slots = [texts[0].ids], [[NO_SLOT] * len(texts[0].ids)]
    for k, text in enumerate(texts[1:]):
        # The slots come after the text of their shot: the language model is causal, so they see the global caption and
        # all shots up to their own. Their ids are never read, because learned queries take the place of their
        # embeddings.
        ids += [text.ids, [TEXT_PAD] * slots_per_shot]
        slots += [[NO_SLOT] * len(text.ids), range(k * slots_per_shot, (k + 1) * slots_per_shot)]
    text_ids_S = np.concatenate([np.asarray(part, np.int32) for part in ids])
    slot_S = np.concatenate([np.asarray(part, np.int32) for part in slots])
    text_tokens = int((slot_S == NO_SLOT).sum())
    if text_tokens == 0:
        raise ValueError("the screenplay has no text: write a caption for the scene or for its shots")
    if len(text_ids_S) > config.max_text_tokens:
        room = config.max_text_tokens - slots_per_shot * len(shot_captions)
        raise ValueError(
            f"the captions take {text_tokens} tokens, {len(shot_captions)} shots leave room for {room}: shorten them"
        )
    if text_ids_S.max() >= config.text.vocab_size:
        raise ValueError(
            f"the tokenizer gives id {text_ids_S.max()} but the planner knows {config.text.vocab_size} tokens: "
            "use the tokenizer this planner was trained with"
        )
    return text_ids_S, slot_S


def unknown_words(tokenizer: Tokenizer, screenplay: Screenplay) -> str:
    """Returns a sentence that names the captions whose language a tokenizer has no words of; "" for none.

    A tokenizer spells words that it was not made of in pieces of a letter or two, and a character of Chinese in three.
    English names give a small tokenizer as many pieces as German words do, so there the most common words decide.
    """
    captions = {"the scene's caption": screenplay.caption}
    captions |= {f"shot {number}": shot.caption for number, shot in enumerate(screenplay.shots, 1)}
    strange = []
    for name, caption in captions.items():
        text = "".join(letter if letter.isalpha() else " " for letter in caption)
        words, pieces = text.casefold().split(), len(tokenizer.encode(text, add_special_tokens=False).ids)
        known = len("".join(words).encode()) / max(pieces, 1)
        other = sum(word in OTHER for word in words) > sum(word in ENGLISH for word in words)
        if words and (known < SPELLED or (known < KNOWN and other)):
            strange.append(name)
    if not strange:
        return ""
    named = f"{', '.join(strange[:8])}{' and more' if len(strange) > 8 else ''}"
    return f"this planner has no words of the language of {named}; cameras may not follow what it says"


def bucket(length: int, lengths: int | Sequence[int]) -> int:
    """Returns the smallest allowed length that is at least `length`.

    Args:
        length: the length needed.
        lengths: an int allows its multiples, a sequence its members.

    Raises:
        ValueError: all allowed lengths are too short.
    """
    if isinstance(lengths, int):
        return -(-length // lengths) * lengths
    fitting = [size for size in lengths if size >= length]
    if not fitting:
        raise ValueError(f"a sequence of {length} tokens does not fit the longest bucket, {max(lengths)}")
    return min(fitting)


def collate(
    examples: Sequence[PlannerExample], text_lengths: int | Sequence[int] = 32, pose_lengths: int | Sequence[int] = 1
) -> dict[str, np.ndarray]:
    """Pads examples with one number of shots to the planner's batch. Few allowed lengths mean few compiled programs.

    Args:
        examples: the examples.
        text_lengths, pose_lengths: allowed lengths, as in `bucket`; default multiples of 32 and of 1.

    Returns:
        text_ids_BS: int32, padded at the end.
        slot_BS: int32, -1 at padding.
        real_BS: bool, True at tokens and query slots.
        pose_ids_BN: int32, padded at the end; only when the examples have poses.
    """
    text_length = bucket(max(len(e.text_ids_S) for e in examples), text_lengths)
    sizes_B = np.asarray([len(e.text_ids_S) for e in examples])
    batch = {
        "text_ids_BS": _pad([e.text_ids_S for e in examples], text_length, TEXT_PAD),
        "slot_BS": _pad([e.slot_S for e in examples], text_length, NO_SLOT),
        "real_BS": np.arange(text_length) < sizes_B[:, None],
    }
    if examples[0].pose_ids_N is not None:
        poses = [e.pose_ids_N for e in examples]
        batch["pose_ids_BN"] = _pad(poses, bucket(max(map(len, poses)), pose_lengths), POSE_PAD)
    return batch


def _pad(rows: Sequence[np.ndarray], length: int, value: int) -> np.ndarray:
    out = np.full((len(rows), length), value, np.int32)
    for padded, row in zip(out, rows, strict=True):
        padded[: len(row)] = row
    return out
