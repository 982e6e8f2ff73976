"""A screenplay as the text encoder reads it: token ids, and which of them every shot's video tokens may attend to.

The prompt is HoloCine's, `[global caption] … This scene contains K shots. [per shot caption] … [shot cut] …`
(`screenplay.to_text(play, "holocine")` writes it). Its windows are spans of tokens, first and end (exclusive): one of
the global caption, one per shot. A marker `[shot cut]` belongs to the shot before it, `[per shot caption]` to shot 1.
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
"""Where padding is not attended to, text is padded to multiples of this only."""

Span = tuple[int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class PromptWindows:
    """A tokenized prompt.

    Attributes:
        ids_S: [S] int32 token ids with the end token, padded to S.
        length: tokens before the padding, the end token included.
        global_span: tokens of the global caption, (first, end exclusive); None for a text without shots.
        shot_spans: tokens of every shot.
    """

    ids_S: np.ndarray
    length: int
    global_span: Span | None
    shot_spans: tuple[Span, ...]

    @property
    def real_S(self) -> np.ndarray:
        """True at real tokens."""
        return np.arange(len(self.ids_S)) < self.length


def clean_prompt(text: str) -> str:
    """Text with its encoding mistakes and HTML entities resolved and single spaces (HoloCine wan_prompter.py)."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip()


def tokenize_screenplay(screenplay: Screenplay, tokenizer: Tokenizer, length: int = 512) -> PromptWindows:
    """The screenplay's HoloCine prompt, tokenized; raises as `tokenize_prompt`."""
    return tokenize_prompt(to_text(screenplay, "holocine"), tokenizer, length, shots=len(screenplay.shots))


def tokenize_prompt(text: str, tokenizer: Tokenizer, length: int = 512, shots: int = 0) -> PromptWindows:
    """Token ids and windows of a HoloCine prompt with captions of `shots` shots; with 0, of a text without markers.

    The text is cleaned and then searched for markers: spans and tokens count the same characters. Raises ValueError
    when the prompt has more than `length` tokens (it is never cut), has not the markers of that many shots, or when a
    shot has no caption.
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
    """[K, S] bool with S = `length`: True where the video tokens of shot k may look at text token s.

    Every shot sees the global caption, its own caption and the padding (zeros after the encoder, the same for all
    shots). "holocine" reads the ends of the spans as inclusive, as the original does and was trained with: a shot also
    sees the first token after each of its windows, so every shot sees the token that opens the first shot's window, a
    shot the one that opens the next shot's, and the last shot the end token; a span (s, s) is a window of one token.
    "clean" takes the ends as they are: no shot sees another's tokens, and the end token is seen by none. (HoloCine
    wan_video_holocine.py.)
    Raises ValueError for windows that are empty, out of order or longer than the text, and for another style.
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

    def within(span):
        return (place_S >= span[0]) & (place_S < span[1] + more)

    common_S = within(global_span) | (place_S > edges[-1])
    return np.stack([common_S | within(span) for span in shot_spans])


def collate_prompts(config: ControllerConfig, prompts: Sequence[PromptWindows], rows: int) -> dict[str, np.ndarray]:
    """{ids_BS int32, real_BS bool (not padding), window_BKS bool}, with `rows` windows K each.

    A prompt without shots has the same window in all rows, all of its text. Raises ValueError for more shots than rows.
    """
    longest = max(prompt.length for prompt in prompts)
    length = config.text_length
    if not config.see_padding:
        length = min(length, -(-longest // TEXT_BUCKET) * TEXT_BUCKET)
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
    """(first, end) characters of the global caption and of every shot; they cover a prompt with shots whole."""
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
    edges = [0, start, *cuts, len(text)]
    spans = list(zip(edges[:-1], edges[1:], strict=True))
    for number, (first, end) in enumerate(spans[1:], 1):
        if not text[first:end].removeprefix(PER_SHOT).removesuffix(CUT).strip():
            raise ValueError(f"shot {number} of the prompt has no caption; say what the camera shows")
    return spans


def _token_spans(offsets: list[Span], spans: list[Span]) -> list[Span]:
    """Tokens of every span of characters; a token belongs to the first span that it overlaps."""
    members: list[list[int]] = [[] for _ in spans]
    for token, (first, end) in enumerate(offsets):
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
