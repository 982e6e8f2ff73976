"""From a planned trajectory to a film: noise to latents in one jitted loop over both experts, latents to frames."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tokenizers import Tokenizer

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import ControllerConfig, Execution, UMT5Config, WanVAEConfig
from shotverse_jax.flow.guidance import guided
from shotverse_jax.flow.noise import film_noise
from shotverse_jax.flow.schedule import sigmas
from shotverse_jax.flow.solver import sample
from shotverse_jax.inputs.cameras import trajectory_rows
from shotverse_jax.inputs.prompt import collate_prompts, tokenize_prompt, tokenize_screenplay
from shotverse_jax.models.controller import Controller
from shotverse_jax.models.wan_vae import WanVAE, space_factor, time_factor
from shotverse_jax.models.wan_vae_stream import decode_chunks
from shotverse_jax.parallel.sequence import spread
from shotverse_jax.screenplay import Layout, Screenplay
from shotverse_jax.weights import Expert, load


@dataclasses.dataclass(frozen=True)
class Cinematographer:
    """A controller ready to use: both experts, the text encoder with its tokenizer, and the VAE.

    experts: the architectures of `high` and `low`; either may be "base", the model before its cameras.
    """

    config: ControllerConfig
    high: dict
    low: dict
    text_config: UMT5Config
    text: dict
    tokenizer: Tokenizer
    vae_config: WanVAEConfig
    vae: dict
    execution: Execution = Execution()
    experts: tuple[Expert, Expert] = ("high", "low")

    @classmethod
    def load(
        cls,
        name_or_folder: str = "controller_small",
        mesh: Mesh | None = None,
        dtype: Literal["float32", "bfloat16"] = "float32",
    ) -> "Cinematographer":
        """By the name of a shipped controller or by folder, one that `shotverse convert` wrote too.

        mesh: the devices that experts and text encoder are split over; with an axis `sequence`, the film's tokens too.
        dtype: of activations, and with a mesh of the weights.

        Raises:
            ValueError: it is not there or does not fit.
        """
        place, execution = {"mesh": mesh, "dtype": dtype}, Execution(dtype=dtype)
        config, high, _ = load("controller", name_or_folder, expert="high", **place)
        _, low, _ = load("controller", name_or_folder, expert="low", **place)
        execution = execution if mesh is None else spread(execution, mesh)
        text, vae = load("text_encoder", config.text, **place), load("vae", config.vae)
        return cls(config, high, low, *text, vae.config, vae.params, execution)

    @property
    def block(self) -> int:
        """Height and width of a film must be multiples of this, pixels."""
        return space_factor(self.vae_config) * max(self.config.dit.patch[1:])


@dataclasses.dataclass(frozen=True)
class Take:
    """What is to be filmed: the screenplay, and its trajectory over the film's own frames and image size."""

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
    """Fits a trajectory to the film that will be made; → (take, what was changed, one sentence each).

    frames: of the film, snapped to 4t+1; None: the screenplay's, or as many as the controller was trained on where that
    is fewer. size: (height, width) in pixels; None: what the controller was trained on. Every shot keeps its share of
    the film and its whole camera path, so that a shorter film is a faster one.

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
    tokenize_screenplay(screenplay, cinematographer.tokenizer, config.text_length)
    return Take(screenplay, trajectory, layout), notes


def generate(
    cinematographer: Cinematographer,
    takes: Sequence[Take],
    *,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    solver: str = "unipc",
) -> jax.Array:
    """Latents [B, T, H, W, C] of films of one length and size; one compiled program for all of them.

    A film depends on its take, the seed and its place in the batch, not on the other takes. The negative branch of
    guidance sees all of `config.negative` without windows, and the same camera (HoloCine wan_video_holocine.py).

    Raises:
        ValueError: takes of different lengths or sizes, or with sparse attention of different shots.
    """
    config = cinematographer.config
    shapes = {(len(t.trajectory), t.trajectory.height, t.trajectory.width) for t in takes}
    if len(shapes) != 1:
        raise ValueError(f"films of one batch have one length and size, got {sorted(shapes)}")
    layouts = {tuple(np.bincount(take.layout.latent_index_T)) for take in takes}
    lengths = tuple(int(n) for n in next(iter(layouts))) if config.dit.self_attention == "sparse" else None
    if lengths is not None and len(layouts) > 1:
        raise ValueError("sparse attention films takes with the same shot lengths together; film these one by one")

    rows = max(len(take.screenplay.shots) for take in takes)
    read = functools.partial(collate_prompts, config, rows=rows)
    prompts = [tokenize_screenplay(t.screenplay, cinematographer.tokenizer, config.text_length) for t in takes]
    negative = tokenize_prompt(config.negative, cinematographer.tokenizer, config.text_length)
    time = time_factor(cinematographer.vae_config)
    common = {
        "shot_BT": np.stack([take.layout.latent_index_T for take in takes]),
        "camera_BTP": np.stack([trajectory_rows(config, take.trajectory, time) for take in takes]),
    }
    [(frames, height, width)] = shapes
    space = space_factor(cinematographer.vae_config)
    shape = ((frames - 1) // time + 1, height // space, width // space, config.dit.latent_channels)
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(len(takes)))
    return _sample(
        cinematographer.high,
        cinematographer.low,
        cinematographer.text,
        common | read(prompts),
        common | read([negative] * len(takes)),
        np.asarray(jax.random.key_data(keys_B)),  # of the host, like the batch: the experts may lie on many
        config=config,
        text_config=cinematographer.text_config,
        execution=cinematographer.execution,
        names=cinematographer.experts,
        shape=shape,
        steps=steps or config.steps,
        guidance=float(config.guidance if guidance is None else guidance),
        solver=solver,
        lengths=lengths,
    )


@functools.partial(
    jax.jit,
    static_argnames=("config", "text_config", "execution", "names", "shape", "steps", "guidance", "solver", "lengths"),
)
def _sample(
    high, low, text, batch, negative, key_data_B,
    *, config, text_config, execution, names, shape, steps, guidance, solver, lengths,
):  # fmt: skip
    experts = [Controller(config, text_config, name, execution) for name in names]

    def condition(batch):
        variables = {"params": {"text": text}}
        context_BSD = experts[0].apply(variables, batch["ids_BS"], batch["real_BS"], method="context")
        return batch, context_BSD

    def velocity(expert, params):
        def run(x_BTHWC, sigma, condition):
            batch, context_BSD = condition
            sigma_B = jnp.broadcast_to(sigma, x_BTHWC.shape[:1])
            return expert.apply(
                {"params": {"dit": params}},
                x_BTHWC,
                sigma_B,
                context_BSD,
                batch,
                shot_lengths=lengths,
                method="velocity",
            )

        return guided(run, condition_positive, condition_negative, guidance)

    condition_positive, condition_negative = condition(batch), condition(negative)
    keys_B = jax.random.wrap_key_data(key_data_B)
    noise_BTHWC = jax.vmap(lambda key: film_noise(key, shape, config.shared_noise))(keys_B)
    schedule = sigmas(steps, config.shift)
    velocities = [velocity(expert, params) for expert, params in zip(experts, (high, low), strict=True)]
    return sample(*velocities, noise_BTHWC, schedule, config.boundary, solver)


def decode(cinematographer: Cinematographer, latents_BTHWC: jax.Array) -> Iterator[np.ndarray]:
    """Frames [B, n, H, W, 3] uint8 as they are decoded: 1, then 4 per latent frame; memory does not grow with T."""
    vae = WanVAE(cinematographer.vae_config, cinematographer.execution)
    for chunk in decode_chunks(vae, {"params": cinematographer.vae}, latents_BTHWC):
        yield np.asarray(jnp.round((chunk + 1) * 127.5).astype(jnp.uint8))
