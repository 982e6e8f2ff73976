"""Training CLaTr: its data, its losses (robincourant/CLaTr src/models/clatr.py, src/training/losses.py)."""

import functools
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from shotverse_jax import weights
from shotverse_jax.config import CLATR_FRAMES, CLaTrTrainConfig, CLIPTextConfig
from shotverse_jax.cost import flops
from shotverse_jax.cost.accelerators import ideal_step_seconds
from shotverse_jax.data.clatr_source import CLaTrSource, SceneShots, StageShots
from shotverse_jax.inputs.clatr import TEXT_TOWER
from shotverse_jax.inputs.clip import SPECIAL_TOKENS
from shotverse_jax.inputs.tokenizer import learned_tokenizer, pin_tokenizer
from shotverse_jax.models.clatr import CLaTr, Latent, Reading
from shotverse_jax.models.clip import CLIPText
from shotverse_jax.parallel.mesh import batch_share, make_mesh
from shotverse_jax.parallel.rules import create
from shotverse_jax.parallel.sequence import spread
from shotverse_jax.train.contrast_losses import first, info_nce, unit
from shotverse_jax.train.task import Loss, Outline, Task, batch_shapes
from shotverse_jax.weights.folder import TOKENIZER, read_config


def build(config: CLaTrTrainConfig, folder: Path) -> Task:
    """The task of a config; `folder` gets the text tokenizer when one is learned, and a note of which one is used.

    Raises:
        ValueError: a tower that is not there or of another width than the network reads, scenes that cannot be used,
            or a run in `folder` that was started with another tokenizer.
    """
    mesh, (frozen_at, text) = make_mesh(config.mesh), _tower(config)
    shots = {split: _shots(config, split) for split in ("train", "test")}
    tokenizer_file = frozen_at / TOKENIZER if frozen_at else _learned_tokenizer(config, folder, shots["train"])
    pin_tokenizer(tokenizer_file, folder)
    trainable, frozen = _variables(config, text, mesh)
    if frozen_at:
        frozen["params"]["text"] = weights.load("clip_text", frozen_at, mesh=mesh).params
    return Task(
        config=config,
        trainable=trainable,
        frozen=frozen,
        loss=make_loss(config, text, spread(config.execution, mesh)),
        source=functools.partial(_source, config, str(tokenizer_file), config.text_length or text.max_positions, shots),
        export=functools.partial(_export, config, None if frozen_at else tokenizer_file),
        ideal_step_seconds=ideal_step_seconds(config.batch, functools.partial(work, config, text), mesh),
    )


def outline(config: CLaTrTrainConfig, mesh: Mesh) -> Outline:
    """The run as shapes. Of a tower that is given, its config is read. Raises ValueError where it does not fit."""
    _, text = _tower(config)
    trainable, frozen = jax.eval_shape(lambda: _variables(config, text, mesh))
    if frozen:
        frozen = {"params": {"text": weights.abstract("clip_text", text)}}
    tokens, size = config.text_length or text.max_positions, config.model.feature_size
    batch = {
        "traj_BIC": (CLATR_FRAMES // config.model.frames_per_item, size, "float32"),
        "ids_BS": (tokens, "int32"),
        "real_BS": (tokens, "bool"),
        "same_B": ("int32",),
    }
    return Outline(
        config=config,
        trainable=trainable,
        frozen=frozen,
        loss=make_loss(config, text, spread(config.execution, mesh)),
        batch=batch_shapes(config.batch, batch),
        bucket=None,
        work=work(config, text),
    )


def work(config: CLaTrTrainConfig, text: CLIPTextConfig, bucket: None = None) -> tuple[flops.Work, ...]:
    """The operations of one shot."""
    return flops.clatr(config.model, text, config.text_length or text.max_positions, tower=not config.text_weights)


def _tower(config: CLaTrTrainConfig) -> tuple[Path | None, CLIPTextConfig]:
    """(the folder of the text tower, None for one that is trained too; its config)."""
    frozen_at = weights.find("clip_text", config.text_weights) if config.text_weights else None
    text = read_config(frozen_at, CLIPTextConfig) if frozen_at else config.text
    if text.hidden_size != config.model.text_size:
        raise ValueError(
            f"CLaTr reads texts of {config.model.text_size} numbers a token, and this tower makes {text.hidden_size}"
        )
    return frozen_at, text


def _variables(config: CLaTrTrainConfig, text: CLIPTextConfig, mesh: Mesh) -> tuple[dict, dict]:
    """(trainable, frozen) variables with random parameters; those of a tower that does not learn are left out."""
    key = jax.random.key(config.seed)
    params = {"clatr": create(lambda: weights.init("clatr", config.model, key), mesh)}
    if config.text_weights:
        return {"params": params}, {"params": {}}
    params["text"] = create(lambda: weights.init("clip_text", text, jax.random.fold_in(key, 1)), mesh)
    return {"params": params}, {}


def _export(config: CLaTrTrainConfig, tokenizer_file: Path | None, variables: dict, folder: Path) -> None:
    """Writes the network, and below it the text tower when it was trained too."""
    params = variables["params"]
    if tokenizer_file:
        weights.export("clip_text", params["text"], config.text, folder / TEXT_TOWER, tokenizer_file=tokenizer_file)
    weights.export("clatr", params["clatr"], config.model, folder)


def make_loss(config: CLaTrTrainConfig, text: CLIPTextConfig, execution) -> Loss:
    """The loss of a run; without a key the means of the latents are taken, without dropout.

    Samples of one number `same_B` are no wrong answers for each other, and neither are captions that are nearly the
    same for a tower that does not learn (`CLaTrTrainConfig.same_text`).
    """
    network, tower = CLaTr(config.model, execution), CLIPText(text, execution)

    def loss(variables, batch, bucket, key):
        params, real_BS = variables["params"], batch["real_BS"]
        text_BSC = tower.apply({"params": params["text"]}, batch["ids_BS"], real_BS)
        same_BB = batch["same_B"][:, None] == batch["same_B"][None, :]
        if config.text_weights:
            end_B11 = real_BS.sum(1)[:, None, None] - 1
            end_BD = unit(jnp.take_along_axis(text_BSC, end_B11, axis=1)[:, 0])
            same_BB |= end_BD @ end_BD.T > config.same_text
        noise, rngs = None, None
        if key is not None:
            noise_key, dropout_key = jax.random.split(key)
            noise = config.noise * jax.random.normal(noise_key, (2, len(real_BS), config.model.hidden_size))
            rngs = {"dropout": dropout_key}
        arguments = batch["traj_BIC"], text_BSC, real_BS, noise
        drawn = network.apply({"params": params["clatr"]}, *arguments, method="read_and_sample", rngs=rngs)
        return clatr_loss(config, *drawn, batch["traj_BIC"], same_BB)

    return loss


def clatr_loss(
    config: CLaTrTrainConfig, reading: Reading, traj_BD, text_BD, traj_BIC, same_BB
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The weighted sum of CLaTr's four losses.

    Args:
        config: the weights and the temperature.
        reading: both distributions, and the features decoded from the latents below.
        traj_BD, text_BD: the latents that were drawn of trajectories and texts.
        traj_BIC: the features that were read.
        same_BB: [B, B] bool, True where a caption of another sample is no wrong answer.

    Returns:
        The loss and metrics: reconstruction, kl, latent, contrast; text_first, the share of trajectories whose nearest
        caption, of those of the batch, is right; and trajectory_first, the same for captions.
    """
    normal = Latent(jnp.zeros_like(traj_BD), jnp.zeros_like(traj_BD))
    pairs = ((reading.text, reading.traj), (reading.traj, reading.text), (reading.traj, normal), (reading.text, normal))
    parts = {
        "reconstruction": smooth_l1(reading.text_recon_BTC, traj_BIC) + smooth_l1(reading.traj_recon_BTC, traj_BIC),
        "kl": sum(kl(a, b) for a, b in pairs),
        "latent": smooth_l1(text_BD, traj_BD),
        "contrast": info_nce(text_BD, traj_BD, same_BB, config.temperature),
    }
    value = sum(getattr(config, f"{name}_weight") * part for name, part in parts.items())
    cosine_BB = unit(traj_BD) @ unit(text_BD).T
    return value, parts | {"text_first": first(cosine_BB, same_BB), "trajectory_first": first(cosine_BB.T, same_BB)}


def smooth_l1(a: jax.Array, b: jax.Array) -> jax.Array:
    """The mean of d² / 2 where the difference d is at most 1, else |d| - 1/2 (torch's SmoothL1Loss)."""
    return optax.losses.huber_loss(a, b).mean()


def kl(q: Latent, p: Latent) -> jax.Array:
    """The mean over samples and numbers of KL(q || p), both with independent numbers."""
    ratio = q.logvar_BD - p.logvar_BD
    return 0.5 * (jnp.exp(ratio) + (p.mu_BD - q.mu_BD) ** 2 / jnp.exp(p.logvar_BD) - 1 - ratio).mean()


def _shots(config: CLaTrTrainConfig, split: str) -> StageShots | SceneShots:
    if not config.data:
        return StageShots(split, config.styles)
    return SceneShots(config.test_data if split == "test" and config.test_data else config.data, split, config.caption)


def _source(config: CLaTrTrainConfig, tokenizer_file: str, length: int, shots: dict, split: str, steps: int):
    host, num_hosts = batch_share(make_mesh(config.mesh))
    return CLaTrSource(
        config=config.model,
        tokenizer_file=tokenizer_file,
        length=length,
        shots=shots[split],
        seed=config.seed,
        global_batch=config.batch,
        num_steps=steps,
        host=host,
        num_hosts=num_hosts,
    )


def _learned_tokenizer(config: CLaTrTrainConfig, folder: Path, shots: StageShots | SceneShots) -> Path:
    """The tokenizer of a tower that is trained too, learned from the captions on the first start of a run."""
    captions = functools.partial(_captions, config, shots)
    return learned_tokenizer(folder / TOKENIZER, captions, config.text.vocab_size, SPECIAL_TOKENS)


def _captions(config: CLaTrTrainConfig, shots: StageShots | SceneShots) -> Iterator[str]:
    if isinstance(shots, SceneShots):
        yield from (shot.caption for shot in shots.all)
        return
    for seed in range(config.bpe_examples):
        yield from (shot.caption for shot in shots.shots(seed))
