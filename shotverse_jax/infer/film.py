"""From a planned trajectory to a film: noise to latents on the device, through both experts, then latents to frames.

`generate` makes latents in one go. `begin` and `advance` make the same latents some steps at a time, for whoever wants
to look at them, or to change something, on the way.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tokenizers import Tokenizer

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import ControllerConfig, Execution, UMT5Config, WanVAEConfig
from shotverse_jax.flow import solver as flow
from shotverse_jax.flow.guidance import guided
from shotverse_jax.flow.noise import film_noise
from shotverse_jax.flow.schedule import sigmas
from shotverse_jax.inputs.cameras import trajectory_rows
from shotverse_jax.inputs.prompt import collate_prompts, tokenize_prompt, tokenize_screenplay
from shotverse_jax.models.controller import Controller
from shotverse_jax.models.wan_vae import WanVAE, space_factor, time_factor
from shotverse_jax.models.wan_vae_stream import decode_chunks
from shotverse_jax.parallel.sequence import spread
from shotverse_jax.screenplay import Layout, Screenplay
from shotverse_jax.weights import Expert, load


@dataclasses.dataclass(frozen=True)
class Design:
    """All of a cinematographer but its weights. It is hashable: compiled programs are kept for it.

    Attributes:
        config: of the controller.
        text_config: of the text encoder.
        vae_config: of the video autoencoder.
        tokenizer: of prompts; no compiled program depends on it, so that it does not count in comparisons.
        execution: how the networks run.
        experts: the architectures of the weights `high` and `low`; either may be "base", the model before its cameras.
    """

    config: ControllerConfig
    text_config: UMT5Config
    vae_config: WanVAEConfig
    tokenizer: Tokenizer = dataclasses.field(compare=False)
    execution: Execution = Execution()
    experts: tuple[Expert, Expert] = ("high", "low")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cinematographer:
    """A controller ready to use: the weights of its networks, and its design. A pytree whose leaves are the weights.

    Attributes:
        high, low: 'params' of the two experts.
        text: 'params' of the text encoder.
        vae: 'params' of the video autoencoder.
        design: the rest, static in compiled programs.
    """

    high: dict
    low: dict
    text: dict
    vae: dict
    design: Design = dataclasses.field(metadata={"static": True})

    @classmethod
    def load(
        cls,
        name_or_folder: str = "controller_small",
        mesh: Mesh | None = None,
        dtype: Literal["float32", "bfloat16"] = "float32",
    ) -> "Cinematographer":
        """Reads a shipped controller by its name, or a folder, one that `shotverse convert` wrote too.

        mesh: the devices that experts and text encoder are split over; with an axis `sequence`, the film's tokens too.
        dtype: of activations, and with a mesh of the weights.

        Raises:
            ValueError: it is not there or does not fit.
        """
        place, execution = {"mesh": mesh, "dtype": dtype}, Execution(dtype=dtype)
        config, high, _ = load("controller", name_or_folder, expert="high", **place)
        low = load("controller", name_or_folder, expert="low", **place).params
        # The VAE's weights are not split and stay float32: they are few beside an expert's.
        text, vae = load("text_encoder", config.text, **place), load("vae", config.vae)
        execution = execution if mesh is None else spread(execution, mesh)
        design = Design(config, text.config, vae.config, text.tokenizer, execution)
        return cls(high, low, text.params, vae.params, design)

    @property
    def config(self) -> ControllerConfig:
        """The controller's configuration."""
        return self.design.config

    @property
    def block(self) -> int:
        """Height and width of a film must be multiples of this many pixels."""
        return space_factor(self.design.vae_config) * max(self.config.dit.patch[1:])


@dataclasses.dataclass(frozen=True)
class Take:
    """What is to be filmed.

    Attributes:
        screenplay: what happens.
        trajectory: its cameras, over the film's own frames and image size.
        layout: the shots of the film in frames and latent frames.
    """

    screenplay: Screenplay
    trajectory: Trajectory
    layout: Layout


def prepare(
    cinematographer: Cinematographer,
    screenplay: Screenplay,
    trajectory: Trajectory,
    *,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
) -> tuple[Take, list[str]]:
    """Fits a trajectory to the film that will be made; returns the take and one sentence for each thing it changed.

    Every shot keeps its share of the film and its whole camera path, so that a shorter film is a faster one.

    Args:
        cinematographer: who will film it; its weights may be missing.
        screenplay: what happens.
        trajectory: cameras of this screenplay, over any number of frames.
        frames: of the film, snapped to 4t+1; None takes the screenplay's, or the controller's own number if that is
            less.
        size: (height, width) in pixels; None takes the controller's own.

    Raises:
        ValueError: another number of shots than the screenplay's, a size that the networks cannot make, too few frames
            for the shots, or a prompt longer than the text encoder reads.
    """
    config, notes = cinematographer.config, []
    if trajectory.num_shots != len(screenplay.shots):
        raise ValueError(
            f"the trajectory has {trajectory.num_shots} shots and the screenplay {len(screenplay.shots)}; "
            "give a trajectory of this screenplay"
        )
    height, width = size or (config.height, config.width)
    if height % cinematographer.block or width % cinematographer.block or min(height, width) <= 0:
        raise ValueError(f"height and width must be multiples of {cinematographer.block}, got {height}x{width}")
    whole = screenplay.layout()
    wanted = frames or min(whole.num_frames, config.frames)
    layout = whole.scaled(wanted)
    if frames and layout.num_frames != frames:
        notes.append(f"{layout.num_frames} frames instead of {frames}: films have 4t+1 frames")
    fps = screenplay.fps
    if layout.num_frames != whole.num_frames:
        fps = config.fps
        notes.append(f"{whole.num_frames} frames become {layout.num_frames} at {fps:g} fps, every camera path whole")
    if list(trajectory.spans) != list(layout.spans):
        if len(trajectory) != whole.num_frames:
            notes.append(f"the trajectory's {len(trajectory)} poses are spread over {layout.num_frames} frames")
        trajectory = trajectory.retimed(layout.spans, fps)
    trajectory = dataclasses.replace(
        trajectory.resized(width, height),
        captions=tuple(shot.caption for shot in screenplay.shots),
        global_caption=screenplay.caption,
    )
    tokenize_screenplay(screenplay, cinematographer.design.tokenizer, config.text_length)  # refuses what is too long
    return Take(screenplay, trajectory, layout), notes


@dataclasses.dataclass(frozen=True)
class Denoising:
    """How noise becomes latents; static in compiled programs.

    Attributes:
        steps: from noise to latents.
        guidance: scale of classifier-free guidance; 1 is none.
        solver: "unipc" or "euler".
        shot_lengths: latent frames of every shot, the same for all films, where attention is sparse; else None.
    """

    steps: int
    guidance: float
    solver: Literal["unipc", "euler"]
    shot_lengths: tuple[int, ...] | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Shoot:
    """Films of one batch on their way from noise to latents; `advance` takes them on.

    Attributes:
        prompt: what the controller reads of every film: text states context_BSD, their masks, shots and cameras.
        negative: the same for the prompt that guidance steers away from.
        state: the solver's state, all that the next step needs.
        done: how many steps were made.
        denoising: how they are made.
    """

    prompt: dict[str, jax.Array]
    negative: dict[str, jax.Array]
    state: flow.State
    done: int | jax.Array
    denoising: Denoising = dataclasses.field(metadata={"static": True})

    @property
    def latents_BTHWC(self) -> jax.Array:
        """The films as they are now, float32; noisy until all steps are done."""
        return self.state[0]


def generate(
    cinematographer: Cinematographer,
    takes: Sequence[Take],
    *,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    solver: Literal["unipc", "euler"] = "unipc",
) -> jax.Array:
    """Returns latents [B, T, H, W, C] of films of one length and size, all steps as one compiled program.

    Arguments, and what is raised, are those of `begin`.
    """
    shoot = begin(cinematographer, takes, seed=seed, steps=steps, guidance=guidance, solver=solver)
    return _denoise(cinematographer, shoot, None)[0]


def begin(
    cinematographer: Cinematographer,
    takes: Sequence[Take],
    *,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    solver: Literal["unipc", "euler"] = "unipc",
) -> Shoot:
    """Returns films before their first step: their prompts encoded, their noise drawn.

    A film depends on its take, the seed and its place in the batch, not on the other takes. The negative branch of
    guidance sees all of `config.negative` without windows, and the same camera (HoloCine wan_video_holocine.py).

    Args:
        cinematographer: who films them.
        takes: of `prepare`, of one length and size.
        seed: decides the noise.
        steps: from noise to film; None takes the controller's own number.
        guidance: strength of text guidance, 1 is none; None takes the controller's own.
        solver: how noise is followed to the film.

    Raises:
        ValueError: takes of different lengths or sizes, or with sparse attention of different shots.
    """
    design, config = cinematographer.design, cinematographer.config
    shapes = {(len(t.trajectory), t.trajectory.height, t.trajectory.width) for t in takes}
    if len(shapes) != 1:
        raise ValueError(f"films of one batch have one length and size, got {sorted(shapes)}")
    [(frames, height, width)] = shapes
    time, space = time_factor(design.vae_config), space_factor(design.vae_config)
    shape = ((frames - 1) // time + 1, height // space, width // space, config.dit.latent_channels)
    denoising = Denoising(
        steps=steps or config.steps,
        guidance=float(config.guidance if guidance is None else guidance),
        solver=solver,
        # Only sparse attention has lengths in its program; without them one program serves films with any cuts.
        shot_lengths=_shot_lengths(takes) if config.dit.self_attention == "sparse" else None,
    )
    # Random keys stay on the host like the rest of the inputs: the weights may lie on devices of many hosts.
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(len(takes)))
    key_data_B = np.asarray(jax.random.key_data(keys_B))
    return _begin(cinematographer, *_read(design, takes, time), key_data_B, shape, denoising)


def advance(cinematographer: Cinematographer, shoot: Shoot, steps: int) -> Shoot:
    """Returns the films `steps` steps further, or at their end; one compiled program for any step and number of steps.

    Steps made in several calls give the latents of `generate`, up to the rounding of another program.
    """
    done = int(shoot.done)
    end = min(done + steps, shoot.denoising.steps)
    # Arrays and not Python numbers, which would be constants of the program and make a new one for every part.
    state = _denoise(cinematographer, shoot, (jnp.int32(done), jnp.int32(end)))
    return dataclasses.replace(shoot, state=state, done=end)


def _shot_lengths(takes: Sequence[Take]) -> tuple[int, ...]:
    layouts = {tuple(int(n) for n in np.bincount(take.layout.latent_index_T)) for take in takes}
    if len(layouts) > 1:
        raise ValueError("sparse attention films takes with the same shot lengths together; film these one by one")
    return next(iter(layouts))


def _read(design: Design, takes: Sequence[Take], stride: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the networks read of takes, and of the negative prompt with the same shots and cameras; host arrays."""
    config, tokenizer = design.config, design.tokenizer
    rows = max(len(take.screenplay.shots) for take in takes)
    prompts = [tokenize_screenplay(take.screenplay, tokenizer, config.text_length) for take in takes]
    negative = tokenize_prompt(config.negative, tokenizer, config.text_length)
    common = {
        "shot_BT": np.stack([take.layout.latent_index_T for take in takes]),
        "camera_BTP": np.stack([trajectory_rows(config, take.trajectory, stride) for take in takes]),
    }
    return (
        common | collate_prompts(config, prompts, rows),
        common | collate_prompts(config, [negative] * len(takes), rows),
    )


@functools.partial(jax.jit, static_argnames=("shape", "denoising"))
def _begin(cinematographer, prompt, negative, key_data_B, shape, denoising) -> Shoot:
    config = cinematographer.config

    def with_states(batch):
        # Only the text encoder runs here, which all experts share; any name would do.
        network = _expert(cinematographer.design, "base")
        variables = {"params": {"text": cinematographer.text}}
        return batch | {"context_BSD": network.apply(variables, batch["ids_BS"], batch["real_BS"], method="context")}

    # One key a film: it has the same noise in every batch.
    keys_B = jax.random.wrap_key_data(key_data_B)
    noise_BTHWC = jax.vmap(lambda key: film_noise(key, shape, config.shared_noise))(keys_B)
    state = flow.begin(noise_BTHWC, sigmas(denoising.steps, config.shift), denoising.solver)
    return Shoot(with_states(prompt), with_states(negative), state, 0, denoising)


@jax.jit
def _denoise(cinematographer: Cinematographer, shoot: Shoot, steps: tuple[jax.Array, jax.Array] | None) -> flow.State:
    """The solver's state after the steps (i, j), or after all of them."""
    config, denoising = cinematographer.config, shoot.denoising

    def velocity(name, params):
        network = _expert(cinematographer.design, name)

        def run(x_BTHWC, sigma, batch):
            return network.apply(
                {"params": {"dit": params}},
                x_BTHWC,
                jnp.broadcast_to(sigma, x_BTHWC.shape[:1]),
                batch["context_BSD"],
                batch,
                shot_lengths=denoising.shot_lengths,
                method="velocity",
            )

        return guided(run, shoot.prompt, shoot.negative, denoising.guidance)

    high, low = cinematographer.design.experts
    experts = velocity(high, cinematographer.high), velocity(low, cinematographer.low)
    levels = sigmas(denoising.steps, config.shift)
    return flow.run_steps(experts, shoot.state, levels, config.boundary, denoising.solver, steps)


def _expert(design: Design, name: Expert) -> Controller:
    return Controller(design.config, design.text_config, name, design.execution)


def decode(cinematographer: Cinematographer, latents_BTHWC: jax.Array) -> Iterator[np.ndarray]:
    """Yields frames [B, n, H, W, 3] uint8 as they are decoded: 1, then 4 per latent frame.

    Memory does not grow with the length of the film.
    """
    vae = WanVAE(cinematographer.design.vae_config, cinematographer.design.execution)
    for chunk in decode_chunks(vae, {"params": cinematographer.vae}, latents_BTHWC):
        # Values go to the nearest level; HoloCine cuts them off, which darkens a film by half a level on average.
        yield np.asarray(jnp.round((chunk + 1) * 127.5).astype(jnp.uint8))
