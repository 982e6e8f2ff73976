"""Latents of trajectories and of captions by CLaTr, for the metrics `clatr_score`, `frechet`, `prdc` and `retrieval`.

Sources: GenDoP evaluate/CLaTr (trajectory_dataset.py, clip_extraction.py, caption_dataset.py).
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from shotverse_jax import weights
from shotverse_jax.config import CLaTrConfig, CLIPTextConfig
from shotverse_jax.inputs.clatr import TEXT_TOWER, from_items, shot_features, to_items
from shotverse_jax.inputs.clip import tokenize
from shotverse_jax.models.clatr import CLaTr
from shotverse_jax.models.clip import CLIPText
from shotverse_jax.weights.folder import digest

SMALL = "clatr_small"
"""The network that ships."""
_BATCH = 32

Params = Mapping[str, Any]


class Gaussians(NamedTuple):
    """The distributions of N samples in the latent space: means and log-variances, each [N, D] float32."""

    mu_ND: np.ndarray
    logvar_ND: np.ndarray

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Returns one random latent [N, D] of each, as GenDoP's numbers use them."""
        noise_ND = rng.standard_normal(self.mu_ND.shape)
        return (self.mu_ND + noise_ND * np.exp(0.5 * self.logvar_ND)).astype(np.float32)


class CaptionLatents(NamedTuple):
    """What CLaTr makes of N captions.

    Attributes:
        latents: their distributions.
        end_ND: [N, C] the text tower's states at the end tokens, which tell captions that mean the same.
    """

    latents: Gaussians
    end_ND: np.ndarray


@dataclasses.dataclass(frozen=True)
class CLaTrReader:
    """A CLaTr with its text tower, ready to read.

    Attributes:
        name: the name or the folder it was loaded by.
        config, params: the network.
        tower: config, weights and tokenizer of the text tower that it was trained with; None reads no captions.
        digest: tells it from others of its name; "" for one that was not loaded from folders.

    Raises:
        ValueError: the tower's states are not as wide as the texts that the network reads.
    """

    name: str
    config: CLaTrConfig
    params: Params
    tower: tuple[CLIPTextConfig, Params, Tokenizer] | None = None
    digest: str = ""

    def __post_init__(self):
        if self.tower and self.tower[0].hidden_size != self.config.text_size:
            raise ValueError(
                f"CLaTr reads texts of {self.config.text_size} numbers a token, and this tower makes "
                f"{self.tower[0].hidden_size}; give the tower that it was trained with (the published ones: OpenAI's "
                "ViT-B/32)"
            )

    @classmethod
    def load(cls, model: str | Path = SMALL, tower: str | Path | None = None) -> "CLaTrReader":
        """Loads a network by its name or folder.

        Args:
            model: the network; default the one that ships.
            tower: its text tower, by folder; None (default) takes the folder `text` below that of the network, where
                there is one.

        Raises:
            ValueError: a network or tower that is not there or is broken, or a tower of another width.
        """
        folder = weights.find("clatr", model)
        if tower is None and (folder / TEXT_TOWER).is_dir():
            tower = folder / TEXT_TOWER
        config, params, _ = weights.load("clatr", folder)
        if tower is None:
            return cls(str(model), config, params, digest=digest(folder))
        both = f"{digest(folder)} {digest(weights.find('clip_text', tower))}"
        return cls(str(model), config, params, weights.load("clip_text", tower), both)

    @property
    def published(self) -> bool:
        """True for a network of the published architecture: all others read trajectories or texts in another form."""
        return self.config == dataclasses.replace(CLaTrConfig(), dropout=self.config.dropout)

    @property
    def title(self) -> str:
        """Its name for people, which says that the scores of any other network are not those of CLaTr."""
        return self.name if self.published else f"{Path(self.name).name}, not CLaTr"

    def read_shots(self, paths: Sequence[np.ndarray]) -> Gaussians:
        """Returns the latents of single shots, each [T, 3, 4] camera-to-world in OpenCV axes."""
        features_NTC = np.stack([shot_features(pose_T34) for pose_T34 in paths])
        return self.read_items(to_items(self.config, features_NTC))

    def read_items(self, items_NIC: np.ndarray) -> Gaussians:
        """Returns the latents of shots as the network reads them (`inputs.clatr.to_items`)."""
        return Gaussians(*map(np.asarray, _read_items(self.config, self.params, items_NIC)))

    def read_captions(self, captions: Sequence[str]) -> CaptionLatents:
        """Returns the latents of captions.

        Raises:
            ValueError: there is no text tower.
        """
        if self.tower is None:
            raise ValueError(
                f"{self.name} has no text tower: name the folder of the one it was trained with (the published ones: "
                "the text tower of OpenAI's ViT-B/32, converted by `shotverse convert --as clip-text`)"
            )
        clip, clip_params, tokenizer = self.tower
        ids_NS, real_NS = tokenize(tokenizer, captions, clip.max_positions)
        mu, logvar, end = _read_ids(self.config, clip, self.params, clip_params, ids_NS, real_NS)
        return CaptionLatents(Gaussians(np.asarray(mu), np.asarray(logvar)), np.asarray(end))

    def decode(self, latent_ND: np.ndarray) -> np.ndarray:
        """Returns the paths [N, 120, 3, 4] that latents are decoded to: OpenCV camera-to-world, the first at 0."""
        return from_items(self.config, np.asarray(_decode(self.config, self.params, latent_ND)))


def _in_batches(one: Callable, inputs):
    # Batches of a fixed size: one compiled body whatever the number of samples.
    return jax.lax.map(one, inputs, batch_size=_BATCH)


@functools.partial(jax.jit, static_argnames="config")
def _read_items(config, params, items_NIC):
    def one(items_IC):
        real_1I = jnp.ones((1, len(items_IC)), bool)
        latent = CLaTr(config).apply({"params": params}, items_IC[None], real_1I, method="encode_trajectory")
        return latent.mu_BD[0], latent.logvar_BD[0]

    return _in_batches(one, items_NIC)


@functools.partial(jax.jit, static_argnames=("config", "clip"))
def _read_ids(config, clip, params, clip_params, ids_NS, real_NS):
    def one(inputs):
        ids_1S, real_1S = (x[None] for x in inputs)
        states_1SC = CLIPText(clip).apply({"params": clip_params}, ids_1S, real_1S)
        latent = CLaTr(config).apply({"params": params}, states_1SC, real_1S, method="encode_text")
        return latent.mu_BD[0], latent.logvar_BD[0], states_1SC[0, real_1S.sum() - 1]

    return _in_batches(one, (ids_NS, real_NS))


@functools.partial(jax.jit, static_argnames="config")
def _decode(config, params, latent_ND):
    def one(latent_D):
        real_1I = jnp.ones((1, 120 // config.frames_per_item), bool)
        return CLaTr(config).apply({"params": params}, latent_D[None], real_1I, method="decode")[0]

    return _in_batches(one, latent_ND)
