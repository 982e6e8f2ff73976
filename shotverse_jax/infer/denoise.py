"""Noise to latents, through both experts, and latents to frames: the compiled programs of a film.

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
from jax.sharding import NamedSharding, PartitionSpec

from shotverse_jax import lora
from shotverse_jax.config import ControllerConfig
from shotverse_jax.flow import solver as flow
from shotverse_jax.flow.guidance import guided, join
from shotverse_jax.flow.noise import film_noise
from shotverse_jax.flow.schedule import high_noise_steps, sigmas
from shotverse_jax.infer.cinematographer import Adapters, Cinematographer, Design
from shotverse_jax.infer.composing import Composing, Rule, compose, of_linears
from shotverse_jax.infer.samples import keys_of, seeds_of
from shotverse_jax.infer.sampling import Denoising, Sampling
from shotverse_jax.infer.take import Take
from shotverse_jax.inputs.cameras import trajectory_rows
from shotverse_jax.inputs.planner_text import bucket
from shotverse_jax.inputs.prompt import collate_prompts
from shotverse_jax.models.controller import Controller
from shotverse_jax.models.wan_vae import WanVAE, space_factor, time_factor
from shotverse_jax.models.wan_vae_stream import LARGEST, decode_chunks, decode_tiled
from shotverse_jax.parallel.mesh import batch_sharding
from shotverse_jax.views.preview import Progress
from shotverse_jax.weights import Expert

SHOT_BUCKET = 4
"""The windows of a prompt, one per shot, are filled up to a multiple of this."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Shoot:
    """Films of one batch on their way from noise to latents; `advance` takes them on.

    Attributes:
        prompt: what the controller reads of every film: text states context_BSD, their masks, shots and cameras.
        negative: the same for the prompt that guidance steers away from.
        state: the solver's state, all that the next step needs.
        composing: how adapters are weighted in shots and frames; None where each has one weight or there are none. Its
            memory is then the last entry of the state.
        done: how many steps were made.
        denoising: how they are made.
    """

    prompt: dict[str, jax.Array]
    negative: dict[str, jax.Array]
    state: flow.State
    composing: Composing | None
    done: int = dataclasses.field(metadata={"static": True})
    denoising: Denoising = dataclasses.field(metadata={"static": True})

    @property
    def latents_BTHWC(self) -> jax.Array:
        """The films as they are now, float32; noisy until all steps are done."""
        return self.state[0]


def generate(
    cinematographer: Cinematographer,
    takes: Sequence[Take],
    *,
    seed: int | Sequence[int] = 0,
    samples: Sequence[int] | None = None,
    progress: Progress | None = None,
    **sampling: Any,
) -> jax.Array:
    """Returns latents [B, T, H, W, C] of films of one length and size.

    Both experts run one after the other. Where experts wait on the host each comes to the devices once.

    Args:
        cinematographer, takes, seed, samples: as `begin` takes them.
        progress: called with ("denoise", steps done, steps) after every step; None (default) for no calls.
        sampling: steps, guidance, solver, rule and so on, as `begin` takes them.

    Raises:
        ValueError: as `begin`.
    """
    return shot(cinematographer, takes, seed=seed, samples=samples, progress=progress, **sampling).latents_BTHWC


def shot(
    cinematographer: Cinematographer, takes: Sequence[Take], *, progress: Progress | None = None, **sampling: Any
) -> Shoot:
    """Returns films after their last step; arguments and errors as of `generate`."""
    shoot = begin(cinematographer, takes, **sampling)
    return _until(cinematographer, shoot, shoot.denoising.steps, progress)


def begin(
    cinematographer: Cinematographer,
    takes: Sequence[Take],
    *,
    seed: int | Sequence[int] = 0,
    samples: Sequence[int] | None = None,
    **sampling: Any,
) -> Shoot:
    """Returns films before their first step: their prompts encoded, their noise drawn.

    A film depends on its take and its noise, not on the other takes. The negative branch of guidance sees all of
    `config.negative` without windows, and the same camera (HoloCine wan_video_holocine.py).

    Args:
        cinematographer: who films them.
        takes: of `prepare`, of one length and size.
        seed: decides the noise; one for all films, or one for each.
        samples: which sample of its seed each film is. None (default) makes them samples 0, 1, … of one seed, or with a
            seed for each film sample 0 of each.
        sampling: steps, guidance, solver, rule and so on: the fields of `infer.sampling.Sampling`.

    Raises:
        ValueError: a number outside its range in `limits`; a range that is not 0 <= first < last <= 1; steps to skip
            by a controller whose `velocity_change` was not measured; takes of different lengths or sizes, or with
            sparse attention of different shots; another number of seeds than of takes; a number of films that does not
            divide over the mesh; shots that ask for adapters that are not there.
    """
    design, config, options = cinematographer.design, cinematographer.config, Sampling(**sampling)
    shapes = {(len(t.trajectory), t.trajectory.height, t.trajectory.width) for t in takes}
    if len(shapes) != 1:
        raise ValueError(f"films of one batch have one length and size, got {sorted(shapes)}")
    [(frames, height, width)] = shapes
    time, space = time_factor(design.vae_config), space_factor(design.vae_config)
    shape = ((frames - 1) // time + 1, height // space, width // space, config.dit.latent_channels)
    denoising = options.denoising(config, [take.shot_lengths for take in takes])
    if samples is None:
        samples = range(len(takes)) if isinstance(seed, int | np.integer) else [0] * len(takes)
    keys_B = keys_of(seeds_of(seed, len(takes)), samples)
    # Random keys stay on the host like the rest of the inputs: the weights may lie on devices of many hosts.
    inputs = (*_read(config, takes, time), np.asarray(jax.random.key_data(keys_B)))
    if design.mesh is not None and len(takes) % cinematographer.parts == 0:
        inputs = jax.device_put(inputs, batch_sharding(design.mesh))
    composing = _composing(cinematographer, takes, options.rule, options.ramp)
    return _begin(cinematographer.weights("text"), inputs, composing, design, shape, denoising)


def _composing(crew: Cinematographer, takes: Sequence[Take], rule: Rule | None, ramp: int) -> Composing | None:
    """How the adapters of takes are weighted; None where those that count are the same everywhere, or none counts."""
    adapters, asked = crew.adapters, any(shot.loras for take in takes for shot in take.screenplay.shots)
    if not asked and (adapters is None or all(adapters.always)):
        return None
    names, always = ((), ()) if adapters is None else (adapters.names, adapters.always)
    composing = compose(takes, names, always, _rows(takes), rule, ramp)
    if not np.any(composing.strength_BKN * np.asarray(adapters.weights_N)):
        return None
    whole = adapters is not None and (adapters.high.deltas or adapters.low.deltas)
    if whole and any(take is not takes[0] for take in takes):
        raise ValueError(
            "an adapter that changes whole parameters has one weight for all films of a batch; film these one by one"
        )
    mesh = crew.design.mesh
    return composing if mesh is None else jax.device_put(composing, NamedSharding(mesh, PartitionSpec()))


def advance(cinematographer: Cinematographer, shoot: Shoot, steps: int) -> Shoot:
    """Returns the films `steps` steps further, or at their end; one compiled program of each expert for any steps.

    Steps made in several calls give the latents of `generate`.
    """
    return _until(cinematographer, shoot, min(shoot.done + steps, shoot.denoising.steps))


def _always_count(adapters: Adapters) -> bool:
    """Whether an adapter that counts in every frame has a weight."""
    return bool(np.any(np.asarray(adapters.weights_N)[list(adapters.always)]))


def _until(crew: Cinematographer, shoot: Shoot, end: int, progress: Progress | None = None) -> Shoot:
    """The films after step `end` - 1. progress: as `generate`; with it every step is a call of its own."""
    switch, steps = _switch(crew.config, shoot.denoising), shoot.denoising.steps
    params = None
    for part, stop in (("high", min(switch, end)), ("low", end)):
        del params  # an expert that waits on the host goes before the other one comes
        params = crew.weights(part) if shoot.done < stop else None
        while shoot.done < stop:
            before, shoot = shoot, _run(crew, part, params, shoot, stop if progress is None else shoot.done + 1)
            if progress is not None:
                # A step is waited for while the next one runs already.
                jax.block_until_ready(before.state)
                progress("denoise", before.done, steps)
    if progress is not None:
        jax.block_until_ready(shoot.state)
        progress("denoise", shoot.done, steps)
    return shoot


def _switch(config: ControllerConfig, denoising: Denoising) -> int:
    """How many of the steps the expert of high noise makes."""
    return high_noise_steps(sigmas(denoising.steps, config.shift), config.boundary)


def _run(crew: Cinematographer, part: Literal["high", "low"], params: dict, shoot: Shoot, end: int) -> Shoot:
    """The films after step `end` - 1, all along one expert of `crew`, whose weights are `params`."""
    design = crew.design
    adapters = None
    # Without any weight the base's own program runs, whose film is that of the base to the last bit.
    if shoot.composing is not None or (crew.adapters is not None and _always_count(crew.adapters)):
        adapters = getattr(crew.adapters, part), crew.adapters.weights_N
    expert = design.experts[("high", "low").index(part)]
    # Arrays and not Python numbers, which would be constants of the program and make a new one for every part.
    steps = np.int32(shoot.done), np.int32(end)
    # The number of steps that were made is no part of the program either.
    state = _denoise(params, adapters, dataclasses.replace(shoot, done=0), steps, design, expert)
    return dataclasses.replace(shoot, state=state, done=end)


def _read(config: ControllerConfig, takes: Sequence[Take], stride: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the networks read of takes, and of their negative prompts with the same shots and cameras; host arrays."""
    rows = _rows(takes)
    common = {
        "shot_BT": np.stack([take.layout.latent_index_T for take in takes]),
        "camera_BTP": np.stack([trajectory_rows(config, take.trajectory, stride) for take in takes]),
    }
    return (
        common | collate_prompts(config, [take.prompt for take in takes], rows),
        common | collate_prompts(config, [take.negative for take in takes], rows),
    )


def _rows(takes: Sequence[Take]) -> int:
    """How many shots the arrays of takes have: more than there are change nothing, few numbers mean few programs."""
    return bucket(max(len(take.screenplay.shots) for take in takes), SHOT_BUCKET)


@functools.partial(jax.jit, static_argnames=("design", "shape", "denoising"))
def _begin(text, inputs, composing, design, shape, denoising) -> Shoot:
    """inputs: of prompts and of negative prompts, as `_read` makes them, and the data of a key for each film."""
    config, (prompt, negative, key_data_B) = design.config, inputs

    def with_states(batch):
        # Only the text encoder runs here, which all experts share; any name would do.
        network = _expert(design, "base")
        variables = {"params": {"text": text}}
        return batch | {"context_BSD": network.apply(variables, batch["ids_BS"], batch["real_BS"], method="context")}

    # One key a film: it has the same noise in every batch.
    keys_B = jax.random.wrap_key_data(key_data_B)
    noise_BTHWC = jax.vmap(lambda key: film_noise(key, shape, config.shared_noise))(keys_B)
    levels = sigmas(denoising.steps, config.shift)
    state = flow.begin(noise_BTHWC, levels, denoising.solver, bool(denoising.skipped))
    if composing is not None:
        state = (*state, composing.memory(denoising.steps))
    return Shoot(with_states(prompt), with_states(negative), state, composing, 0, denoising)


@functools.partial(jax.jit, static_argnames=("design", "expert"))
def _denoise(params, adapters, shoot, steps, design, expert) -> flow.State:
    """The solver's state after the steps (i, j) of one expert. adapters: None, or (`lora.Stacked`, weights_N)."""
    denoising, prompt, negative = shoot.denoising, shoot.prompt, shoot.negative
    network = _expert(design, expert)

    def weighted(batch):
        if adapters is None:
            return {"params": params}
        if (weight_BTN := batch.get("weight_BTN")) is None:
            return lora.weighted(params, *adapters)
        stacked, weights_N = adapters
        # Whole parameters cannot have a weight of their own in every frame, so they take the mean.
        mean_N = weights_N * weight_BTN.mean((0, 1))
        return lora.weighted(params, stacked, mean_N, of_linears(weights_N * weight_BTN, batch))

    def velocity(x_BTHWC, sigma, batch):
        return network.apply(
            {name: {"dit": tree} for name, tree in weighted(batch).items()},
            x_BTHWC,
            jnp.broadcast_to(sigma, x_BTHWC.shape[:1]),
            batch["context_BSD"],
            batch,
            shot_lengths=denoising.shot_lengths,
            method="velocity",
        )

    levels = sigmas(denoising.steps, design.config.shift)
    between = denoising.guidance_levels(levels)
    joined = _joined(prompt, negative) if denoising.one_pass else None

    def along(x_BTHWC, sigma, weight_BTN=None):
        more = {} if weight_BTN is None else {"weight_BTN": weight_BTN}
        both = None if joined is None else joined | join(more, more)
        return guided(velocity, prompt | more, negative | more, denoising.guidance, between, both)(x_BTHWC, sigma)

    remembers = shoot.composing is not None
    if remembers:
        along = shoot.composing.velocity(along, prompt["shot_BT"])
    return flow.run_expert(along, shoot.state, levels, denoising.solver, steps, denoising.skipped, remembers)


def _joined(prompt: dict[str, jax.Array], negative: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """What the network reads of prompts and their negatives as one batch; texts are filled up to one length."""
    length = max(batch["context_BSD"].shape[1] for batch in (prompt, negative))

    def filled(batch):
        more = length - batch["context_BSD"].shape[1]
        # No window has a place that was filled up, so that it changes nothing.
        return {
            "shot_BT": batch["shot_BT"],
            "camera_BTP": batch["camera_BTP"],
            "context_BSD": jnp.pad(batch["context_BSD"], ((0, 0), (0, more), (0, 0))),
            "window_BKS": jnp.pad(batch["window_BKS"], ((0, 0), (0, 0), (0, more))),
        }

    return join(filled(prompt), filled(negative))


def _expert(design: Design, name: Expert) -> Controller:
    return Controller(design.config, design.text_config, name, design.execution)


def measure_change(
    cinematographer: Cinematographer, takes: Sequence[Take], *, seed: int = 0, **sampling: Any
) -> np.ndarray:
    """How much the velocity changes from step to step, as a share of its size, [steps]; the first is 0.

    The mean over films, one batch; it is what `ControllerConfig.velocity_change` holds. Arguments as of `generate`.
    """
    shoot = begin(cinematographer, takes, seed=seed, solver="euler", **sampling)
    levels, before, changes = sigmas(shoot.denoising.steps, cinematographer.config.shift), None, []
    while shoot.done < shoot.denoising.steps:
        x_BTHWC, i = np.asarray(shoot.latents_BTHWC), shoot.done
        shoot = advance(cinematographer, shoot, 1)
        # An Euler step is the velocity times the distance of the levels.
        velocity = (np.asarray(shoot.latents_BTHWC) - x_BTHWC) / (levels[i + 1] - levels[i])
        moved = 0.0 if before is None else np.abs(velocity - before).mean() / np.abs(before).mean()
        changes.append(moved)
        before = velocity
    return np.array(changes)


def decode(cinematographer: Cinematographer, latents_BTHWC: jax.Array) -> Iterator[np.ndarray]:
    """Yields frames [B, n, H, W, 3] uint8 as they are decoded: 1, then 4 per latent frame.

    Memory does not grow with the length of the film. Frames of more than LARGEST latent pixels are decoded in tiles,
    as HoloCine does all; then they come at once, and need room for the whole film on the host.
    """
    vae = WanVAE(cinematographer.design.vae_config, cinematographer.vae_execution)
    variables = {"params": cinematographer.vae}
    if latents_BTHWC.shape[2] * latents_BTHWC.shape[3] > LARGEST:
        chunks = iter([decode_tiled(vae, variables, latents_BTHWC)])
    else:
        chunks = decode_chunks(vae, variables, latents_BTHWC)
    for chunk in chunks:
        # Values go to the nearest level; HoloCine cuts them off, which darkens a film by half a level on average.
        yield np.asarray(jnp.round((chunk + 1) * 127.5).astype(jnp.uint8))
