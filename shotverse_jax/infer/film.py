"""Films: takes become latents batch by batch, and a film is decoded when its frames are asked for."""

import dataclasses
import functools
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.composing import Weights, weights_of
from shotverse_jax.infer.denoise import SHOT_BUCKET, decode, shot
from shotverse_jax.infer.samples import seeds_of
from shotverse_jax.infer.take import Take
from shotverse_jax.inputs.planner_text import bucket
from shotverse_jax.inputs.prompt import text_places
from shotverse_jax.parallel.mesh import together
from shotverse_jax.views.preview import Progress


@dataclasses.dataclass(frozen=True)
class Film:
    """A film that is made but not decoded yet.

    Attributes:
        index: its place among the takes that were given.
        take: the screenplay and the cameras of the film's own frames.
        latents_BTHWC: the film, with B = 1.
        cinematographer: who decodes it.
        weights: those of the adapters that its shots ask for; None where they ask for none.
    """

    index: int
    take: Take
    latents_BTHWC: jax.Array
    cinematographer: Cinematographer
    weights: Weights | None = None

    @property
    def trajectory(self) -> Trajectory:
        """The camera of every frame of the film."""
        return self.take.trajectory

    @functools.cached_property
    def frames_THWC(self) -> np.ndarray:
        """All frames, uint8 RGB; decoded on first use and kept."""
        return np.concatenate(list(self.chunks()))

    def chunks(self) -> Iterator[np.ndarray]:
        """Yields frames [n, H, W, 3] uint8 as they are decoded: 1, then 4 per latent frame."""
        for chunk_BTHWC in decode(self.cinematographer, self.latents_BTHWC):
            yield chunk_BTHWC[0]

    def write(self, out: str | Path, *, compare: bool = False, progress: Progress | None = None) -> None:
        """Writes the film, and the plan that its take was made of, to a folder; as `infer.outputs.write_film`."""
        from shotverse_jax.infer.outputs import write_film

        write_film(self, out, compare=compare, progress=progress)


def films(
    cinematographer: Cinematographer,
    takes: Sequence[Take],
    *,
    seed: int | Sequence[int] = 0,
    samples: Sequence[int] | None = None,
    progress: Progress | None = None,
    **sampling: Any,
) -> Iterator[Film]:
    """Yields the film of every take as soon as it is made; those of one bucket are made first.

    Every device group of the mesh makes one film at a time, in a program that has the same shapes whatever else is
    filmed. So a film depends on its take and its seed alone.

    Args:
        cinematographer: who films them.
        takes: of `prepare`.
        seed: one for all films, or one for each.
        samples: which sample of its seed each film is; None (default) for 0.
        progress: called with ("denoise", steps done, steps) in every film.
        sampling: steps, guidance and solver, as `infer.denoise.begin` takes them.

    Raises:
        ValueError: another number of seeds than of takes.
    """
    seeds, numbers = seeds_of(seed, len(takes)), samples or [0] * len(takes)
    buckets: dict[Hashable, list[int]] = {}
    for index, take in enumerate(takes):
        buckets.setdefault(bucket_of(cinematographer, take), []).append(index)
    parts = cinematographer.parts
    for indices in buckets.values():
        for start in range(0, len(indices), parts):
            block = indices[start : start + parts]
            filled = block + [block[-1]] * (parts - len(block))
            shoot = shot(
                cinematographer,
                [takes[i] for i in filled],
                seed=[seeds[i] for i in filled],
                samples=[numbers[i] for i in filled],
                progress=progress,
                **sampling,
            )
            latents_BTHWC, composing = shoot.latents_BTHWC, shoot.composing
            if cinematographer.design.mesh is not None:  # a film is decoded on one device of each process
                latents_BTHWC = np.asarray(together(latents_BTHWC))
            for place, index in enumerate(block):
                weights = None
                if composing is not None:
                    used_SBKN, skipped = together(shoot.state[-1]["used_SBKN"]), shoot.denoising.skipped
                    weights = weights_of(
                        composing, used_SBKN, cinematographer.adapters.names, place, takes[index], skipped
                    )
                yield Film(index, takes[index], latents_BTHWC[place : place + 1], cinematographer, weights)


def bucket_of(cinematographer: Cinematographer, take: Take) -> Hashable:
    """What decides the shapes of the programs that make a film: frames, size, shots, the lengths of its prompts."""
    config, path = cinematographer.config, take.trajectory
    shots: Hashable = bucket(len(take.screenplay.shots), SHOT_BUCKET)
    if config.dit.self_attention == "sparse":
        shots = take.shot_lengths
    places = (text_places(config, prompt) for prompt in (take.prompt, take.negative))
    return len(path), path.height, path.width, shots, *places
