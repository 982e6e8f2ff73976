"""The options of films, and what they come to: how noise becomes latents, static in compiled programs."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from shotverse_jax.config import ControllerConfig
from shotverse_jax.flow.schedule import high_noise_steps, sigmas
from shotverse_jax.flow.skipping import steps_to_skip
from shotverse_jax.infer.composing import Rule
from shotverse_jax.infer.options import check_film


@dataclasses.dataclass(frozen=True)
class Denoising:
    """How noise becomes latents; static in compiled programs.

    Attributes:
        steps: from noise to latents.
        guidance: scale of classifier-free guidance; 1 is none.
        solver: "unipc" or "euler".
        shot_lengths: latent frames of every shot, the same for all films, where attention is sparse; else None.
        guided_steps: the steps i, …, j - 1 that are guided, as (i, j).
        one_pass: whether prompt and negative prompt go through the network as one batch.
        skipped: for each step, whether it goes on along the last velocity; () skips none.
    """

    steps: int
    guidance: float
    solver: Literal["unipc", "euler"]
    shot_lengths: tuple[int, ...] | None
    guided_steps: tuple[int, int]
    one_pass: bool
    skipped: tuple[bool, ...]

    def guidance_levels(self, levels: np.ndarray) -> tuple[float, float] | None:
        """The first and the last of the schedule's noise levels at which guidance acts; None for all of them."""
        first, end = self.guided_steps
        return None if (first, end) == (0, self.steps) else (levels[first], levels[end - 1])


@dataclasses.dataclass(frozen=True)
class Sampling:
    """The options of a film, or of films of one batch; their defaults are those of its controller.

    Attributes:
        steps: from noise to film; None takes the controller's own number.
        guidance: strength of text guidance, 1 is none; None takes the controller's own.
        solver: how noise is followed to the film.
        guidance_range: the part of the steps that is guided, from the first share of them to the last. The rest has
            one forward pass in place of two. Default: all.
        one_pass: whether prompt and negative prompt go through the network as one batch, which reads the weights once
            and holds twice the activations. Default: one after the other.
        skip: the change of the velocity, as a share of its size, that is overlooked: steps with less go on along the
            last velocity (`flow.skipping`). Default: none.
        rule: how adapters share the steps of the shots that ask for them, of `cinematic.guidance`; None (default)
            merges them.
        ramp: frames over which their weights change at a cut, as `infer.composing.compose` takes it.
    """

    steps: int | None = None
    guidance: float | None = None
    solver: Literal["unipc", "euler"] = "unipc"
    guidance_range: tuple[float, float] = (0.0, 1.0)
    one_pass: bool = False
    skip: float = 0.0
    rule: Rule | None = None
    ramp: int = 0

    def denoising(self, config: ControllerConfig, shot_lengths: Sequence[tuple[int, ...]]) -> Denoising:
        """What these options come to with a controller.

        shot_lengths: latent frames of every shot, of each film.

        Raises:
            ValueError: a number outside its range in `limits`; a range that is not 0 <= first < last <= 1; steps to
                skip by a controller whose `velocity_change` was not measured; films of different shots with sparse
                attention.
        """
        check_film(steps=self.steps, guidance=self.guidance, guidance_range=self.guidance_range, skip=self.skip)
        steps = config.steps if self.steps is None else self.steps
        return Denoising(
            steps=steps,
            guidance=float(config.guidance if self.guidance is None else self.guidance),
            solver=self.solver,
            # Only sparse attention has lengths in its program; without them one program serves films with any cuts.
            shot_lengths=_alike(shot_lengths) if config.dit.self_attention == "sparse" else None,
            guided_steps=_guided_steps(steps, *self.guidance_range),
            one_pass=self.one_pass,
            skipped=_skipped(config, steps, self.skip),
        )


def _alike(shot_lengths: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    if len(set(shot_lengths)) > 1:
        raise ValueError("sparse attention films takes with the same shot lengths together; film these one by one")
    return shot_lengths[0]


def _guided_steps(steps: int, first: float, last: float) -> tuple[int, int]:
    """(i, j) of the steps i, …, j - 1 that begin in a part of the run; at least one."""
    begin, end = (math.ceil(round(share * steps, 6)) for share in (first, last))
    begin = min(begin, steps - 1)
    return begin, max(end, begin + 1)


def _skipped(config: ControllerConfig, steps: int, threshold: float) -> tuple[bool, ...]:
    if threshold == 0:
        return ()
    if not config.velocity_change:
        raise ValueError(
            "this controller's config.json has no velocity_change, by which steps are skipped; "
            "`python -m benchmarks.faster --calibrate --model MODEL` measures it"
        )
    switch = high_noise_steps(sigmas(steps, config.shift), config.boundary)
    skipped = steps_to_skip(config.velocity_change, steps, config.shift, switch, threshold)
    return skipped if any(skipped) else ()
