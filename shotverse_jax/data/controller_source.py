"""Training batches of the controller, from encoded films."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from einops import reduce

from shotverse_jax.config import ControllerConfig
from shotverse_jax.data.fields import check_record
from shotverse_jax.data.records import NEGATIVE, Records, naming, shuffled, unpack
from shotverse_jax.data.steps import StepSource
from shotverse_jax.files import reading
from shotverse_jax.inputs.cameras import record_rows
from shotverse_jax.inputs.prompt import PromptWindows, collate_prompts, tokenize_prompt
from shotverse_jax.inputs.tokenizer import load_text_tokenizer


@dataclasses.dataclass(frozen=True)
class ControllerSource(StepSource):
    """Random access over steps: `source[step]` → (None, this host's slice of the global batch).

    Every film comes once per epoch, in an order that depends on (seed, epoch) alone.

    Attributes:
        config: the controller that is trained.
        folder: records of `launch/encode.py` with latents, pose_T34, shot_T and the prompt.
        tokenizer_file: path of the text encoder's tokenizer.json; not read with `states`.
        seed: seed of the order and of the dropped prompts.
        global_batch: films per step, over all hosts.
        num_steps: steps of the run.
        text_dropout: share of the films whose prompt is replaced by `config.negative`, for guidance; default 0.
        rows: windows per prompt, the most shots a film may have; default 4.
        host, num_hosts: this process and the number of processes; default 0 of 1.
        states: True to put the recorded text states (`launch/encode.py --text`), context_BSD float16, into batches in
            the place of ids_BS. Default False.
        subjects: True to add subject_BTHW float32, the share of each latent that shows a subject. Default False.

    Raises:
        ValueError: the batch does not divide over the hosts. On access: the films of a batch have several shapes, a
            film has no stage although the controller needs one, a film has no mask of its subjects although `subjects`
            asks for it, or a prompt is too long.
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
        text = ("text_SD", "spans") if self.states else ("prompt",)
        return Records(self.folder, ("latents", "pose_T34", "shot_T", *text))

    @functools.cached_property
    def _negative(self) -> dict:
        if not self.states:
            return {"prompt": self.config.negative}
        path = Path(self.folder) / NEGATIVE
        with reading(path, "the text states of the negative prompt"):
            record = unpack(path.read_bytes())
            check_record(record, ("text_SD", "spans"))
        return record

    def __getitem__(self, step: int) -> tuple[None, dict[str, np.ndarray]]:
        with naming(self.folder):
            return None, self._batch(step)

    def _batch(self, step: int) -> dict[str, np.ndarray]:
        films = [self._film(i) for i in self.samples(step)]
        if len(shapes := {film["latents"].shape for film, _ in films}) > 1:
            raise ValueError(f"{self.folder} has films of several shapes, {sorted(shapes)}; a batch needs one")
        batch = {
            "latents_BTHWC": np.stack([film["latents"] for film, _ in films]),
            "shot_BT": np.stack([film["shot_T"] for film, _ in films]),
            "camera_BTP": np.stack([record_rows(self.config, film) for film, _ in films]),
            **collate_prompts(self.config, [self._windows(text) for _, text in films], self.rows),
        }
        if self.subjects:
            batch["subject_BTHW"] = np.stack([_share(film) for film, _ in films])
        if self.states:
            # The states take the place of the ids and keep their padded length, for which the windows were made.
            length = batch.pop("ids_BS").shape[1]
            states = [text["text_SD"] for _, text in films]
            batch["context_BSD"] = np.stack([np.pad(s_SD, ((0, length - len(s_SD)), (0, 0))) for s_SD in states])
        return batch

    def _film(self, index: int) -> tuple[dict, dict]:
        """A film's record, and the record that provides its text: the same one, or that of the negative prompt."""
        film = self._records[shuffled(index, len(self._records), self.seed)]
        if self.subjects and "subject_THW" not in film:
            raise ValueError(
                f"{self.folder} does not say where its subjects are; train with subject_weight=1, or, if its films are "
                "the stage's, encode them again"
            )
        # The draw depends on the sample's number alone: it is the same on any number of hosts and after a restart.
        dropped = np.random.default_rng((self.seed, index)).random() < self.text_dropout
        return film, self._negative if dropped else film

    def _windows(self, text: dict) -> PromptWindows:
        length = self.config.text_length
        if not self.states:
            # The negative prompt has no shots and no markers.
            shots = int(text["shot_T"][-1]) + 1 if "shot_T" in text else 0
            return tokenize_prompt(text["prompt"], self._tokenizer, length, shots)
        if len(text["text_SD"]) > length:
            raise ValueError(f"recorded text states of {len(text['text_SD'])} tokens; this controller reads {length}")
        spans = [tuple(span) for span in text["spans"].tolist()]
        blank_S = np.zeros(length, np.int32)  # the ids are in the states
        return PromptWindows(blank_S, len(text["text_SD"]), spans[0] if spans else None, tuple(spans[1:]))


def _share(film: dict) -> np.ndarray:
    """[T', H', W'] float32, for each latent of a film the share of its pixels that show a subject."""
    _, height, width, _ = film["latents"].shape
    if any(large % small for large, small in zip(film["subject_THW"].shape[1:], (height, width), strict=True)):
        raise ValueError(f"a mask of {film['subject_THW'].shape[1:]} pixels has no whole number for each latent")
    mask_THW = film["subject_THW"].astype(np.float32)
    return reduce(mask_THW, "t (h y) (w x) -> t h w", "mean", h=height, w=width)
