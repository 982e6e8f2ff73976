"""A screenplay as the text encoder reads it: token ids, and which of them the video tokens of each shot may see.

The prompt is HoloCine's, `[global caption] … This scene contains K shots. [per shot caption] … [shot cut] …`
(`screenplay.to_text(play, "holocine")` writes it). Its windows are spans of tokens, (first, end exclusive): one for the
global caption, and one per shot. A marker `[shot cut]` belongs to the shot before it, `[per shot caption]` to shot 1.

Array axes: B prompts; K windows, one per shot; S text tokens.
"""

import dataclasses
import html
import re
from collections.abc import Sequence
from typing import Literal

import ftfy
import numpy as np
from tokenizers import Tokenizer

from shotverse_jax.config import ControllerConfig
from shotverse_jax.screenplay import Screenplay, to_text

GLOBAL, PER_SHOT, CUT = "[global caption]", "[per shot caption]", "[shot cut]"
PAD_NAMES, END_NAMES = ("<pad>",), ("</s>", "<eos>")  # of UMT5's tokenizer and of `inputs/tokenizer.py`

TEXT_BUCKET = 64
"""Text is padded to a multiple of this, where the model does not look at padding: few lengths, few programs."""

Span = tuple[int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class PromptWindows:
    """A tokenized prompt.

    Attributes:
        ids_S: [S] int32 token ids, the end token, then padding.
        length: number of tokens before the padding, the end token included.
        global_span: (first, end exclusive) token of the global caption; None for a text without shots.
        shot_spans: (first, end exclusive) tokens of every shot.
    """

    ids_S: np.ndarray
    length: int
    global_span: Span | None
    shot_spans: tuple[Span, ...]

    @property
    def real_S(self) -> np.ndarray:
        """[S] bool, True at real tokens, False at padding."""
        return np.arange(len(self.ids_S)) < self.length


def clean_prompt(text: str) -> str:
    """Returns a text with encoding errors repaired, HTML entities resolved and single spaces.

    Source: HoloCine wan_prompter.py.
    """
    # Entities are resolved twice, as in the original: "&amp;amp;" is a text that was escaped twice.
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip()


def tokenize_screenplay(screenplay: Screenplay, tokenizer: Tokenizer, length: int = 512) -> PromptWindows:
    """Tokenizes the HoloCine prompt of a screenplay; arguments and errors are those of `tokenize_prompt`."""
    return tokenize_prompt(to_text(screenplay, "holocine"), tokenizer, length, shots=len(screenplay.shots))


def tokenize_prompt(text: str, tokenizer: Tokenizer, length: int = 512, shots: int = 0) -> PromptWindows:
    """Tokenizes a HoloCine prompt.

    Args:
        text: the prompt. It is cleaned (`clean_prompt`) before markers are searched, so that spans and tokens count the
            same characters.
        tokenizer: the text encoder's, without truncation and padding of its own.
        length: length S of the ids; default 512.
        shots: number of shots with captions in the prompt; 0 (default) for a text without markers.

    Raises:
        ValueError: the prompt has more than `length` tokens (it is never cut), its markers are not those of that many
            shots, a shot has no caption, or the tokenizer truncates, pads or lacks special tokens.
    """
    if tokenizer.truncation is not None or tokenizer.padding is not None:
        raise ValueError("the tokenizer truncates or pads by itself; call its no_truncation() and no_padding() first")
    text = clean_prompt(text)
    spans = _character_spans(text, shots)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    ids = [*encoding.ids, _special_id(tokenizer, END_NAMES)]
    if len(ids) > length:
        raise ValueError(f"the prompt has {len(ids)} tokens, and {length} is the most; shorten its captions")
    windows = _token_spans(encoding.offsets, spans)
    ids_S = np.full(length, _special_id(tokenizer, PAD_NAMES), np.int32)
    ids_S[: len(ids)] = ids
    return PromptWindows(ids_S, len(ids), windows[0] if windows else None, tuple(windows[1:]))


def window_mask(
    global_span: Span, shot_spans: tuple[Span, ...], length: int, style: Literal["holocine", "clean"]
) -> np.ndarray:
    """Returns which text tokens the video tokens of each shot may see: [K, S] bool, True where shot k sees token s.

    Every shot sees the global caption, its own caption, and the padding (which is zero after the text encoder).
    Source: HoloCine wan_video_holocine.py.

    Args:
        global_span: (first, end) token of the global caption.
        shot_spans: (first, end) tokens of each of the K shots.
        length: number of text tokens S.
        style: "holocine" reads the ends of the spans as inclusive, as the original does, and as its weights were
            trained. A shot then also sees the first token after each of its two windows: every shot sees the first
            token of shot 1, a shot sees the first token of the next shot, and the last shot sees the end token. A span
            (s, s) is a window of one token. "clean" reads the ends as exclusive: no shot sees another's tokens, and no
            shot sees the end token.

    Raises:
        ValueError: a window is empty, out of order or longer than the text, or the style is unknown.
    """
    if style not in ("holocine", "clean"):
        raise ValueError(f'windows are "holocine" or "clean", got {style!r}')
    spans = (global_span, *shot_spans)
    edges = [edge for span in spans for edge in span]
    more = int(style == "holocine")
    ordered = edges == sorted(edges) and all(start < end + more for start, end in spans)
    if not shot_spans or not ordered or edges[0] < 0 or edges[-1] >= length:
        raise ValueError(
            f"windows are a global span and at least one shot's, in order, none empty, all before the end token within "
            f"{length} places; got {spans}"
        )
    place_S = np.arange(length)
    window_XS = np.stack([(place_S >= first) & (place_S < end + more) for first, end in spans])
    # The token at the last end is the end token; only the padding after it is seen by all.
    return window_XS[1:] | window_XS[:1] | (place_S > edges[-1])


def text_places(config: ControllerConfig, prompt: PromptWindows) -> int:
    """Returns the number S of places that a prompt takes: all of `config.text_length` where padding is seen."""
    if config.see_padding:
        return config.text_length
    # Without a look at padding, less of it changes no result and saves its computation.
    return min(config.text_length, -(-prompt.length // TEXT_BUCKET) * TEXT_BUCKET)


def collate_prompts(config: ControllerConfig, prompts: Sequence[PromptWindows], rows: int) -> dict[str, np.ndarray]:
    """Builds the text side of the controller's batch.

    Args:
        config: the controller.
        prompts: prompts tokenized to `config.text_length`.
        rows: number K of windows per prompt. A prompt with fewer shots repeats its last window, and a prompt without
            shots has all of its text in every window.

    Returns:
        ids_BS: int32 token ids.
        real_BS: bool, True at real tokens.
        window_BKS: bool, True where the video tokens of shot k may see token s.

    Raises:
        ValueError: a prompt has more shots than `rows`.
    """
    length = max(text_places(config, prompt) for prompt in prompts)
    windows = []
    for prompt in prompts:
        if len(prompt.shot_spans) > rows:
            raise ValueError(f"a prompt of {len(prompt.shot_spans)} shots among prompts of at most {rows}")
        if not prompt.shot_spans or config.windows == "none":
            window_KS = np.ones((rows, length), bool)
        else:
            window_KS = window_mask(prompt.global_span, prompt.shot_spans, length, config.windows)
            window_KS = np.pad(window_KS, ((0, rows - len(window_KS)), (0, 0)), mode="edge")
        windows.append(window_KS if config.see_padding else window_KS & prompt.real_S[:length])
    return {
        "ids_BS": np.stack([prompt.ids_S[:length] for prompt in prompts]),
        "real_BS": np.stack([prompt.real_S[:length] for prompt in prompts]),
        "window_BKS": np.stack(windows),
    }


def _character_spans(text: str, shots: int) -> list[Span]:
    """(first, end) characters of the global caption and of every shot, which together are the whole prompt."""
    found = [text.count(marker) for marker in (GLOBAL, PER_SHOT, CUT)]
    if found != ([1, 1, shots - 1] if shots else [0, 0, 0]):
        raise ValueError(
            f"a prompt of {shots} shots has {shots - 1} {CUT} after one {GLOBAL} and one {PER_SHOT}; this one has "
            f"{found[2]}, {found[0]} and {found[1]}"
            if shots
            else f"a text without shots has no markers {GLOBAL}, {PER_SHOT} or {CUT}; say how many shots it describes"
        )
    if not shots:
        return []
    start = text.index(PER_SHOT)
    cuts = [match.end() for match in re.finditer(re.escape(CUT), text)]
    if not text.startswith(GLOBAL) or (cuts and cuts[0] < start):
        raise ValueError(f"a prompt reads '{GLOBAL} … {PER_SHOT} … {CUT} …', in this order and nothing before it")
    edges = [0, start, *cuts, len(text)]  # a cut ends after its marker, which so belongs to the shot before it
    spans = list(zip(edges[:-1], edges[1:], strict=True))
    for number, (first, end) in enumerate(spans[1:], 1):
        if not text[first:end].removeprefix(PER_SHOT).removesuffix(CUT).strip():
            raise ValueError(f"shot {number} of the prompt has no caption; say what the camera shows")
    return spans


def _token_spans(offsets: list[Span], spans: list[Span]) -> list[Span]:
    """(first, end) tokens of every span of characters. A token belongs to the first span that it overlaps."""
    members: list[list[int]] = [[] for _ in spans]
    for token, (first, end) in enumerate(offsets):
        # Some tokenizers give tokens without characters, first = end; they belong to no span.
        inside = (i for i, (start, stop) in enumerate(spans) if first < stop and end > start and first < end)
        if (i := next(inside, None)) is not None:
            members[i].append(token)
    if not all(members):
        raise ValueError("the tokenizer gives a shot of the prompt no token of its own; write its caption in words")
    return [(tokens[0], tokens[-1] + 1) for tokens in members]


def _special_id(tokenizer: Tokenizer, names: tuple[str, ...]) -> int:
    ids = [tokenizer.token_to_id(name) for name in names]
    if not (known := [i for i in ids if i is not None]):
        raise ValueError(f"the tokenizer has no {' or '.join(names)}; give UMT5's or one of ours (inputs/tokenizer.py)")
    return known[0]
