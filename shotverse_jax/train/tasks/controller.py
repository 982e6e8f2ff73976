"""Training a controller on encoded films: the base model, then each of its two experts (ShotVerse §5.1)."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from shotverse_jax import lora, weights
from shotverse_jax.config import (
    TEXT_ENCODERS,
    VAES,
    ControllerConfig,
    ControllerTrainConfig,
    UMT5Config,
    WanVAEConfig,
)
from shotverse_jax.cost import flops
from shotverse_jax.cost.accelerators import ideal_step_seconds
from shotverse_jax.data.controller_source import ControllerSource
from shotverse_jax.data.records import SETTINGS, read_settings
from shotverse_jax.flow.loss import bell_weight, flow_loss, interpolate
from shotverse_jax.flow.noise import film_noise
from shotverse_jax.flow.schedule import NoiseRange, draw_sigma, training_sigmas
from shotverse_jax.infer.cinematographer import Cinematographer, Design
from shotverse_jax.infer.denoise import decode, generate
from shotverse_jax.infer.plan import Director, plan
from shotverse_jax.infer.take import prepare
from shotverse_jax.inputs.tokenizer import load_text_tokenizer, pin_tokenizer
from shotverse_jax.models.camera_encoder import add_camera, split_camera
from shotverse_jax.models.controller import Batch, Controller, example
from shotverse_jax.models.wan_vae import space_factor, time_factor
from shotverse_jax.parallel.mesh import batch_share, make_mesh, together
from shotverse_jax.parallel.rules import create, shardings
from shotverse_jax.parallel.sequence import spread
from shotverse_jax.screenplay import Screenplay
from shotverse_jax.train.state import merge
from shotverse_jax.train.task import Loss, Outline, Preview, Task, batch_shapes, cast
from shotverse_jax.views.video import enlargement, write_video
from shotverse_jax.weights.folder import CONFIG, find, has, read_config

NOISE_BINS = 4
"""Number of parts of the noise levels that have a metric each."""

PREVIEW_PLANNER = "planner_small"
"""Plans the cameras of previews."""


def build(
    config: ControllerTrainConfig, folder: Path, loss_of: Callable[[Controller, Any], Loss] | None = None
) -> Task:
    """The task of a config; `folder` gets a note of the text tokenizer that is used.

    Expert "base" trains the transformer and a text encoder with it (`TEXT_ENCODERS[model.text]`, which reads with the
    tokenizer of `text_tokenizer`). Experts "high" and "low" adapt the base model of `base_weights`, or continue from
    its expert of that name where it has no base model; they read with the encoder `model.text`. Where the films were
    recorded with its states (`launch/encode.py --text`), the encoder is not loaded and these states are used.

    loss_of: makes another loss of the network and the config; None (default) is `make_loss`.

    Raises:
        ValueError: weights that are not there or do not fit, or text states of another encoder or for another negative
            prompt.
    """
    model = config.model
    key, mesh = jax.random.key(config.seed), make_mesh(config.mesh)
    states = has_states(config)
    if config.expert == "base":
        if model.text not in TEXT_ENCODERS:
            raise ValueError(f"text of the model is one of {', '.join(TEXT_ENCODERS)}, got {model.text!r}")
        text_config, tokenizer_file = TEXT_ENCODERS[model.text](), weights.find_tokenizer(config.text_tokenizer)
        controller = Controller(model, text_config, "base", config.execution)
        trainable, frozen = create(lambda: {"params": weights.init_module(controller, example(model), key)}, mesh), {}
    elif not config.base_weights:
        raise ValueError(
            f"base_weights must name the base model that the expert {config.expert!r} adapts, and is empty"
        )
    else:
        place = {"mesh": mesh, "dtype": config.execution.dtype}  # frozen weights need no float32 copy
        if states:
            text_config, text_params, tokenizer_file = UMT5Config(), None, None
        else:
            text_config, text_params, _ = weights.load("text_encoder", model.text, **place)
            tokenizer_file = weights.find_tokenizer(model.text)
        controller = Controller(model, text_config, config.expert, config.execution)
        base_folder = weights.find("controller", config.base_weights)
        # An expert that learns from preferences begins with what it has learned before.
        fresh = config.task == "controller" and has(base_folder, "base.safetensors")
        begin = "base" if fresh else config.expert
        _, base, _ = weights.load("controller", base_folder, expert=begin, **place)
        trainable, frozen = adapt(model, controller, base, text_params, key, mesh)
    if tokenizer_file is not None:
        pin_tokenizer(tokenizer_file, folder)
    # The mesh comes last: the parameters above were made from an example of one token, which no mesh can split.
    controller = dataclasses.replace(controller, execution=spread(config.execution, mesh))
    return Task(
        config=config,
        trainable=trainable,
        frozen=frozen,
        loss=(loss_of or make_loss)(controller, config),
        source=functools.partial(_source, config, tokenizer_file, states),
        export=functools.partial(_export, config, text_config, tokenizer_file),
        make_preview=functools.partial(_make_preview, config, merge(trainable, frozen), mesh),
        ideal_step_seconds=ideal_step_seconds(config.batch, functools.partial(work, config), mesh),
    )


def _export(
    config: ControllerTrainConfig, text_config: UMT5Config, tokenizer_file: Path | None, variables: dict, folder: Path
) -> None:
    """Writes the base model with its text encoder; or an expert with its adapter folded in, and the adapter alone."""
    params = variables["params"]
    if config.expert == "base":
        weights.export("text_encoder", params["text"], text_config, folder / "text", tokenizer_file=tokenizer_file)
        weights.export("controller", params["dit"], config.model, folder, expert="base")
    else:
        adapter = variables["lora"]["dit"]
        weights.export("controller", lora.merge(params["dit"], adapter), config.model, folder, expert=config.expert)
        weights.export_adapter(adapter, split_camera(params["dit"])[1], config.model, folder / "adapter", config.expert)


def adapt(
    config: ControllerConfig, controller: Controller, base: dict, text: dict | None, key, mesh
) -> tuple[dict, dict]:
    """(trainable, frozen) variables of an expert.

    Adapters and camera encoders learn; the base model stays, and so does the text encoder, if there is one. Camera
    encoders that the base already has are trained further; new ones begin at zero; a config without any drops them.

    Raises:
        ValueError: a config without adapters.
    """
    if config.lora is None:
        raise ValueError("the experts are trained as adapters of the base model; give config.lora a rank")
    dit, camera = split_camera(base)
    if config.expert(controller.expert).camera:
        dit = base if camera else add_camera(base)
    adapter = create(lambda: lora.init(key, dit, config.lora), mesh)
    rest, camera = split_camera(dit)
    # These weights learn, so they are float32: most updates are too small for the 8 bits of bfloat16.
    camera = jax.tree.map(lambda x: x.astype(jnp.float32), camera)
    trainable = {"lora": {"dit": adapter}} | ({"params": {"dit": camera}} if camera else {})
    return trainable, {"params": {"dit": rest} | ({} if text is None else {"text": text})}


def has_states(config: ControllerTrainConfig) -> bool:
    """Whether a run reads the text states that its films were recorded with; "base" trains the encoder and never does.

    Raises:
        ValueError: states of another encoder or for another negative prompt.
    """
    if config.expert == "base":
        return False
    made = [read_settings(folder) for folder in (config.data, config.test_data) if (Path(folder) / SETTINGS).is_file()]
    if not any("text" in settings for settings in made):
        return False
    wanted = {"text": Path(config.model.text).name, "negative": config.model.negative}
    for settings in made:
        if (there := {name: settings.get(name) for name in wanted}) != wanted:
            raise ValueError(f"films were recorded with the text states of {there}, and the controller has {wanted}")
    return True


def make_loss(controller: Controller, config: ControllerTrainConfig) -> Loss:
    """The loss of a run; without a key, every batch gets the same noise."""

    def loss(variables, batch, bucket, key):
        drawn = jax.random.key(config.seed) if key is None else key
        return controller_loss(
            controller, variables, batch, drawn, config.loss_weight, config.subject_weight, deterministic=key is None
        )

    return loss


def controller_loss(
    controller: Controller,
    variables: dict,
    batch: Batch,
    key: jax.Array,
    loss_weight: Literal["uniform", "diffsynth"] = "uniform",
    subject_weight: float = 1.0,
    deterministic: bool = False,
) -> tuple[jax.Array, dict]:
    """Flow matching (ShotVerse Eq. 5) at the noise levels of the controller's expert; "base" has all of them.

    Args:
        controller: the network; its `expert` decides the noise levels.
        variables: its parameters, and adapters where there are any.
        batch: as `data/controller_source.py` makes it.
        key: decides noise levels, noise and the adapters' dropout.
        loss_weight: the weight of each noise level.
        subject_weight: the weight of a latent that shows nothing but a subject, where one without has weight 1.
        deterministic: switches dropout off.

    Returns:
        The loss and metrics, float32. The metrics are errors without weights: of all samples, of each quarter of the
        expert's noise levels, and for "base" of either expert's levels; NaN where there is no sample. And the norm of
        the camera encoders, if there are any.
    """
    config = controller.config
    sigma_key, noise_key, dropout_key = jax.random.split(key, 3)
    owns: NoiseRange = "both" if controller.expert == "base" else controller.expert
    # Films are recorded in float16; latents, noise and the loss are float32 everywhere (`flow/loss.py`).
    clean_BTHWC = batch["latents_BTHWC"].astype(jnp.float32)
    sigma_B = draw_sigma(sigma_key, len(clean_BTHWC), config.shift, config.boundary, owns)
    noise_BTHWC = film_noise(noise_key, clean_BTHWC.shape, config.shared_noise)
    noisy_BTHWC = interpolate(clean_BTHWC, noise_BTHWC, sigma_B)
    rngs = None if deterministic else {"dropout": dropout_key}
    velocity_BTHWC = controller.apply(variables, noisy_BTHWC, sigma_B, batch, deterministic, rngs=rngs)
    weight_B = bell_weight(sigma_B, config.shift) if loss_weight == "diffsynth" else jnp.ones_like(sigma_B)
    mask_BTHW1 = None
    if subject_weight != 1:
        mask_BTHW1 = 1 + (subject_weight - 1) * batch["subject_BTHW"][..., None]
    loss = flow_loss(velocity_BTHWC, clean_BTHWC, noise_BTHWC, weight_B, mask_BTHW1)

    # Errors grow with the noise level, so a mean over all levels hides which of them still improve.
    error_B = jax.vmap(flow_loss)(velocity_BTHWC, clean_BTHWC, noise_BTHWC)
    metrics = {"loss_unweighted": jnp.mean(error_B)}
    if owns == "both":
        high_B = sigma_B >= config.boundary
        metrics |= {"loss_high": _mean_where(high_B, error_B), "loss_low": _mean_where(~high_B, error_B)}
    grid = training_sigmas(config.shift, config.boundary, owns)
    # Parts have equal numbers of grid points; training draws these evenly, so each part gets as many samples.
    edges = [*grid[:: -(-len(grid) // NOISE_BINS)], 0.0]
    for top, bottom in zip(edges, edges[1:], strict=False):
        name = f"loss_sigma_{max(bottom, grid[-1]):.2f}_{top:.2f}"
        metrics[name] = _mean_where((sigma_B <= top) & (sigma_B > bottom), error_B)
    if config.expert(controller.expert).camera:
        metrics["camera_norm"] = _camera_norm(variables["params"]["dit"])
    return loss, metrics


def _mean_where(mask_B: jax.Array, value_B: jax.Array) -> jax.Array:
    """The mean of the values where the mask is True; NaN where it is True nowhere."""
    return jnp.sum(jnp.where(mask_B, value_B, 0.0)) / jnp.sum(mask_B)


def _camera_norm(params: dict) -> jax.Array:
    """Norm of all parameters of the camera encoders, which start at zero."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    squares = [
        jnp.sum(jnp.square(x.astype(jnp.float32))) for path, x in leaves if "camera" in jax.tree_util.keystr(path)
    ]
    return jnp.sqrt(jnp.sum(jnp.stack(squares)))


def _make_preview(
    config: ControllerTrainConfig, variables: dict, mesh: Mesh, screenplay: Screenplay, folder: Path
) -> Preview:
    """preview(step, variables), which writes a film to <step>.mp4 and some of its frames to <step>.png.

    The expert that is trained films its own noise levels, and the base model those of the other expert. Every preview
    starts from the same noise.
    """
    empty = _empty_cinematographer(config, "text" in variables["params"], mesh)
    other = _other_expert(config, mesh)
    # An expert may not fit one device, so it is folded on the mesh, where every device makes its own part.
    fold = jax.jit(lora.merge, out_shardings=shardings(variables["params"]["dit"], mesh))
    # Cameras are planned once, so that previews differ by the network's progress alone.
    [[trajectory]] = plan(Director.load(PREVIEW_PLANNER), [screenplay])
    take = prepare(empty, screenplay, trajectory, frames=config.model.frames)

    # Here, as matplotlib takes half a second to import and most runs make no previews.
    from shotverse_jax.views.contact_sheet import plot_film

    def preview(step: int, variables: dict) -> None:
        params = variables["params"]
        dits = {"base": params["dit"]}
        if config.expert != "base":
            dits = {"base": split_camera(params["dit"])[0] if other is None else other}
            dits[config.expert] = fold(params["dit"], variables["lora"]["dit"])
        high, low = (dits[name] for name in empty.design.experts)
        cinematographer = dataclasses.replace(empty, high=high, low=low, text=params.get("text", empty.text))
        # This comes before the other processes leave: weights are split over all of them, so all must run the sampling.
        latents_BTHWC = np.asarray(together(generate(cinematographer, [take])))
        if jax.process_index() != 0:
            return
        [video_THW3] = np.concatenate(list(decode(cinematographer, latents_BTHWC)), axis=1)
        path = folder / f"{step}.mp4"
        write_video(path, video_THW3, take.trajectory.fps, enlargement(take.trajectory.height))
        plot_film(video_THW3, take.trajectory, path.with_suffix(".png"))

    return preview


def _empty_cinematographer(config: ControllerTrainConfig, trained_text: bool, mesh: Mesh) -> Cinematographer:
    """All of the cinematographer that does not change while a run goes on: everything but its experts' parameters.

    trained_text: whether the parameters of the text encoder are among the variables of the run; they are then empty.
    """
    model = config.model
    text_config, text, tokenizer = _text_encoder(config, trained_text, mesh)
    vae_config, vae, _ = weights.load("vae", model.vae)
    if vae_config.latent_channels != model.dit.latent_channels:
        raise ValueError(
            f"the VAE {model.vae} has latents of {vae_config.latent_channels} channels and the controller of "
            f"{model.dit.latent_channels}; give model.vae the one that its films were encoded with"
        )
    names = tuple(name if config.expert == name else "base" for name in ("high", "low"))
    # A preview has no backward pass, for which something could be computed again.
    execution = spread(dataclasses.replace(config.execution, remat="none"), mesh)
    design = Design(model, text_config, vae_config, tokenizer, execution, experts=names)
    return Cinematographer({}, {}, text, vae, design)


def _text_encoder(config: ControllerTrainConfig, trained: bool, mesh: Mesh) -> tuple:
    """(config, parameters, tokenizer) of the text encoder; the parameters are empty where the run has them itself."""
    name = config.model.text
    if config.expert == "base":
        return TEXT_ENCODERS[name](), {}, load_text_tokenizer(weights.find_tokenizer(config.text_tokenizer))
    if trained:
        tokenizer_file = weights.find_tokenizer(name)
        return read_config(tokenizer_file.parent, UMT5Config), {}, load_text_tokenizer(tokenizer_file)
    return weights.load("text_encoder", name, mesh=mesh, dtype=config.execution.dtype)


def _other_expert(config: ControllerTrainConfig, mesh: Mesh) -> dict | None:
    """The model of `preview_weights`, which films the other expert's noise levels; None: the run's own base model."""
    if not config.preview_weights or config.expert == "base":
        return None
    dtype = config.execution.dtype
    found, other, _ = weights.load("controller", config.preview_weights, expert="base", mesh=mesh, dtype=dtype)
    if found.expert("base") != config.model.expert("base"):
        raise ValueError(f"preview_weights: {config.preview_weights} is another network than the one that is trained")
    return other


def outline(config: ControllerTrainConfig, mesh: Mesh) -> Outline:
    """The run as shapes; all its batches have the same."""
    model, key, states = config.model, jax.random.key(0), has_states(config)
    text = UMT5Config() if states else _text_config(model.text)
    controller = Controller(model, text, config.expert, config.execution)
    if config.expert == "base":
        trainable, frozen = jax.eval_shape(lambda: {"params": weights.init_module(controller, example(model), key)}), {}
    else:
        base = weights.abstract("controller", model, expert="base")
        words = None if states else weights.abstract("text_encoder", text)
        trainable, frozen = jax.eval_shape(
            lambda base, words: adapt(model, controller, base, words, key, mesh),
            *cast((base, words), config.execution.dtype),
        )
    controller = dataclasses.replace(controller, execution=spread(config.execution, mesh))
    frames, *sides = latents(model)
    batch = {
        "latents_BTHWC": (frames, *sides, model.dit.latent_channels, "float16"),
        "shot_BT": (frames, "int32"),
        "camera_BTP": (frames, 12, "float32"),
        "real_BS": (model.text_length, "bool"),
        "window_BKS": (config.max_shots, model.text_length, "bool"),
    }
    if states:
        batch["context_BSD"] = (model.text_length, model.dit.text_size, "float16")
    else:
        batch["ids_BS"] = (model.text_length, "int32")
    return Outline(
        config=config,
        trainable=trainable,
        frozen=frozen,
        loss=make_loss(controller, config),
        batch=batch_shapes(config.batch, batch),
        bucket=None,
        work=work(config),
    )


def work(config: ControllerTrainConfig, bucket: None = None) -> tuple[flops.Work, ...]:
    """The operations of one sample: of the transformer, and of the text encoder where its states are not recorded."""
    model, base = config.model, config.expert == "base"
    adapters = None if base else model.lora
    video = flops.dit(model.expert(config.expert), *latents(model), model.text_length, lora=adapters, trained=base)
    if has_states(config):
        return video
    return *video, flops.umt5(_text_config(model.text), model.text_length, trained=base)


def latents(config: ControllerConfig) -> tuple[int, int, int]:
    """Frames, height and width of a film's latents."""
    vae = VAES.get(config.vae, WanVAEConfig)()
    space = space_factor(vae)
    return (config.frames - 1) // time_factor(vae) + 1, config.height // space, config.width // space


def _text_config(name: str) -> UMT5Config:
    """The config of a text encoder, by name or folder, without its weights."""
    if name in TEXT_ENCODERS:
        return TEXT_ENCODERS[name]()
    try:
        return read_config(find("text_encoder", name, (CONFIG,)), UMT5Config)
    except ValueError as error:
        known = ", ".join(TEXT_ENCODERS)
        raise ValueError(
            f"model.text is {name}: give the folder of a text encoder, or one of {known}; {error}"
        ) from error


def _source(
    config: ControllerTrainConfig, tokenizer_file: Path | None, states: bool, split: str, num_steps: int
) -> ControllerSource:
    """Training batches, or as many of held-out films, whose prompts are never dropped."""
    host, num_hosts = batch_share(make_mesh(config.mesh))
    return ControllerSource(
        config=config.model,
        folder=config.data if split == "train" else config.test_data,
        tokenizer_file=str(tokenizer_file),
        seed=config.seed,
        global_batch=config.batch,
        num_steps=num_steps,
        text_dropout=config.text_dropout if split == "train" else 0.0,
        rows=config.max_shots,
        host=host,
        num_hosts=num_hosts,
        states=states,
        subjects=config.subject_weight != 1,
    )
