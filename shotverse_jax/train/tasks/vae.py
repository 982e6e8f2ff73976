"""Training a video VAE on crops of films: recorded (`launch/encode.py`), or clips of the stage made when needed."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from einops import reduce

from shotverse_jax import weights
from shotverse_jax.config import VAETrainConfig, WanVAEConfig
from shotverse_jax.data.records import Records, shuffled
from shotverse_jax.data.stage_films import StageFilms
from shotverse_jax.data.steps import StepSource
from shotverse_jax.models.wan_vae import WanVAE, space_factor, time_factor
from shotverse_jax.parallel.mesh import batch_share, make_mesh
from shotverse_jax.parallel.rules import create
from shotverse_jax.train.task import Loss, Task

YCBCR = ((0.299, -0.1687, 0.5), (0.587, -0.3313, -0.4187), (0.114, 0.5, -0.0813))  # of red, of green, of blue
STAGE_CLIPS = 100_000
"""Clips of an epoch, where they are rendered as they are needed."""

LATENT_FILMS = 256
"""Films whose latents give the mean and standard deviation that are exported."""


def build(config: VAETrainConfig, folder: Path) -> Task:
    """The task of a config; nothing is written to `folder`.

    Raises:
        ValueError: a VAE to begin with that has another size, or none where only the decoder is trained.
    """
    model, mesh = _unscaled(config.model), make_mesh(config.mesh)
    time, space = time_factor(model), space_factor(model)
    if (config.frames - 1) % time or config.height % space or config.width % space:
        size = f"frames={config.frames}, height={config.height}, width={config.width}"
        raise ValueError(f"crops must have {time}t+1 frames and sides that {space} divides for this VAE, got {size}")
    vae = WanVAE(model, config.execution)
    base_config = None
    if config.base_weights:
        base_config, params, _ = weights.load("vae", config.base_weights, mesh=mesh)
        if _unscaled(base_config) != model:
            raise ValueError(f"the VAE {config.base_weights} is of another size than the config's: {base_config}")
    elif config.part == "decoder":
        raise ValueError('part="decoder" trains the decoder of a VAE that is there: give base_weights')
    else:
        params = create(lambda: weights.init("vae", model, jax.random.key(config.seed)), mesh)
    # Latents come out of `quant`, the layer after the encoder: to keep latents as they are, both must stay.
    kept = {"encoder", "quant"} if config.part == "decoder" else set()
    frozen = {name: part for name, part in params.items() if name in kept}
    trainable = {name: part for name, part in params.items() if name not in kept}
    return Task(
        config=config,
        trainable={"params": trainable},
        frozen={"params": frozen} if frozen else {},
        loss=make_loss(vae, config),
        source=functools.partial(_source, config),
        export=functools.partial(_export, vae, config, base_config),
    )


def _unscaled(config: WanVAEConfig) -> WanVAEConfig:
    """The config without normalisation of latents, which is measured at the end of a run: until then they change."""
    channels = config.latent_channels
    return dataclasses.replace(config, latent_mean=(0.0,) * channels, latent_std=(1.0,) * channels)


def _source(config: VAETrainConfig, split: str, steps: int) -> "FilmSource":
    crop = (config.frames, config.height, config.width) if split == "train" else None
    films = {"train": config.data, "test": config.test_data}
    return FilmSource(films[split], split, crop, config.model, config, steps, *batch_share(make_mesh(config.mesh)))


def _export(
    vae: WanVAE, config: VAETrainConfig, base_config: WanVAEConfig | None, variables: dict, folder: Path
) -> None:
    """Writes the VAE with the mean and standard deviation of its latents.

    Where only the decoder was trained, latents are those of the VAE that the run began with, and so are these numbers.
    """
    if config.part == "decoder":
        return weights.export("vae", variables["params"], base_config, folder)
    # These are whole films, because data sets of latents are made of whole films and not of crops.
    films = dataclasses.replace(_source(config, "train", -(-LATENT_FILMS // config.batch)), crop=None)
    mean_C, std_C = latent_moments(vae, variables, (batch["video_BTHWC"] for _, batch in iter(films)))
    measured = dataclasses.replace(config.model, latent_mean=tuple(mean_C), latent_std=tuple(std_C))
    weights.export("vae", variables["params"], measured, folder)


def make_loss(vae: WanVAE, config: VAETrainConfig) -> Loss:
    """The loss of a run."""

    def loss(variables, batch, bucket, key):
        return vae_loss(vae, variables, batch["video_BTHWC"], config.kl_weight, config.color_weight, key)

    return loss


def vae_loss(
    vae: WanVAE,
    variables: dict,
    video_BTHWC: jax.Array,
    kl_weight: float,
    color_weight: float,
    key: jax.Array | None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """L1 + kl_weight * KL + color_weight * colour, means over pixels and over latents.

    Args:
        vae: the network.
        variables: its parameters.
        video_BTHWC: uint8.
        kl_weight: weight of the KL divergence in nats per latent.
        color_weight: weight of the colour term: the mean square difference between `latent_colors` of the video and
            the first three channels of the posterior's mean, and between it and those of the decoded video.
        key: decides the latents that are drawn from the posterior; None takes its mean.

    Returns:
        The loss and metrics: l1, kl, psnr (dB, of video clipped to its range, mean over films), and color where it has
        a weight.
    """
    video_BTHWC = video_BTHWC.astype(jnp.float32) / 127.5 - 1
    mean_BTHWC, logvar_BTHWC = vae.apply(variables, video_BTHWC, method="moments")
    # The bounds are those of diffusers' DiagonalGaussianDistribution; without them the exponential could overflow.
    logvar_BTHWC = jnp.clip(logvar_BTHWC, -30, 20)
    latents_BTHWC = mean_BTHWC
    if key is not None:
        latents_BTHWC += jnp.exp(logvar_BTHWC / 2) * jax.random.normal(key, mean_BTHWC.shape)
    # The video is not clipped: a pixel beyond the range would have no gradient, and nothing would bring it back.
    rebuilt_BTHWC = vae.apply(variables, latents_BTHWC, clip=False, method="decode")
    l1 = jnp.mean(jnp.abs(rebuilt_BTHWC - video_BTHWC))
    kl = jnp.mean(mean_BTHWC**2 + jnp.exp(logvar_BTHWC) - 1 - logvar_BTHWC) / 2
    square_B = jnp.mean((jnp.clip(rebuilt_BTHWC, -1, 1) - video_BTHWC) ** 2, axis=(1, 2, 3, 4))
    psnr = jnp.mean(10 * jnp.log10(4 / jnp.maximum(square_B, 1e-10)))
    loss, metrics = l1 + kl_weight * kl, {"l1": l1, "kl": kl, "psnr": psnr}
    if color_weight:
        colors = functools.partial(latent_colors, time=time_factor(vae.config), space=space_factor(vae.config))
        true_BTHW3 = colors(video_BTHWC)
        color = jnp.mean((mean_BTHWC[..., :3] - true_BTHW3) ** 2) + jnp.mean((colors(rebuilt_BTHWC) - true_BTHW3) ** 2)
        loss, metrics = loss + color_weight * color, metrics | {"color": color}
    return loss, metrics


def latent_colors(video_BTHWC: jax.Array, time: int, space: int) -> jax.Array:
    """The mean Y, Cb, Cr (BT.601) of the pixels of each latent, [B, T', H', W', 3], of RGB video in [-1, 1].

    A latent is `time` frames of `space` x `space` pixels; the first one is a single frame.
    """
    small_BTHWC = reduce(video_BTHWC, "b t (h y) (w x) c -> b t h w c", "mean", y=space, x=space)
    rest_BTHWC = reduce(small_BTHWC[:, 1:], "b (t z) h w c -> b t h w c", "mean", z=time)
    return jnp.concatenate([small_BTHWC[:, :1], rest_BTHWC], axis=1) @ jnp.array(YCBCR)


def latent_moments(vae: WanVAE, variables: dict, videos: Iterator[np.ndarray]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of every latent channel over batches of uint8 video.

    Raises:
        ValueError: there is no video.
    """

    @jax.jit
    def moments(video_BTHWC):
        mean_BTHWC, _ = vae.apply(variables, video_BTHWC.astype(jnp.float32) / 127.5 - 1, method="moments")
        flat_NC = mean_BTHWC.reshape(-1, mean_BTHWC.shape[-1])
        return jnp.mean(flat_NC, axis=0), jnp.mean(flat_NC**2, axis=0)

    batches = [moments(video_BTHWC) for video_BTHWC in videos]
    if not batches:
        raise ValueError("the latents of no film at all have no mean; give some films")
    # float64: the variance is a difference of two numbers that may be nearly equal.
    mean_C, square_C = np.mean(np.asarray(jax.device_get(batches), np.float64), axis=0)
    return mean_C.tolist(), np.sqrt(np.maximum(square_C - mean_C**2, 1e-12)).tolist()


@dataclasses.dataclass(frozen=True)
class FilmSource(StepSource):
    """Random access over steps: `source[step]` is (None, {"video_BTHWC": uint8}), this host's part of the batch.

    Each film comes once in an epoch, in an order that depends on (seed, epoch) alone; the place of a crop depends on
    (seed, number of the sample in the run). A crop may begin at any frame: it is a clip of its own.

    Attributes:
        folder: records with `video`, all of one size; "" renders clips of the stage.
        split: "train" or "test", for clips of the stage.
        crop: (frames, height, width); None takes whole films, cut to a size that the VAE can encode.
        config: the VAE.
        run: values of the run; its batch and seed are used.
        num_steps: length of the source.
        host: number of this host.
        num_hosts: how many hosts share a batch.

    Raises:
        ValueError: a batch that does not divide over the hosts; on access, a film smaller than the crop.
    """

    folder: str
    split: str
    crop: tuple[int, int, int] | None
    config: WanVAEConfig
    run: VAETrainConfig
    num_steps: int
    host: int = dataclasses.field(default_factory=jax.process_index)
    num_hosts: int = dataclasses.field(default_factory=jax.process_count)

    @property
    def global_batch(self) -> int:
        """Films of a step, of all hosts together."""
        return self.run.batch

    @functools.cached_property
    def _films(self) -> Sequence[dict]:
        return Records(self.folder, ("video",)) if self.folder else StageFilms(STAGE_CLIPS, self.split)

    def __getitem__(self, step: int) -> tuple[None, dict[str, np.ndarray]]:
        if not 0 <= step < self.num_steps:
            raise IndexError(f"step {step} of {self.num_steps}")
        return None, {"video_BTHWC": np.stack([self._clip(i) for i in self.samples(step)])}

    def _clip(self, index: int) -> np.ndarray:
        video_THWC = self._films[shuffled(index, len(self._films), self.run.seed)]["video"]
        whole, time, space = video_THWC.shape[:3], time_factor(self.config), space_factor(self.config)
        if self.crop is None:
            frames, height, width = whole
            return video_THWC[: frames - (frames - 1) % time, : height - height % space, : width - width % space]
        if any(size > there for size, there in zip(self.crop, whole, strict=True)):
            raise ValueError(f"a film of {whole} frames, height and width is smaller than the crops of {self.crop}")
        draw = np.random.default_rng((self.run.seed, index))
        starts = [int(draw.integers(there - size + 1)) for size, there in zip(self.crop, whole, strict=True)]
        return video_THWC[tuple(slice(start, start + size) for start, size in zip(starts, self.crop, strict=True))]
