"""Captions of clips: by a Qwen3-VL network, `captioner_small` or a published one, or by a model behind an endpoint.

Both have one interface, which judges call: `captions(clips, samples, temperature, seed)` returns a list of captions for
every clip. A clip is uint8 [T, H, W, 3].
"""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from shotverse_jax import weights
from shotverse_jax.config import CAPTION_PROMPT
from shotverse_jax.endpoint import Ask, endpoint, is_address
from shotverse_jax.infer.decode import GREEDY, Sampling
from shotverse_jax.infer.execution import choose
from shotverse_jax.infer.generate import Writer
from shotverse_jax.inputs import chat

CAPTIONER = "captioner_small"
"""The captioner that ships."""

CLIP_FPS = 8.0
"""Frames per second of a clip that does not say its rate."""

LIMIT = 160
"""Tokens of a caption at most."""

PICTURES = 8
"""Frames of a clip that an endpoint is shown."""


class Captions(Protocol):
    """What writes captions."""

    def captions(
        self,
        clips: Sequence[np.ndarray],
        samples: int = 1,
        temperature: float = 0.7,
        seed: int = 0,
        fps: float = CLIP_FPS,
    ) -> list[list[str]]:
        """Returns `samples` captions of every clip.

        Args:
            clips: uint8 [T, H, W, 3] each.
            samples: captions of each clip. The first ones do not depend on how many follow, nor on the other clips.
            temperature: 0 takes the likeliest words, and then all samples are the same.
            seed: another seed, other captions.
            fps: frames per second of the clips.

        Raises:
            ValueError: a clip of another form, or no answer.
        """


def load_captioner(name: str, model: str = "", prompt: str | None = None) -> "Captioner | EndpointCaptioner":
    """Returns a captioner: a network by its name or folder, or with an address the model of that name behind it.

    Raises:
        ValueError: there is no such network, or an address without a model.
    """
    if not is_address(name):
        return Captioner.load(name, prompt)
    if not model:
        raise ValueError("the captioner is an endpoint; name its model too")
    return EndpointCaptioner.connect(name, model, prompt)


@dataclasses.dataclass(frozen=True, eq=False)
class Captioner:
    """A captioner that is ready; `load` makes one.

    Attributes:
        writer: the network.
        prompt: what it is asked about each clip.
        top_p: the nucleus that words are drawn from.
    """

    writer: Writer
    prompt: str
    top_p: float = 0.9

    @classmethod
    def load(
        cls, name_or_folder: str | Path = CAPTIONER, prompt: str | None = None, batch: int = 8, **place: Any
    ) -> "Captioner":
        """Returns a captioner by its folder or name: one that ships, a run's export, or what `shotverse get` fetched.

        Args:
            name_or_folder: for example "captioner_small" or "qwen3-vl-2b".
            prompt: what is asked; None takes the network's own (`Qwen3VLConfig.prompt`).
            batch: clips that are read together.
            place: mesh, dtype and attention (`infer.execution.choose`).

        Raises:
            ValueError: there is no such network, or it cannot run that way.
        """
        execution, mesh = choose(**place)
        config, params, tokenizer = weights.load("qwen3_vl", name_or_folder, mesh=mesh, dtype=execution.dtype)
        writer = Writer.of(params, chat.Chat(tokenizer, config), execution, batch)
        return cls(writer, config.prompt if prompt is None else prompt)

    def captions(
        self,
        clips: Sequence[np.ndarray],
        samples: int = 1,
        temperature: float = 0.7,
        seed: int = 0,
        fps: float = CLIP_FPS,
    ) -> list[list[str]]:
        """Returns `samples` captions of every clip, as `Captions.captions`."""
        talk = self.writer.chat
        questions = [talk.ask(chat.video(_checked(clip), talk.config, fps), self.prompt) for clip in clips]
        sampling = Sampling(temperature, top_p=self.top_p) if temperature else GREEDY
        copies = samples if temperature else 1
        found = self.writer.answers(questions, copies=copies, limit=LIMIT, sampling=sampling, seed=seed)
        return [texts * (samples // copies) for texts in found]

    def answer(self, clips: Sequence[tuple[str, np.ndarray]], question: str, fps: float = CLIP_FPS) -> str:
        """Returns the likeliest answer to a question about clips, each with a name; arguments as `captions`."""
        talk = self.writer.chat
        named = [part for name, clip in clips for part in (name, chat.video(_checked(clip), talk.config, fps))]
        [[text]] = self.writer.answers([talk.ask(*named, question)], limit=LIMIT)
        return text


@dataclasses.dataclass(frozen=True)
class EndpointCaptioner:
    """A model behind an endpoint, which sees a few frames of every clip; `connect` makes one.

    Attributes:
        ask: the model.
        prompt: what it is asked, after how many frames it sees.
        pictures: frames of a clip that it is shown, evenly spaced.
    """

    ask: Ask
    prompt: str = CAPTION_PROMPT
    pictures: int = PICTURES

    @classmethod
    def connect(cls, url: str, model: str, prompt: str | None = None, **options: Any) -> "EndpointCaptioner":
        """Returns a captioner over an OpenAI-compatible server.

        url, model, options: as `endpoint.endpoint` takes them. prompt: None takes the usual one.
        """
        return cls(endpoint(url, model, **options), CAPTION_PROMPT if prompt is None else prompt)

    def captions(
        self,
        clips: Sequence[np.ndarray],
        samples: int = 1,
        temperature: float = 0.7,
        seed: int = 0,
        fps: float = CLIP_FPS,
    ) -> list[list[str]]:
        """Returns `samples` captions of every clip, as `Captions.captions`; each is one request."""
        return [
            [self._caption(clip, temperature, seed + sample, fps) for sample in range(samples)]
            for clip in map(_checked, clips)
        ]

    def answer(self, clips: Sequence[tuple[str, np.ndarray]], question: str, fps: float = CLIP_FPS) -> str:
        """Returns the likeliest answer to a question about clips, each with a name; arguments as `captions`."""
        said, pictures = [], []
        for name, clip in clips:
            shown = self._shown(_checked(clip))
            said.append(f"{name} pictures {len(pictures) + 1} to {len(pictures) + len(shown)}")
            pictures += [_png(clip[frame]) for frame in shown]
        return self.ask(f"{'; '.join(said)}. {question}", pictures, temperature=0.0)

    def _shown(self, clip_THWC: np.ndarray) -> np.ndarray:
        """The numbers of the frames of a clip that the model sees."""
        return np.linspace(0, len(clip_THWC) - 1, min(self.pictures, len(clip_THWC))).round().astype(int)

    def _caption(self, clip_THWC: np.ndarray, temperature: float, seed: int, fps: float) -> str:
        at = self._shown(clip_THWC)
        times = ", ".join(f"{frame / fps:.1f}" for frame in at)
        prompt = f"These are {len(at)} frames of one shot, in order, at {times} seconds. {self.prompt}"
        pictures = [_png(clip_THWC[frame]) for frame in at]
        answer = " ".join(self.ask(prompt, pictures, temperature=temperature, seed=seed).split())
        if not any(letter.isalpha() for letter in answer):
            raise ValueError(f"the model gave no caption, but {answer[:80]!r}")
        return answer


def _checked(clip: np.ndarray) -> np.ndarray:
    clip = np.asarray(clip)
    if clip.ndim != 4 or clip.shape[-1] != 3 or clip.dtype != np.uint8 or not clip.size:
        raise ValueError(f"a clip is uint8 [frames, height, width, 3], got {clip.dtype} {list(clip.shape)}")
    return clip


def _png(frame_HWC: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(frame_HWC).save(data, "PNG")
    return data.getvalue()
