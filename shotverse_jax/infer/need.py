"""What a film needs of its devices, memory and operations, by arithmetic alone: nothing is loaded or compiled.

`infer/fits.py` compares it with the memory that devices have.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from shotverse_jax.config import (
    CONTROLLERS,
    TEXT_ENCODERS,
    VAES,
    ControllerConfig,
    UMT5Config,
    WanVAEConfig,
    controller_14b,
)
from shotverse_jax.cost import flops
from shotverse_jax.flow.schedule import high_noise_steps, sigmas
from shotverse_jax.models.wan_vae import space_factor, time_factor
from shotverse_jax.models.wan_vae_stream import LARGEST, TILE, TILE_STRIDE, tile_starts
from shotverse_jax.nn.quantized import quantize
from shotverse_jax.parallel.rules import spec
from shotverse_jax.weights import Expert, abstract, experts_of, find
from shotverse_jax.weights.folder import read_config
from shotverse_jax.weights.trees import flatten

GIB = 1 << 30

Offload = Literal["none", "text", "experts"]

WAITING: dict[str, tuple[str, ...]] = {"none": (), "text": ("text",), "experts": ("text", "high", "low")}
"""The weights that wait in the memory of the host between their uses, for each value of `offload`."""

VAE_ARRAYS, VAE_ARRAYS_FLOAT32, VAE_ARRAYS_CPU = 20, 72, 22
"""The VAE decoder's memory, in arrays of the finest resolution; the second on GPUs in float32, where XLA's search for
the fastest convolutions takes more; the third on a CPU, by `benchmarks.memory`. An H200 had 5.75 and 41 GiB at 480x832
(benchmarks/records/nvidia_h200.json, section vae)."""


CPU_BASE = 700_000_000
"""Bytes of this program itself with JAX, on a CPU, where they share the memory with a film."""

CPU_FRAMES = 6
"""Bytes that a CPU's memory holds of a pixel of a film: its frames as they come, and in one array."""


@dataclasses.dataclass(frozen=True)
class Networks:
    """The networks of a controller.

    Attributes:
        config: of the controller.
        text: of its text encoder.
        vae: of its video autoencoder.
        experts: the architectures of the two experts; "base" is one before its cameras.
    """

    config: ControllerConfig
    text: UMT5Config
    vae: WanVAEConfig
    experts: tuple[Expert, Expert] = ("high", "low")

    @classmethod
    def of(cls, name_or_folder: str | Path) -> "Networks":
        """The networks of a controller by its folder or name; only configs are read.

        name_or_folder: a folder; a shipped controller; a preset; "paper", ShotVerse's; "holocine", both experts as
            HoloCine published them, without cameras.

        Raises:
            ValueError: there is no such folder or name.
        """
        known = {"paper": controller_14b, "holocine": controller_14b, **CONTROLLERS}
        if str(name_or_folder) in known and not Path(name_or_folder).is_dir():
            config = known[str(name_or_folder)]()
            experts = ("base", "base") if str(name_or_folder) == "holocine" else ("high", "low")
        else:
            config = read_config(find("controller", name_or_folder), ControllerConfig)
            experts = experts_of(name_or_folder)
        return dataclasses.replace(cls.of_config(config), experts=experts)

    @classmethod
    def of_config(cls, config: ControllerConfig) -> "Networks":
        """The networks that a controller's config names. Raises ValueError as `of`."""
        text = _part("text_encoder", config.text, UMT5Config, TEXT_ENCODERS)
        return cls(config, text, _part("vae", config.vae, WanVAEConfig, VAES))

    def sparse(self) -> "Networks":
        """The same networks with HoloCine's attention between shots."""
        dit = dataclasses.replace(self.config.dit, self_attention="sparse")
        return dataclasses.replace(self, config=dataclasses.replace(self.config, dit=dit))

    @property
    def block(self) -> int:
        """Height and width of a film must be multiples of this many pixels."""
        return space_factor(self.vae) * max(self.config.dit.patch[1:])


def _part(kind: str, name: str, cls: type, presets: Mapping[str, type]) -> Any:
    """The config of a part of a controller: that of its folder, or of the preset of its name."""
    return presets[name]() if name in presets else read_config(find(kind, name), cls)


@dataclasses.dataclass(frozen=True)
class Request:
    """The film that is asked for.

    Attributes:
        frames: 4t+1 of them.
        height, width: in pixels.
        steps: from noise to film.
        guidance: its strength; 1 is none, and then every step is one forward pass in place of two.
        shots: how many shots of about one length; they count where attention is sparse.
    """

    frames: int
    height: int
    width: int
    steps: int = 50
    guidance: float = 5.0
    shots: int = 1

    @classmethod
    def of(cls, networks: Networks, frames: int | None = None, size: tuple[int, int] | None = None, **rest: Any):
        """The request with the controller's own values where none are given (None).

        Raises:
            ValueError: frames that are not 4t+1, a size that the networks cannot make, or fewer latents than shots.
        """
        config = networks.config
        height, width = size or (config.height, config.width)
        values = {"steps": config.steps, "guidance": config.guidance}
        values |= {name: value for name, value in rest.items() if value is not None}
        request = cls(frames or config.frames, height, width, **values)
        stride, block = time_factor(networks.vae), networks.block
        if (request.frames - 1) % stride:
            raise ValueError(f"a film has {stride}t+1 frames, got {request.frames}")
        if height % block or width % block or min(height, width) <= 0:
            raise ValueError(f"height and width must be multiples of {block}, got {height}x{width}")
        if not 0 < request.shots <= request.latents(networks)[0]:
            raise ValueError(f"{request.frames} frames cannot be divided into {request.shots} shots")
        return request

    def latents(self, networks: Networks) -> tuple[int, int, int]:
        """Frames, height and width of the film's latents."""
        space = space_factor(networks.vae)
        return (self.frames - 1) // time_factor(networks.vae) + 1, self.height // space, self.width // space

    def tokens(self, networks: Networks) -> int:
        """Tokens of the video transformer."""
        return math.prod(n // p for n, p in zip(self.latents(networks), networks.config.dit.patch, strict=True))

    def shot_lengths(self, networks: Networks) -> tuple[int, ...]:
        """Latent frames of every shot."""
        each, more = divmod(self.latents(networks)[0], self.shots)
        return tuple(each + (shot < more) for shot in range(self.shots))


@dataclasses.dataclass(frozen=True)
class Place:
    """Where and how the networks run.

    Attributes:
        sizes: devices along each axis of the mesh; an axis that is not named has one.
        dtype: of weights and activations.
        offload: what waits on the host between its uses, as `Cinematographer.load` takes it.
        quantize: the type of the experts' weights, as `Cinematographer.quantized` takes it; None leaves them in dtype.
        platform: of the devices. Programs of a TPU need more memory beside the weights than those of a GPU; the memory
            of a CPU also holds the decoded frames, and this program.
    """

    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    dtype: str = "bfloat16"
    offload: Offload = "none"
    quantize: str | None = None
    platform: Literal["gpu", "tpu", "cpu"] = "gpu"

    @property
    def kind(self) -> str:
        """The types of its weights in words, for sentences."""
        return f"{self.dtype}, its experts in {self.quantize}," if self.quantize else self.dtype

    def along(self, *axes: str) -> int:
        """Devices along these axes together."""
        return math.prod(self.sizes.get(axis, 1) for axis in axes)

    @property
    def devices(self) -> int:
        """All devices of the mesh."""
        return math.prod(self.sizes.values())

    @property
    def films(self) -> int:
        """Films that are made at the same time."""
        return self.along("data", "fsdp")


# ---------------------------------------------------------------------------------------------------- memory


@dataclasses.dataclass(frozen=True)
class Need:
    """Bytes that a film needs of the device that has most to hold.

    Attributes:
        weights: of every part: high, low, text, vae.
        waiting: the parts that wait on the host between their uses.
        temporaries: what is computed, by the phases of a film: text, denoise, decode.
        base: what is there beside them.
    """

    weights: Mapping[str, int]
    waiting: tuple[str, ...]
    temporaries: Mapping[str, int]
    base: int = 0

    @property
    def phases(self) -> dict[str, int]:
        """Bytes that are on the device in each phase, weights included."""
        always = sum(size for part, size in self.weights.items() if part not in self.waiting)
        comes = {part: self.weights[part] if part in self.waiting else 0 for part in ("high", "low", "text")}
        comes = {"text": comes["text"], "denoise": max(comes["high"], comes["low"]), "decode": 0}
        return {phase: self.base + always + comes[phase] + size for phase, size in self.temporaries.items()}

    @property
    def total(self) -> int:
        """Bytes of the phase that needs most."""
        return max(self.phases.values())


def need(networks: Networks, request: Request, place: Place) -> Need:
    """The bytes that a film needs of a device; weights are exact, temporaries an estimate.

    Raises:
        ValueError: heads, tokens or weights that do not divide over the mesh.
    """
    _check_mesh(networks, request, place)
    temporaries = {
        "text": _text_bytes(networks.text, networks.config.text_length, place),
        "denoise": _denoise_bytes(networks, request, place),
        "decode": _decode_bytes(networks.vae, request, place),
    }
    base = CPU_BASE if place.platform == "cpu" else 0
    return Need(weights(networks, place), WAITING[place.offload], temporaries, base)


def weights(networks: Networks, place: Place) -> dict[str, int]:
    """Bytes of the weights of every part on one device. Raises ValueError as `need`."""
    sizes, dtype = place.sizes, place.dtype
    experts = zip(("high", "low"), networks.experts, strict=True)
    small = place.quantize
    found = {part: held("controller", networks.config, sizes, dtype, expert, small) for part, expert in experts}
    # Every process has the whole VAE on one device.
    return found | {
        "text": held("text_encoder", networks.text, sizes, dtype),
        "vae": held("vae", networks.vae, {}, dtype),
    }


def held(
    kind: str,
    config: Any,
    sizes: Mapping[str, int],
    dtype: str,
    expert: str | None = None,
    quantized: str | None = None,
) -> int:
    """Bytes of a network's weights on one device of a mesh.

    sizes: devices along the axes of the mesh; {} for one device.
    quantized: the type that `nn.quantized.quantize` gives to the weights of its blocks; None leaves all in dtype.

    Raises:
        ValueError: a large array that the mesh cannot split.
    """
    split = {axis: size for axis, size in sizes.items() if size > 1}
    total = 0
    for path, shape, size in _leaves(kind, config, dtype, expert, quantized):
        parts = tuple(spec(path, shape, split)) if split else ()
        total += size * (math.prod(shape) // math.prod(split[axis] for axis in parts if axis is not None))
    return total


@functools.cache
def _leaves(
    kind: str, config: Any, dtype: str, expert: str | None, quantized: str | None
) -> tuple[tuple[str, tuple[int, ...], int], ...]:
    """(path, shape, bytes of a number) of every leaf."""
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), abstract(kind, config, expert=expert))
    if quantized:
        shapes = jax.eval_shape(functools.partial(quantize, name=quantized), shapes)
    return tuple((path, leaf.shape, leaf.dtype.itemsize) for path, leaf in flatten(shapes).items())


def _check_mesh(networks: Networks, request: Request, place: Place) -> None:
    heads, tokens, sequence = networks.config.dit.num_heads, request.tokens(networks), place.along("sequence")
    if tokens % sequence:
        raise ValueError(f"{tokens} tokens do not divide over sequence={sequence} devices; choose a divisor")
    if heads % place.along("sequence", "tensor"):
        raise ValueError(f"{heads} heads do not divide over sequence x tensor = {place.along('sequence', 'tensor')}")


def _text_bytes(config: UMT5Config, text: int, place: Place) -> int:
    """Of the text encoder: a layer's states and hidden layer, and the float32 scores of attention."""
    states = text * (3 * config.hidden_size + 3 * config.mlp_size) * jnp.dtype(place.dtype).itemsize
    return states + 2 * 4 * config.num_heads * text**2


def _denoise_bytes(networks: Networks, request: Request, place: Place) -> int:
    """Of a denoising step with an attention kernel that stores no scores, of one film on the devices of its tokens.

    A step needs most in a block, either in its MLP (tokens before and after the norm, the hidden layer before and after
    its activation) or in its attention (tokens, their norm, q, k, v, q and k rotated, the result). To that come the
    weights of the block, gathered from all devices or cut out of the stack; masks and rotary tables; the solver's
    arrays. Guidance adds nothing, because its two passes run one after the other.

    GPU: with four blocks an H200 had 11.2 GiB at 249 frames of 480x832 in bfloat16, their weights included
    (benchmarks/records/nvidia_h200.json, section forward); weights and this function say 11.7.
    TPU: the compiler of v5p needs 17.5 GiB for the same film and the paper's network, and 8.7 for 81 frames; it copies
    a stack of matrices into another layout. This function says 17.6 and 9.8.
    """
    config, size = networks.config, jnp.dtype(place.dtype).itemsize
    dit, tensor = config.dit, place.along("tensor")
    tokens = request.tokens(networks) // place.along("sequence")
    mlp, mixing = 2 * dit.mlp_size // tensor, 6 * dit.hidden_size // tensor
    states = tokens * (2 * dit.hidden_size + max(mlp, mixing)) * size
    if place.platform == "tpu":
        stack = dit.num_layers * dit.hidden_size * dit.mlp_size * size
        states = int(TPU_STATES * states) + stack // place.along("fsdp", "tensor")
    tables = tokens * (2 * 4 * dit.head_dim // 2 + config.text_length * (1 + size))
    solver = 10 * 4 * math.prod(request.latents(networks)) * dit.latent_channels
    return states + _block_bytes(networks, place) + tables + solver


TPU_STATES = 1.5
"""What a TPU's programs hold of the tokens' states, over what a GPU's do (`_denoise_bytes`)."""


def _block_bytes(networks: Networks, place: Place) -> int:
    """The weights of one block of an expert on a device that has gathered them from the mesh's fsdp axis."""
    sizes = {"tensor": place.along("tensor")}
    return (
        held("controller", networks.config, sizes, place.dtype, networks.experts[0]) // networks.config.dit.num_layers
    )


def _decode_bytes(config: WanVAEConfig, request: Request, place: Place) -> int:
    """Of the decoder for one latent frame, or one tile of it."""
    height, width, _ = _tiles(config, request)
    pixels = time_factor(config) * height * width
    arrays = VAE_ARRAYS_CPU if place.platform == "cpu" else VAE_ARRAYS
    if (place.dtype, place.platform) == ("float32", "gpu"):
        arrays = VAE_ARRAYS_FLOAT32
    shown = CPU_FRAMES * request.frames * request.height * request.width if place.platform == "cpu" else 0
    return shown + arrays * pixels * config.base_size * jnp.dtype(place.dtype).itemsize


def _tiles(config: WanVAEConfig, request: Request) -> tuple[int, int, int]:
    """Height and width in pixels of what is decoded at a time, and how many of these make a frame."""
    space = space_factor(config)
    latent = request.height // space, request.width // space
    if math.prod(latent) <= LARGEST:
        return request.height, request.width, 1
    axes = zip(latent, TILE, TILE_STRIDE, strict=True)
    count = math.prod(len(tile_starts(length, tile, stride)) for length, tile, stride in axes)
    height, width = (min(length, tile) * space for length, tile in zip(latent, TILE, strict=True))
    return height, width, count


# ---------------------------------------------------------------------------------------------------- operations


def work(networks: Networks, request: Request) -> dict[str, float]:
    """Floating-point operations of one film by its phases: text, denoise, decode."""
    config = networks.config
    passes = 1 if request.guidance == 1 else 2
    levels = sigmas(request.steps, config.shift)
    high = high_noise_steps(levels, config.boundary)
    shots, sides = request.shot_lengths(networks), request.latents(networks)
    each = [
        flops.forward(flops.dit(config.expert(expert), *sides, config.text_length, shots=shots))
        for expert in networks.experts
    ]
    height, width, tiles = _tiles(networks.vae, request)
    return {
        # The negative prompt is encoded also where guidance does not ask for it.
        "text": 2 * flops.umt5(networks.text, config.text_length).forward,
        "denoise": passes * (high * each[0] + (request.steps - high) * each[1]),
        "decode": tiles * flops.vae(networks.vae, request.frames, height, width)[1].forward,
    }
