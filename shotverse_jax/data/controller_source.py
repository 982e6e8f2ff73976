"""Training batches of the controller from encoded films; and a prompt and a camera path as its networks take them."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from einops import reduce

from shotverse_jax.camera import se3
from shotverse_jax.config import ControllerConfig
from shotverse_jax.data.bpe import load_text_tokenizer
from shotverse_jax.data.prompt import PromptWindows, tokenize_prompt, window_mask
from shotverse_jax.data.records import NEGATIVE, Records, shuffled, unpack
from shotverse_jax.data.steps import StepSource

TEXT_BUCKET = 64
"""Where padding is not attended to, text is padded to multiples of this only."""


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
        windows.append(window_KS if config.see_padding else window_KS & prompt.mask_S[:length])
    return {
        "ids_BS": np.stack([prompt.ids_S[:length] for prompt in prompts]),
        "real_BS": np.stack([prompt.mask_S[:length] for prompt in prompts]),
        "window_BKS": np.stack(windows),
    }


def camera_rows(config: ControllerConfig, pose_T34: np.ndarray) -> np.ndarray:
    """[T, 12] float32 for the camera encoder: 3x4 camera-to-world matrices, row by row, in `config.camera_frame`.

    pose_T34: poses of the latent frames (pixel frames 0, 4, 8, …) of all shots, OpenCV axes; of "stage" in the stage's
    frame and metres, of "scene" in any world (ShotVerse §3.1: the first camera is made the world, and the largest
    distance from it the unit).
    """
    pose_T34 = np.asarray(pose_T34, np.float64)
    if config.camera_frame == "scene":
        pose_T34 = se3.compose(se3.inverse(pose_T34[0]), pose_T34)
        pose_T34[..., 3] /= np.linalg.norm(pose_T34[..., 3], axis=-1).max() + 1e-5
    return pose_T34.reshape(-1, 12).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class ControllerSource(StepSource):
    """Random access over steps: `source[step]` → (None, this host's slice of the global batch).

    Films come in an order that depends on (seed, epoch) alone, each once per epoch. With `text_dropout` a film's prompt
    is replaced by `config.negative` that often, as guidance needs it.

    Attributes:
        folder: records of `launch/encode.py` with latents, pose_T34, shot_T and the prompt.
        rows: windows per prompt; the most shots a film may have.
        states: batches have the text states that were recorded (`--text`), context_BSD float16, in place of ids_BS;
            no tokenizer is needed.
        subjects: batches have subject_BTHW float32, the share of each latent that shows a subject.

    Raises:
        ValueError: a batch that does not divide over the hosts; on access, films of several shapes, without a stage
            where the camera is told on it or without masks of their subjects where these are asked for, and a prompt
            that does not fit.
    """

    config: ControllerConfig
    folder: str
    tokenizer_file: str
    seed: int
    global_batch: int
    num_steps: int
    text_dropout: float = 0.0
    rows: int = 4
    host: int = 0
    num_hosts: int = 1
    states: bool = False
    subjects: bool = False

    @functools.cached_property
    def _tokenizer(self):
        return load_text_tokenizer(self.tokenizer_file)

    @functools.cached_property
    def _records(self):
        return Records(self.folder)

    @functools.cached_property
    def _negative(self) -> dict:
        if not self.states:
            return {"prompt": self.config.negative}
        return unpack((Path(self.folder) / NEGATIVE).read_bytes())

    def __getitem__(self, step: int) -> tuple[None, dict[str, np.ndarray]]:
        films = [self._film(i) for i in self.samples(step)]
        if len(shapes := {film["latents"].shape for film, _ in films}) > 1:
            raise ValueError(f"{self.folder} has films of several shapes, {sorted(shapes)}; a batch needs one")
        batch = {
            "latents_BTHWC": np.stack([film["latents"] for film, _ in films]),
            "shot_BT": np.stack([film["shot_T"] for film, _ in films]),
            "camera_BTP": np.stack([camera_rows(self.config, film["pose_T34"]) for film, _ in films]),
            **collate_prompts(self.config, [self._windows(text) for _, text in films], self.rows),
        }
        if self.subjects:
            batch["subject_BTHW"] = np.stack([_share(film) for film, _ in films])
        if self.states:
            length = batch.pop("ids_BS").shape[1]
            states = [text["text_SD"] for _, text in films]
            batch["context_BSD"] = np.stack([np.pad(s_SD, ((0, length - len(s_SD)), (0, 0))) for s_SD in states])
        return None, batch

    def _film(self, index: int) -> tuple[dict, dict]:
        """A film's record, and the record that its text is taken from: itself, or the negative prompt's."""
        film = self._records[shuffled(index, len(self._records), self.seed)]
        if self.config.camera_frame == "stage" and film.get("world", "stage") != "stage":
            raise ValueError(
                f"{film['name']}: this controller is told where the camera is on the stage, and the path has no stage; "
                'train with model.camera_frame="scene"'
            )
        if self.subjects and "subject_THW" not in film:
            raise ValueError(
                f"{self.folder} does not say where its subjects are; train with subject_weight=1, or, if its films are "
                "the stage's, encode them again"
            )
        dropped = np.random.default_rng((self.seed, index)).random() < self.text_dropout
        return film, self._negative if dropped else film

    def _windows(self, text: dict) -> PromptWindows:
        length = self.config.text_length
        if not self.states:
            shots = int(text["shot_T"][-1]) + 1 if "shot_T" in text else 0
            return tokenize_prompt(text["prompt"], self._tokenizer, length, shots)
        if len(text["text_SD"]) > length:
            raise ValueError(f"recorded text states of {len(text['text_SD'])} tokens; this controller reads {length}")
        spans = [tuple(span) for span in text["spans"].tolist()]
        blank_S = np.zeros(length, np.int32)  # the ids are in the states
        return PromptWindows(blank_S, len(text["text_SD"]), spans[0] if spans else None, tuple(spans[1:]))


def _share(film: dict) -> np.ndarray:
    """[T', H', W'] float32: the share of the pixels of each latent of a film that show a subject."""
    _, height, width, _ = film["latents"].shape
    mask_THW = film["subject_THW"].astype(np.float32)
    return reduce(mask_THW, "t (h y) (w x) -> t h w", "mean", h=height, w=width)
