"""What planning needs of a device, how long it takes and what a number of plans takes: by arithmetic alone."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import jax.numpy as jnp

from shotverse_jax.camera.tokens.shotverse import PoseTokenizer, sequence_length
from shotverse_jax.config import PlannerConfig
from shotverse_jax.cost import flops
from shotverse_jax.cost.accelerators import Accelerator, accelerator_of
from shotverse_jax.fit.capacity import Capacity, bytes_shown, flop_shown, time_shown
from shotverse_jax.fit.shares import Shares, shares
from shotverse_jax.infer.execution import check_dtype
from shotverse_jax.infer.need import GIB
from shotverse_jax.infer.plan import CANDIDATES, prefix_length
from shotverse_jax.infer.plan_need import cache_bytes, decoder_numbers, plan_memory, planner_config
from shotverse_jax.infer.samples import ACCELERATOR_BLOCK

PLAN_FILES = 320_000
"""Bytes of the results of a plan, measured: that of examples/red_coat.txt, its plot and preview.mp4 of 65 frames."""


@dataclasses.dataclass(frozen=True)
class PlanReport:
    """What a block of plans needs of a device, and how long it takes; sizes are bytes.

    Attributes:
        model: name or folder of the planner.
        device: name of the accelerator.
        accelerator: its row of the table.
        rows: plans of a block, which are decoded together.
        candidates: plans of which one is kept.
        places: tokens of a screenplay, queries included.
        tokens: pose tokens of a plan.
        memory: of the device: the weights, the decoder's own copy of its weights, keys and values, the text's states.
        text: floating-point operations that read the screenplays of a block.
        step: bytes that the decoder reads for a token of every row: its weights, and keys and values.
        shares: of peak and bandwidth, for the predicted time.
        problem: why it does not fit; "" if it does.
    """

    model: str
    device: str
    accelerator: Accelerator
    rows: int
    candidates: int
    places: int
    tokens: int
    memory: Mapping[str, int]
    text: float
    step: float
    shares: Shares
    problem: str

    @property
    def phases(self) -> dict[str, float]:
        """Predicted seconds of a block: the text is bound by operations, the tokens by the memory's bandwidth."""
        return {
            "text": self.text / (self.accelerator.peak * 1e12 * self.shares.text),
            "tokens": self.tokens * self.step / (self.accelerator.bandwidth * 1e9 * self.shares.tokens),
        }

    @property
    def seconds(self) -> float:
        """Predicted seconds of a block."""
        return sum(self.phases.values())

    def capacity(self, items: int, deadline: float) -> Capacity:
        """What a number of plans takes. Raises ValueError where a block takes longer than the deadline."""
        kept = max(1, self.rows // self.candidates)
        each = self.seconds * math.ceil(self.candidates / self.rows)
        return Capacity.of(items, deadline, each=each, together=kept, devices=1, storage=PLAN_FILES)

    def values(self) -> dict[str, Any]:
        """The report as plain values."""
        return dataclasses.asdict(self) | {"seconds_by_phase": self.phases, "seconds": self.seconds}


def fit_plan(
    model: str = "paper",
    device: str = "h100",
    *,
    frames: int = 249,
    shots: int = 4,
    text: int | None = None,
    dtype: str = "bfloat16",
    rows: int = ACCELERATOR_BLOCK,
    candidates: int = CANDIDATES,
) -> PlanReport:
    """Sizes a block of plans on one device.

    Args:
        model: "paper", the planner of Qwen3-VL-2B; a preset or a folder.
        device: an accelerator of `cost.accelerators`.
        frames, shots: of every screenplay; its shots are of about one length.
        text: tokens of a screenplay, queries included; None takes the most that the planner reads.
        dtype: of weights and activations.
        rows: plans that are decoded together, as `infer.samples` has them.
        candidates: plans of which the best is kept.

    Raises:
        ValueError: an unknown device or model, or more than the planner takes.
    """
    kind = accelerator_of(device)
    check_dtype(dtype)
    config = planner_config(model)
    if not isinstance(config, PlannerConfig):
        raise ValueError(f"plans are sized for ShotVerse's planners; {model} is a GenDoP")
    places = text or config.max_text_tokens
    prefix, tokens = _lengths(config, frames, shots)
    read = jnp.dtype(dtype).itemsize * decoder_numbers(config.decoder)
    cache = cache_bytes(config.decoder, dtype)
    memory = plan_memory(config, rows, places, prefix + tokens, dtype)
    total = sum(memory.values())
    needs = f"{rows} plans at a time need {total / GIB:.1f} GiB of the device, which has {kind.memory:g}"
    return PlanReport(
        model=model,
        device=device,
        accelerator=kind,
        rows=rows,
        candidates=candidates,
        places=places,
        tokens=tokens,
        memory=memory,
        text=rows * flops.qwen3_vl(config.text, places).forward,
        step=read + rows * (prefix + tokens / 2) * cache,
        shares=shares(device),
        problem=needs if total > kind.memory * GIB else "",
    )


def _lengths(config: PlannerConfig, frames: int, shots: int) -> tuple[int, int]:
    """(places of the decoder's prefix, pose tokens after BOS) of a screenplay. Raises ValueError as `fit_plan`."""
    if config.decoder_kind != "opt" or config.encoder != "queries":
        raise ValueError("plans are sized for planners with query tokens and a pose decoder, as the paper's")
    if not 0 < shots <= config.max_shots or frames < 4 * shots + 1:
        raise ValueError(
            f"this planner takes up to {config.max_shots} shots of 4 frames or more; got {shots} shots, {frames} frames"
        )
    cuts = [round(frames * shot / shots) for shot in range(shots + 1)]
    counts = PoseTokenizer(config.tokens).pose_counts(list(pairwise(cuts)))
    prefix, tokens = prefix_length(config, shots), sequence_length(config.tokens, counts) - 1
    most = config.decoder.max_positions
    if prefix + tokens > most:
        raise ValueError(f"{frames} frames are {tokens} pose tokens, which with {prefix} camera codes exceed {most}")
    return prefix, tokens


def lines(report: PlanReport, capacity: Capacity | None = None) -> Iterator[str]:
    """The report in lines for people."""
    yield f"{report.rows} plans at a time: {report.places} tokens of text, {report.tokens} pose tokens each"
    yield f"{report.model} on one {report.device}"
    for kind, size in report.memory.items():
        yield f"  {kind:<22}{bytes_shown(size):>12}"
    yield f"{flop_shown(report.text)} read the text; a token of every row reads {bytes_shown(report.step)}"
    phases = ", ".join(f"{phase} {time_shown(seconds)}" for phase, seconds in report.phases.items())
    yield f"{time_shown(report.seconds)} for {report.rows} plans, {report.rows / report.seconds:.3g} a second: {phases}"
    kept = report.rows / report.candidates / report.seconds
    yield f"the best of {report.candidates} candidates is kept: {kept:.3g} a second"
    yield (
        f"at {report.shares.text:.0%} of {report.accelerator.peak:g} TFLOP/s and {report.shares.tokens:.0%} of "
        f"{report.accelerator.bandwidth:g} GB/s ({report.shares.source})"
    )
    if capacity is not None:
        yield from capacity.lines("plans")
    yield f"does not fit: {report.problem}" if report.problem else "fits"
