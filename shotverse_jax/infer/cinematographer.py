"""A controller ready to use: the weights of its networks, where they are, and how they run."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh
from tokenizers import Tokenizer

from shotverse_jax import limits
from shotverse_jax.config import ControllerConfig, Execution, UMT5Config, WanVAEConfig
from shotverse_jax.infer.execution import choose
from shotverse_jax.infer.fits import device_memory, offload_for
from shotverse_jax.infer.need import WAITING, Networks, Offload, Place
from shotverse_jax.infer.need import weights as weights_of
from shotverse_jax.lora import Lora, Stacked
from shotverse_jax.models.wan_vae import space_factor
from shotverse_jax.nn.quantized import quantize
from shotverse_jax.parallel.mesh import BATCH
from shotverse_jax.views.preview import Progress
from shotverse_jax.weights import Expert, experts_of, find, load
from shotverse_jax.weights.folder import read_config

HOST = "pinned_host"
"""The kind of memory that weights wait in between their uses."""


@dataclasses.dataclass(frozen=True)
class Design:
    """All of a cinematographer but its weights. It is hashable: compiled programs are kept for it.

    Attributes:
        config: of the controller.
        text_config: of the text encoder.
        vae_config: of the video autoencoder.
        tokenizer: of prompts; no compiled program depends on it, so that it does not count in comparisons.
        execution: how the networks run.
        mesh: the devices that weights and films are split over; None for one device.
        waiting: the names of the weights that wait in the memory of the host between their uses.
        experts: the architectures of the weights `high` and `low`; either may be "base", the model before its cameras.
    """

    config: ControllerConfig
    text_config: UMT5Config
    vae_config: WanVAEConfig
    tokenizer: Tokenizer = dataclasses.field(compare=False)
    execution: Execution = Execution()
    mesh: Mesh | None = None
    waiting: tuple[str, ...] = ()
    experts: tuple[Expert, Expert] = ("high", "low")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Adapters:
    """LoRAs beside the experts, with weights that change without another program.

    Attributes:
        high, low: the matrices of all LoRAs for an expert.
        weights_N: one of each LoRA, float32.
        names: of the LoRAs.
        always: of each, whether it counts in every frame, or only in the shots that ask for it by its name.
    """

    high: Stacked
    low: Stacked
    weights_N: jax.Array | np.ndarray
    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    always: tuple[bool, ...] = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cinematographer:
    """A controller ready to use: the weights of its networks, and its design. A pytree whose leaves are the weights.

    Attributes:
        high, low: 'params' of the two experts.
        text: 'params' of the text encoder.
        vae: 'params' of the video autoencoder.
        design: the rest, static in compiled programs.
        adapters: LoRAs that are kept beside the experts; None has none, or they are folded into the experts.
    """

    high: dict
    low: dict
    text: dict
    vae: dict
    design: Design = dataclasses.field(metadata={"static": True})
    adapters: "Adapters | None" = None

    @classmethod
    def load(
        cls,
        name_or_folder: str = "controller_small",
        mesh: Mesh | None = None,
        dtype: Literal["float32", "bfloat16"] | None = None,
        attention: str | None = None,
        offload: Offload | None = None,
    ) -> "Cinematographer":
        """Reads a controller by its name, shipped or fetched, or by its folder.

        A folder with the base model alone, before it had experts and cameras, films all noise levels with it.

        Args:
            name_or_folder: the name or the folder.
            mesh: the devices that experts and text encoder are split over; with an axis `sequence`, the film's tokens
                too. None (default) takes one device.
            dtype, attention: as `infer.execution.choose` takes them; None takes the platform's own.
            offload: what waits in the memory of the host between its uses: nothing; the text encoder, which is used
                once a batch; or also the expert that is not at work, so that experts are exchanged once a batch. None
                (default) leaves on the devices what fits their memory.

        Raises:
            ValueError: it is not there or does not fit, or there is no such kernel here.
        """
        execution, place = choose(mesh, dtype, attention)
        execution = dataclasses.replace(execution, unroll=False)
        config = read_config(find("controller", name_or_folder), ControllerConfig)
        waiting = WAITING[offload or _offload(config, place, execution.dtype)]

        def read(kind, name, part, mesh=place, **more):
            memory = HOST if part in waiting else None
            loaded = load(kind, name, mesh=mesh, dtype=execution.dtype, memory=memory, **more)
            return loaded if mesh is not None else loaded._replace(params=jax.device_put(loaded.params))

        experts = experts_of(name_or_folder)
        high, low = (
            read("controller", name_or_folder, part, expert=expert).params
            for part, expert in zip(("high", "low"), experts, strict=True)
        )
        text = read("text_encoder", config.text, "text")
        # Every process decodes its films by itself, on one device: the VAE is small, and so is its share of the work.
        vae = read("vae", config.vae, "vae", mesh=choose(None, dtype)[1])
        design = Design(config, text.config, vae.config, text.tokenizer, execution, mesh, waiting, experts)
        return cls(high, low, text.params, vae.params, design)

    def weights(self, part: Literal["high", "low", "text", "vae"]) -> dict:
        """The 'params' of a part on its devices; those that wait on the host are copied there."""
        params = getattr(self, part)
        if part not in self.design.waiting:
            return params
        return _moved(params, "device")

    def film(
        self, takes: Sequence[Any], seeds: int | Sequence[int] = 0, progress: Progress | None = None, **sampling: Any
    ) -> Iterator[Any]:
        """Yields a `Film` of every take of `prepare` as it is made; arguments and errors as of `infer.film.films`."""
        from shotverse_jax.infer.film import films

        return films(self, takes, seed=seeds, progress=progress, **sampling)

    def with_loras(
        self, loras: Sequence[Lora], *, fold: bool = True, donate: bool = False, balance: bool = False
    ) -> "Cinematographer":
        """A cinematographer who films with adapters; `conversion.adapters.read_loras` reads them.

        Args:
            loras: the adapters, each with its weight.
            fold: True (default) adds them to the weights of the experts, which costs no time in a film. False keeps
                them beside the weights, so that `weighing` changes how much each counts and nothing is compiled anew.
            donate: with fold, give up the experts of this cinematographer, who cannot film after that. Then no weight
                is ever there twice.
            balance: without fold, rescale them so that in every layer their changes have one size (`lora.balanced`).

        Raises:
            ValueError: an adapter of another network; or one to be folded where others are kept beside.
        """
        from shotverse_jax.infer import adapters

        return adapters.folded(self, loras, donate=donate) if fold else adapters.beside(self, loras, balance)

    def quantized(self, name: Literal["int8", "float8"], offload: Offload | None = None) -> "Cinematographer":
        """A cinematographer whose experts keep the weights of their blocks in 8 bits, half the memory of bfloat16.

        Every output channel has a scale. Films change a little (docs/faster.md). Adapters are folded before that, or
        kept beside.

        Args:
            name: the type of the weights.
            offload: what waits in the memory of the host after that, as `load` takes it; None (default) leaves on the
                devices what fits their memory now.

        Raises:
            ValueError: an unknown type, or weights that are quantized already.
        """
        design = self.design
        if offload is not None:
            waiting = WAITING[offload]
        elif device_memory(design.mesh) is not None:
            waiting = WAITING[_offload(design.config, design.mesh, design.execution.dtype, name)]
        else:
            waiting = design.waiting
        parts = {part: getattr(self, part) for part in ("text", "high", "low")}
        for part in parts:
            if part != "text":
                parts[part] = quantize(parts[part], name)
            if part in {*waiting, *design.waiting}:
                parts[part] = _moved(parts[part], HOST if part in waiting else "device")
        return dataclasses.replace(self, **parts, design=dataclasses.replace(design, waiting=waiting))

    def weighing(self, *weights: float) -> "Cinematographer":
        """A cinematographer with other weights of the LoRAs that are kept beside, in their order; compiles nothing.

        Raises:
            ValueError: another number of weights than of LoRAs.
        """
        names = () if self.adapters is None else self.adapters.names
        if not names or len(weights) != len(names):
            raise ValueError(f"{len(names)} LoRAs are kept beside the weights ({', '.join(names)}), got {weights}")
        for weight in weights:
            limits.finite(weight, "the weight of a LoRA", -limits.STRENGTH, limits.STRENGTH)
        adapters = dataclasses.replace(self.adapters, weights_N=np.asarray(weights, np.float32))
        return dataclasses.replace(self, adapters=adapters)

    @property
    def config(self) -> ControllerConfig:
        """The controller's configuration."""
        return self.design.config

    @property
    def vae_execution(self) -> Execution:
        """How the VAE runs: on one device, whatever the mesh."""
        return dataclasses.replace(self.design.execution, spread=None)

    @property
    def block(self) -> int:
        """Height and width of a film must be multiples of this many pixels."""
        return space_factor(self.design.vae_config) * max(self.config.dit.patch[1:])

    @property
    def parts(self) -> int:
        """How many parts of the mesh the films of a batch are split over."""
        mesh = self.design.mesh
        return 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH)


def _moved(params: dict, memory: str) -> dict:
    """The parameters in a kind of memory of their devices."""
    return jax.tree.map(lambda x: jax.device_put(x, x.sharding.with_memory_kind(memory)), params)


def _offload(config: ControllerConfig, mesh: Mesh | None, dtype: str, quantize: str | None = None) -> Offload:
    """What must wait on the host, by the memory of the devices of a mesh; on a CPU host and device are one."""
    memory = device_memory(mesh)
    if memory is None:
        return "none"
    place = Place({} if mesh is None else dict(mesh.shape), dtype, quantize=quantize)
    return offload_for(weights_of(Networks.of_config(config), place), memory)
