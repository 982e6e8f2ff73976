"""Questions with pictures for Qwen3-VL, as its chat template and its processor write them, in token ids.

Source: transformers' Qwen3VLProcessor and Qwen3VLVideoProcessor, and the chat template of the instruct models: a turn
is `<|im_start|>user`, its parts and `<|im_end|>`; an image is a run of `<|image_pad|>` between `<|vision_start|>` and
`<|vision_end|>`; a video is such a run of `<|video_pad|>` for each pair of frames, after the time of the pair.

Axes: T frames; N patches; P values of a patch.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from shotverse_jax.config import Qwen3VLConfig
from shotverse_jax.inputs.qwen3_vl import Grid, prepare_image, prepare_video

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
)  # fmt: skip
"""Tokens that the chat needs, in the order of their ids in a tokenizer that is learned here."""

USUAL_FPS = 24.0
"""Frames per second of a video that does not say its rate, as transformers assumes."""


class Picture(NamedTuple):
    """An image or a video, prepared.

    Attributes:
        rows_NP: float32 patches, as `inputs.qwen3_vl.pack` takes them.
        grid: its size in patches.
        times: seconds of every pair of frames; None for an image.
    """

    rows_NP: np.ndarray
    grid: Grid
    times: tuple[float, ...] | None = None


class Question(NamedTuple):
    """One prompt: token ids, with the pictures that its runs of image and video tokens stand for."""

    ids: tuple[int, ...]
    pictures: tuple[Picture, ...] = ()


def image(image_HWC: np.ndarray, config: Qwen3VLConfig) -> Picture:
    """Prepares one uint8 RGB image. Raises ValueError for an array of another form."""
    return Picture(*prepare_image(image_HWC, config.vision, config.image_pixels))


def video(frames_THWC: np.ndarray, config: Qwen3VLConfig, fps: float = USUAL_FPS) -> Picture:
    """Prepares a video: takes frames at the rate of the config, resizes them and cuts them into patches.

    Args:
        frames_THWC: uint8 RGB, all frames.
        config: the network, which says how many frames and pixels it takes.
        fps: frames of the video per second.

    Raises:
        ValueError: an array of another form.
    """
    taken = frames_to_take(len(frames_THWC), fps, config)
    rows_NP, grid = prepare_video(np.asarray(frames_THWC)[taken], config.vision, config.video_pixels)
    return Picture(rows_NP, grid, pair_times(taken / fps, config))


def frames_to_take(count: int, fps: float, config: Qwen3VLConfig) -> np.ndarray:
    """Returns the numbers of the frames that are taken of a video of `count` frames, evenly spaced."""
    least, most = config.frames
    wanted = min(max(int(count / fps * config.fps), least), most, count)
    return np.linspace(0, count - 1, wanted).round().astype(int)


def pair_times(seconds: Sequence[float], config: Qwen3VLConfig) -> tuple[float, ...]:
    """Returns the time of every pair of frames, the mean of the two; an odd last frame is its own pair."""
    size, seconds = config.vision.temporal_patch_size, list(map(float, seconds))
    seconds += seconds[-1:] * (-len(seconds) % size)
    return tuple((seconds[i] + seconds[i + size - 1]) / 2 for i in range(0, len(seconds), size))


@dataclasses.dataclass(frozen=True)
class Chat:
    """Writes questions with a tokenizer, Qwen's or one that was learned with `SPECIAL_TOKENS`.

    Raises:
        ValueError: the tokenizer lacks a token of the chat, or gives the tokens of pictures other ids than the config.
    """

    tokenizer: Tokenizer
    config: Qwen3VLConfig

    def __post_init__(self):
        if missing := [token for token in SPECIAL_TOKENS if self.tokenizer.token_to_id(token) is None]:
            raise ValueError(f"the tokenizer lacks {', '.join(missing)}; give the tokenizer.json of a Qwen3-VL model")
        for token, wanted in (("<|image_pad|>", self.config.image_token), ("<|video_pad|>", self.config.video_token)):
            if self.special(token) != wanted:
                raise ValueError(f"the tokenizer's id of {token} is {self.special(token)}, the network's is {wanted}")

    def special(self, token: str) -> int:
        """Returns the id of a special token."""
        return self.tokenizer.token_to_id(token)

    @property
    def pad(self) -> int:
        """The token that fills texts up."""
        return self.special("<|endoftext|>")

    @property
    def stop(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        return self.special("<|im_end|>"), self.pad

    def ask(self, *parts: str | Picture, system: str = "") -> Question:
        """Returns the question of one turn, up to where the answer begins.

        parts: texts and pictures, in order. What looks like a special token in a text is plain text. system: the
        system's text, none by default, as in the instruct models' template.
        """
        pieces: list[str | int] = []
        if system:
            pieces += [self.special("<|im_start|>"), f"system\n{system}", self.special("<|im_end|>"), "\n"]
        pieces += [self.special("<|im_start|>"), "user\n"]
        for part in parts:
            pieces += [part] if isinstance(part, str) else self._places(part)
        pieces += [self.special("<|im_end|>"), "\n", self.special("<|im_start|>"), "assistant\n"]
        return Question(tuple(self._ids(pieces)), tuple(part for part in parts if not isinstance(part, str)))

    def answer(self, text: str) -> list[int]:
        """Returns the ids of an answer with the token that ends it."""
        return [*self._ids([text]), self.special("<|im_end|>")]

    def text(self, ids: Sequence[int]) -> str:
        """Returns the words of an answer, up to its first token that ends it."""
        ids = [int(token) for token in ids]
        ends = [place for place, token in enumerate(ids) if token in self.stop]
        return self.tokenizer.decode(ids[: ends[0] if ends else len(ids)]).strip()

    def _places(self, picture: Picture) -> list[str | int]:
        """The pieces that stand for a picture."""
        frames, height, width = picture.grid
        token = self.config.image_token if picture.times is None else self.config.video_token
        places = [token] * (height * width // self.config.vision.merged_patches)
        run = [self.special("<|vision_start|>"), *places, self.special("<|vision_end|>")]
        if picture.times is None:
            return run * frames
        return [piece for time in picture.times for piece in (f"<{time:.1f} seconds>", *run)]

    def _ids(self, pieces: Sequence[str | int]) -> list[int]:
        """The ids of pieces, of which neighbouring texts are one text for the tokenizer."""
        ids, text = [], ""
        for piece in [*pieces, None]:
            if isinstance(piece, str):
                text += piece
                continue
            if text:
                ids += self.tokenizer.encode(text, add_special_tokens=False).ids
                text = ""
            if piece is not None:
                ids.append(piece)
        return ids
