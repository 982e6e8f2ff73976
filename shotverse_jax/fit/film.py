"""Whether a film fits a device, how long it takes and what a number of films takes: by arithmetic, without a device."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from shotverse_jax.cost.accelerators import Accelerator, accelerator_of
from shotverse_jax.fit.capacity import Capacity, bytes_shown, flop_shown, time_shown
from shotverse_jax.fit.shares import HOST, Shares, shares
from shotverse_jax.infer.execution import check_dtype
from shotverse_jax.infer.fits import offload_for, problem
from shotverse_jax.infer.need import GIB, Need, Networks, Offload, Place, Request, need, weights, work
from shotverse_jax.parallel.mesh import parse_sizes
from shotverse_jax.views.video import enlargement

BITS_A_PIXEL = 0.23
"""Of film.mp4, measured: 33 frames of examples/red_coat.txt by controller_small as `shotverse film` writes them. Films
of the large networks were not measured."""

OTHER_FILES = 510_000
"""Bytes of a result folder beside film.mp4 and shot_*.mp4, measured likewise: preview, pictures, cameras."""


@dataclasses.dataclass(frozen=True)
class FilmReport:
    """What a film needs of a device, and how long it takes; sizes are bytes.

    Attributes:
        model: name or folder of the controller.
        device: name of the accelerator.
        accelerator: its row of the table.
        request: the film.
        tokens: of the video transformer.
        place: mesh, dtype, offload and quantize.
        need: memory of one device.
        work: floating-point operations of one film, by phase.
        shares: of the peak, for the predicted time.
        storage: bytes of the film's results.
        problem: why the film does not fit, and what would; "" if it does.
    """

    model: str
    device: str
    accelerator: Accelerator
    request: Request
    tokens: int
    place: Place
    need: Need
    work: Mapping[str, float]
    shares: Shares
    storage: float
    problem: str

    @property
    def phases(self) -> dict[str, float]:
        """Predicted seconds of each phase, for the films that the mesh makes at the same time.

        The exchange of tokens and weights between devices is not counted.
        """
        peak = self.accelerator.peak * 1e12
        split = self.place.along("sequence", "tensor")
        return {
            # What waits on the host comes once for the films of a batch.
            "copies": sum(self.need.weights[part] for part in self.need.waiting) / (HOST * 1e9),
            "text": self.work["text"] / (peak * self.shares.film),
            "denoise": self.work["denoise"] / (peak * self.shares.film * split),
            # The films of a process are decoded on one device, one after the other.
            "decode": self.place.films * self.work["decode"] / (peak * self.shares.decode),
        }

    @property
    def seconds(self) -> float:
        """Predicted seconds for the films that the mesh makes at the same time."""
        return sum(self.phases.values())

    def capacity(self, items: int, deadline: float) -> Capacity:
        """What a number of films takes. Raises ValueError where one takes longer than the deadline."""
        place = self.place
        rest = {"together": place.films, "devices": place.devices, "storage": self.storage}
        return Capacity.of(items, deadline, each=self.seconds, **rest)

    def values(self) -> dict[str, Any]:
        """The report as plain values."""
        more = {"memory_bytes": self.need.phases, "seconds_by_phase": self.phases, "seconds": self.seconds}
        return dataclasses.asdict(self) | more


def fit_film(
    model: str = "paper",
    device: str = "h100",
    *,
    mesh: str | None = None,
    dtype: str = "bfloat16",
    offload: Offload | None = None,
    quantize: str | None = None,
    mfu: float | None = None,
    sparse: int | None = None,
    latents: bool = False,
    **asked: Any,
) -> FilmReport:
    """Sizes a film.

    Args:
        model: "paper", "holocine", a preset or a folder, as `infer.need.Networks.of` takes it.
        device: an accelerator of `cost.accelerators`.
        mesh: devices that work together, such as "fsdp=2,sequence=4"; None is one.
        dtype: of weights and activations.
        offload: what waits on the host between its uses; None takes what `Cinematographer.load` does.
        quantize: the type of the experts' weights in 8 bits, as `Cinematographer.quantized` takes it; None has none.
        mfu: the share of the peak for the predicted time; None takes the measured one, or an assumption.
        sparse: shots of one length, between which attention is sparse; None takes the model's own attention.
        latents: whether the results keep the film's latents.
        asked: frames, size, steps and guidance, as `infer.need.Request.of` takes them.

    Raises:
        ValueError: an unknown device or model, or a film that the networks cannot make on that mesh.
    """
    kind = accelerator_of(device)
    check_dtype(dtype)
    networks = Networks.of(model)
    if sparse is not None:
        networks = networks.sparse()
    request = Request.of(networks, shots=sparse, **asked)
    place = Place(parse_sizes(mesh) if mesh else {}, dtype, quantize=quantize, platform="tpu" if kind.tpu else "gpu")
    memory = kind.memory * GIB
    place = dataclasses.replace(place, offload=offload or offload_for(weights(networks, place), memory))
    return FilmReport(
        model=model,
        device=device,
        accelerator=kind,
        request=request,
        tokens=request.tokens(networks),
        place=place,
        need=need(networks, request, place),
        work=work(networks, request),
        shares=shares(device, mfu),
        storage=result_bytes(networks, request, latents),
        problem=problem(networks, request, place, memory),
    )


def result_bytes(networks: Networks, request: Request, latents: bool = False) -> float:
    """Bytes of a film's result folder: film.mp4, its shots once more, and the other files; an estimate.

    latents: whether the latents are kept too, float32.
    """
    pixels = request.frames * request.height * request.width * enlargement(request.height) ** 2
    kept = 4 * math.prod(request.latents(networks)) * networks.config.dit.latent_channels if latents else 0
    return 2 * pixels * BITS_A_PIXEL / 8 + OTHER_FILES + kept


def lines(report: FilmReport, capacity: Capacity | None = None) -> Iterator[str]:
    """The report in lines for people."""
    place, asked = report.place, report.request
    mesh = " x ".join(f"{axis} {size}" for axis, size in place.sizes.items() if size > 1) or "alone"
    yield f"{asked.frames} frames of {asked.height}x{asked.width}: {report.tokens:,} tokens, {asked.steps} steps, " + (
        "no guidance" if asked.guidance == 1 else f"guidance {asked.guidance:g}"
    )
    yield f"{report.model} in {place.kind} on {place.devices} {report.device}, {mesh}: on each device"
    for part, size in report.need.weights.items():
        where = ", on the host between its uses" if part in report.need.waiting else ""
        yield f"  weights, {part:<11}{bytes_shown(size):>12}{where}"
    for phase, size in report.need.phases.items():
        yield f"  all in {phase:<13}{bytes_shown(size):>12}"
    yield "a film: " + ", ".join(f"{phase} {flop_shown(count)}" for phase, count in report.work.items())
    made = "a film" if place.films == 1 else f"{place.films} films"
    phases = ", ".join(f"{phase} {time_shown(seconds)}" for phase, seconds in report.phases.items() if seconds)
    yield f"{time_shown(report.seconds)} for {made}: {phases}"
    yield (
        f"at {report.shares.film:.0%} of {report.accelerator.peak:g} TFLOP/s a device, "
        f"{report.shares.decode:.0%} in decode ({report.shares.source})"
    )
    if capacity is not None:
        yield from capacity.lines("films")
    yield f"does not fit: {report.problem}" if report.problem else "fits"
