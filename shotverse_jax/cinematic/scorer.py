"""How well a clip fits a text, by a CameraCLIP.

    scorer = CameraScorer.load("clip_small")
    cosine_BN = scorer.scores([clip_THWC], ["the camera pans left", "zoom in"])

Inside a compiled program, such as a sampler that is guided by it, `score` is called with the parameters as an argument:

    text_NJ = scorer.text_features(["the camera pans left", "zoom in"])       # once, before
    cosine_BN = scorer.score(params, frames_BTHWC, text_NJ)                   # traced; has a gradient in the frames
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from shotverse_jax import weights
from shotverse_jax.cinematic.phrases import CLASSES, GROUPS
from shotverse_jax.config import CameraCLIPConfig, Execution
from shotverse_jax.files import read_json
from shotverse_jax.inputs.camera_clip import prepare, spread
from shotverse_jax.inputs.clip import tokenize
from shotverse_jax.models.camera_clip import CameraCLIP
from shotverse_jax.views.video import probe_video, read_video

SMALL = "clip_small"
"""The network that is taken unless another is named."""
TALLEST = 720
"""Lines that frames of a file are reduced to."""
SCORES = "scores.json"
"""File of a CameraCLIP's folder with what `shotverse eval camera-clip --json` printed of it."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TextScore:
    """The scores of some texts, as a tree of arrays that can be called: `cinematic.guidance.Score`.

    Programs are compiled for the network; other parameters, and as many other texts, compile nothing.

    Attributes:
        params, text_NJ: of the network, and the vectors of the texts.
        network: the module.
    """

    params: Mapping[str, Any]
    text_NJ: jax.Array
    network: CameraCLIP = dataclasses.field(metadata={"static": True})

    def __call__(self, frames_BTHWC: jax.Array) -> jax.Array:
        """The cosines [B, N] of clips, as `CameraScorer.score` takes them, with the texts."""
        return _score(self.network, self.params, self.text_NJ, frames_BTHWC)


@dataclasses.dataclass(frozen=True, eq=False)
class CameraScorer:
    """A CameraCLIP that is ready to read clips and texts.

    Attributes:
        config, params: the network.
        tokenizer: that of its text tower.
        execution: how it runs.
    """

    config: CameraCLIPConfig
    params: Mapping[str, Any]
    tokenizer: Tokenizer
    execution: Execution = Execution()

    @classmethod
    def load(cls, model: str | Path = SMALL, execution: Execution | None = None) -> "CameraScorer":
        """Loads a network by its name or folder: a run's export, or what `shotverse convert --as clip` wrote.

        execution: how it runs; None (default) as usual.

        Raises:
            ValueError: there is no such network, or it is broken.
        """
        return cls(*weights.load("camera_clip", model), execution or Execution())

    def text_features(self, texts: Sequence[str]) -> jax.Array:
        """Returns the vectors of texts, [N, J] float32 of length 1.

        Raises:
            ValueError: there is no text, or an empty one.
        """
        if not texts or not all(text.strip() for text in texts):
            raise ValueError("give one text or more, none of them empty")
        ids_NT, real_NT = tokenize(self.tokenizer, texts, self.config.text.max_positions)
        return _read_texts(self._network, self.params, ids_NT, real_NT)

    def video_features(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the vectors of clips, [B, J] float32 of length 1.

        clips: uint8 [T, H, W, 3] each, of any length and size; `config.frames` frames of each are read.

        Raises:
            ValueError: there is no clip, or one of another form.
        """
        if not clips:
            raise ValueError("give one clip or more")
        return np.concatenate([_read_clips(self._network, self.params, self._taken(clip)) for clip in clips])

    def score(self, params: Mapping[str, Any], frames_BTHWC: jax.Array, text_features: jax.Array) -> jax.Array:
        """Returns the cosines [B, N] of clips and texts; a pure function that can be compiled and differentiated.

        Args:
            params: the network's, `scorer.params`. As an argument of the compiled program they are not constants in it.
            frames_BTHWC: all T frames are read, so give `config.frames` that are spread evenly over the clip
                (`inputs.camera_clip.spread`). Any size; values between 0 and 1, or uint8.
            text_features: [N, J], as `text_features` returns them.
        """
        return _score(self._network, params, text_features, frames_BTHWC)

    def of(self, texts: Sequence[str]) -> TextScore:
        """Returns the scores of some texts as a tree of arrays; `Compose(scorer=scorer.of)` takes it.

        Raises:
            ValueError: as `text_features`.
        """
        return TextScore(self.params, self.text_features(texts), self._network)

    @functools.cached_property
    def class_CJ(self) -> dict[str, np.ndarray]:
        """The vector of every class, of `class_vectors`."""
        return class_vectors(self)

    def nearest(self, video_J: np.ndarray) -> dict[str, str]:
        """Returns the class that a clip is nearest to, of each group.

        video_J: its vector, of `video_features`.
        """
        return {
            group: max(
                (name for name in CLASSES if CLASSES[name].group == group),
                key=lambda n: float(video_J @ self.class_CJ[n]),
            )
            for group in GROUPS
        }

    def scores(self, clips: Sequence[np.ndarray], texts: Sequence[str]) -> np.ndarray:
        """Returns the cosines [B, N] of clips and texts; clips as those of `video_features`."""
        return self.video_features(clips) @ np.asarray(self.text_features(texts)).T

    def read(self, path: str | Path) -> np.ndarray:
        """Returns the frames of a video file that are read, uint8 [T, H, W, 3].

        Raises:
            ValueError: the file does not exist or has no video.
        """
        info = probe_video(path)
        height = min(info.height, TALLEST)
        return read_video(
            path, spread(info.frames, self.config.frames), max(1, round(info.width * height / info.height)), height
        )

    @functools.cached_property
    def _network(self) -> CameraCLIP:
        return CameraCLIP(self.config, self.execution)

    def _taken(self, clip_THWC: np.ndarray) -> np.ndarray:
        clip_THWC = np.asarray(clip_THWC)
        if clip_THWC.ndim != 4 or clip_THWC.shape[-1] != 3 or clip_THWC.dtype != np.uint8 or not clip_THWC.size:
            raise ValueError(
                f"a clip is uint8 [frames, height, width, 3], got {clip_THWC.dtype} {list(clip_THWC.shape)}"
            )
        return clip_THWC[None, spread(len(clip_THWC), self.config.frames)]


def class_vectors(scorer: Any) -> dict[str, np.ndarray]:
    """Returns the vector of every class of `CLASSES`: the mean of those of its phrases, of length 1.

    scorer: has `text_features`, as a `CameraScorer` does.
    """
    means = {name: np.asarray(scorer.text_features(each.phrases)).mean(0) for name, each in CLASSES.items()}
    return {name: x / np.linalg.norm(x) for name, x in means.items()}


def means_of(folder: Path) -> dict[str, float]:
    """Returns the mean cosine of clips of each class with its first phrase, as it is kept with a CameraCLIP.

    folder: of the network. Without a file `SCORES` there is none: {}.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / SCORES
    found = read_json(path) if path.is_file() else {}
    means = {name.removeprefix("cosine/"): found[name] for name in found if name.startswith("cosine/")}
    if not all(isinstance(mean, float) and -1 <= mean <= 1 for mean in means.values()):
        raise ValueError(f"{path} is damaged: a cosine is a number from -1 to 1")
    return means


def _score(network: CameraCLIP, params: Mapping[str, Any], text_NJ: jax.Array, frames_BTHWC: jax.Array) -> jax.Array:
    return _read_clips(network, params, frames_BTHWC) @ text_NJ.T


@functools.partial(jax.jit, static_argnums=0)
def _read_clips(network: CameraCLIP, params: Mapping[str, Any], frames_BTHWC: jax.Array) -> jax.Array:
    prepared = prepare(network.config, jnp.asarray(frames_BTHWC))
    return network.apply({"params": params}, prepared, method="encode_video").video_BJ


@functools.partial(jax.jit, static_argnums=0)
def _read_texts(network: CameraCLIP, params: Mapping[str, Any], ids_NT: jax.Array, real_NT: jax.Array) -> jax.Array:
    return network.apply({"params": params}, ids_NT, real_NT, method="encode_text")
