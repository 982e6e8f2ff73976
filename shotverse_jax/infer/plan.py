"""From screenplays to trajectories: encode the text, decode pose tokens on the device, read them back as cameras."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from tokenizers import Tokenizer

from shotverse_jax.camera.tokens.shotverse import PoseTokenizer, sequence_length
from shotverse_jax.camera.trajectory import FILM_BACK_MM, Trajectory
from shotverse_jax.config import Execution, PlannerConfig
from shotverse_jax.infer import groups
from shotverse_jax.infer.decode import SAMPLERS, Draw, Drawn, Grammar, Sampling, decode_native, decode_opt
from shotverse_jax.infer.execution import choose
from shotverse_jax.infer.samples import Sampled, block_rows, draw_samples, seeds_of
from shotverse_jax.inputs.planner_text import PlannerExample, bucket, collate, encode_text, unknown_words
from shotverse_jax.limits import SAMPLES, whole
from shotverse_jax.models import opt
from shotverse_jax.models.planner import Planner
from shotverse_jax.parallel.mesh import BATCH, batch_sharding
from shotverse_jax.screenplay import Screenplay
from shotverse_jax.stage import review
from shotverse_jax.stage.scene import LENS_MM
from shotverse_jax.weights import load

CANDIDATES = 8
"""Plans that a planner draws for each one that it keeps, unless it is told another number."""
TEXT_BUCKET, TOKEN_BUCKET = 64, 64
"""Lengths of text, and rooms for pose tokens, are multiples of these, so that few shapes are compiled."""


@dataclasses.dataclass(frozen=True)
class Director:
    """A planner ready to use.

    Attributes:
        config: the planner's configuration.
        params: its 'params' collection, adapters folded in.
        tokenizer: of captions.
        execution: how the network runs.
        mesh: the devices that weights and rows are split over; None for one device.
    """

    config: PlannerConfig
    params: dict
    tokenizer: Tokenizer
    # Layers are unrolled, because a scan over them is slower for a forward pass on a CPU.
    execution: Execution = Execution(unroll=True)
    mesh: Mesh | None = None

    @classmethod
    def load(
        cls,
        name_or_folder: str = "planner_small",
        mesh: Mesh | None = None,
        dtype: str | None = None,
        attention: str | None = None,
    ) -> "Director":
        """Reads a planner by its name, shipped or fetched, or by its folder; weights may be arrays.

        mesh, dtype, attention: as `infer.execution.choose` takes them; None takes the platform's own.

        Raises:
            ValueError: it is not there or does not fit, or there is no such kernel here.
        """
        execution, place = choose(mesh, dtype, attention)
        config, params, tokenizer = load("planner", name_or_folder, mesh=place, dtype=execution.dtype)
        return cls(config, params, tokenizer, execution, mesh)

    def plan(
        self,
        screenplays: Sequence[Screenplay],
        seeds: int | Sequence[int] = 0,
        samples: int = 1,
        sampling: Sampling = SAMPLERS["nucleus"],
        candidates: int | None = None,
    ) -> Iterator["Plan"]:
        """Yields the plans of screenplays as they finish; arguments and errors are those of `plans`.

        candidates: None (default) takes `usual_candidates`.
        """
        candidates = self.usual_candidates if candidates is None else candidates
        return plans(self, screenplays, seed=seeds, samples=samples, sampling=sampling, candidates=candidates)

    def bucket(self, screenplay: Screenplay) -> tuple["Bucket", ...]:
        """What decides the shapes of the programs that plan a screenplay. Raises ValueError as `check`."""
        parts = groups.split(screenplay, self.config.max_shots)
        return tuple(bucket_of(self.config, encode(self, part), pose_counts(self.config, part)) for part in parts)

    def notes(self, screenplay: Screenplay) -> tuple[str, ...]:
        """Sentences about how a screenplay is planned and which of its words the planner cannot know."""
        grouped = groups.note(len(screenplay.shots), self.config.max_shots)
        return tuple(filter(None, (grouped, unknown_words(self.tokenizer, screenplay))))

    @property
    def usual_candidates(self) -> int:
        """Plans that are drawn for each one that `plan` keeps, unless it is told another number."""
        return CANDIDATES

    @property
    def parts(self) -> int:
        """How many parts of the mesh the rows of a batch are split over."""
        return 1 if self.mesh is None else math.prod(self.mesh.shape[axis] for axis in BATCH)

    @functools.cached_property
    def decoder(self) -> dict:
        """The OPT decoder's weights as `decode_opt` takes them, prepared on first use and kept."""
        return opt.decode_weights(self.params["decoder"], self.config.decoder, self.execution.dtype)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The plans of one screenplay among several.

    Attributes:
        index: the place of the screenplay among those that were given.
        read: reads the pose tokens that were drawn.
    """

    index: int
    read: Callable[[], list[Trajectory]]

    @functools.cached_property
    def trajectories(self) -> list[Trajectory]:
        """One trajectory per sample, read on first use: the next block of plans need not wait for it."""
        return self.read()


def plan(
    director: Director,
    screenplays: Sequence[Screenplay],
    *,
    seed: int | Sequence[int] = 0,
    samples: int = 1,
    sampling: Sampling = SAMPLERS["nucleus"],
    candidates: int = 1,
) -> list[list[Trajectory]]:
    """Plans every screenplay `samples` times: result[i][j] is sample j of screenplay i; otherwise as `plans`."""
    done = plans(director, screenplays, seed=seed, samples=samples, sampling=sampling, candidates=candidates)
    return in_order(done)


def plans(
    director: Director,
    screenplays: Sequence[Screenplay],
    *,
    seed: int | Sequence[int] = 0,
    samples: int = 1,
    sampling: Sampling = SAMPLERS["nucleus"],
    candidates: int = 1,
) -> Iterator[Plan]:
    """Yields the plans of every screenplay as soon as they are drawn; texts are encoded before this returns.

    Shots, their lengths and the cuts are exactly those of `Screenplay.layout()`. The world is the first camera, and
    lengths are metres. A screenplay of more shots than the planner takes is planned in groups (`infer/groups.py`).
    Otherwise as `sample_ids`.

    candidates: plans that are drawn for each one that is kept, the best by `stage.review`. Sample j is the best of
        candidates j * candidates to (j + 1) * candidates - 1; 1 (default) keeps what the planner draws.

    Raises:
        ValueError: as `sample_ids`; samples times candidates count as samples.
    """
    candidates = whole(candidates, "the candidates", 1, SAMPLES)
    most, own = director.config.max_shots, seeds_of(seed, len(screenplays))
    parts = [groups.split(screenplay, most) for screenplay in screenplays]
    places = [(index, part) for index, plays in enumerate(parts) for part in range(len(plays))]
    seeds = [one for first, plays in zip(own, parts, strict=True) for one in groups.seeds(first, len(plays))]
    plays = [play for plays in parts for play in plays]
    drawn = _sample(director, plays, seeds, whole(samples, "the samples", 1, SAMPLES) * candidates, sampling)

    def chosen(play, sampled, j):
        """Sample j of a group: the best of its candidates."""
        rows = sampled.ids_JN[j * candidates : (j + 1) * candidates]
        found = [read_plan(director.config, play, ids_N) for ids_N in rows]
        return found[review.best(found)]

    def read(index, sampled):
        """The samples of a screenplay from those of its groups."""
        pairs = list(zip(parts[index], sampled, strict=True))
        each = [[chosen(play, found, j) for play, found in pairs] for j in range(samples)]
        return [groups.join(plans, screenplays[index]) for plans in each]

    def gather():
        waiting: list[dict[int, Sampled]] = [{} for _ in screenplays]
        for place, sampled in drawn:
            index, part = places[place]
            waiting[index][part] = sampled
            if len(waiting[index]) == len(parts[index]):
                found = [waiting[index][part] for part in range(len(parts[index]))]
                waiting[index] = {}
                yield Plan(index, functools.partial(read, index, found))

    return gather()


def in_order(done: Iterable[Plan]) -> list[list[Trajectory]]:
    """Returns the trajectories of plans that come in any order: result[i][j] is sample j of screenplay i."""
    return [plan.trajectories for plan in sorted(done, key=lambda plan: plan.index)]


def sample_ids(
    director: Director,
    screenplays: Sequence[Screenplay],
    *,
    seed: int | Sequence[int] = 0,
    samples: int = 1,
    sampling: Sampling = SAMPLERS["nucleus"],
) -> list[Sampled]:
    """Draws the pose tokens of every screenplay `samples` times, with the log-probability of each token.

    A sample depends on its screenplay, its seed and its number alone, to the last bit, not on what is drawn beside it.

    Args:
        director: the planner.
        screenplays: screenplays; those of one bucket (shots, length of text, number of tokens) are decoded together.
        seed: one for all, or one for each screenplay.
        samples: of each screenplay.
        sampling: how tokens are picked.

    Raises:
        ValueError: captions or shots beyond what the planner takes, before anything is drawn.
    """
    drawn = dict(_sample(director, screenplays, seed, samples, sampling))
    return [drawn[i] for i in range(len(screenplays))]


def _sample(director, screenplays, seed, samples, sampling) -> Iterator[tuple[int, Sampled]]:
    examples = [encode(director, screenplay) for screenplay in screenplays]
    counts = [pose_counts(director.config, screenplay) for screenplay in screenplays]
    buckets = [bucket_of(director.config, *pair) for pair in zip(examples, counts, strict=True)]
    rows = block_rows(director.parts)

    def run(bucket, chosen, keys_B):
        grammar = Grammar.of_planner(director.config, bucket.shots)
        draw = Draw.of(grammar, keys_B, rows, sampling, [counts[i] for i in chosen], bucket.tokens)
        return decode(director, collate([examples[i] for i in chosen], [bucket.text]), draw)

    def cut(index, sampled):
        length = sequence_length(director.config.tokens, counts[index])  # the rest is padding of the bucket
        return index, Sampled(sampled.ids_JN[:, :length], sampled.log_probs_JN[:, :length])

    return (cut(*drawn) for drawn in draw_samples(buckets, seed, samples, rows, run))


class Bucket(NamedTuple):
    """What decides the shapes of the program that plans a screenplay.

    Attributes:
        shots: number of shots.
        text: length of the planner's text, a multiple of TEXT_BUCKET.
        tokens: the most pose tokens after BOS.
    """

    shots: int
    text: int
    tokens: int


def prefix_length(config: PlannerConfig, shots: int) -> int:
    """Returns the places of the decoder's prefix: the queries of every shot, and a separator between shots."""
    return shots * (config.num_queries + 1) - 1


def bucket_of(config: PlannerConfig, example: PlannerExample, counts: Sequence[int]) -> Bucket:
    """Returns the bucket of a screenplay of `encode` whose shots have so many poses."""
    shots, text = len(counts), bucket(len(example.text_ids_S), TEXT_BUCKET)
    needed = sequence_length(config.tokens, list(counts)) - 1
    tokens = bucket(needed, TOKEN_BUCKET)
    if config.decoder_kind == "opt":
        prefix = prefix_length(config, shots) if config.encoder == "queries" else text
        # The last bucket ends with the decoder's positions; a sequence beyond them is refused when it is decoded.
        tokens = max(needed, min(tokens, config.decoder.max_positions - prefix))
    return Bucket(shots, text, tokens)


def decode(director: Director, batch: Mapping[str, Any], draw: Draw) -> Drawn:
    """Returns the pose tokens of a batch of `inputs.planner_text.collate`, all its screenplays with the same shots.

    Raises:
        ValueError: more tokens than the decoder has positions.
    """
    config, execution = director.config, director.execution
    batch = {name: batch[name] for name in ("text_ids_BS", "slot_BS", "real_BS")}
    if director.mesh is not None:
        batch = jax.device_put(batch, batch_sharding(director.mesh, len(batch["real_BS"])))
    if config.decoder_kind == "native":
        return decode_native(director.params, config, execution, batch, draw)
    prefix_BPD = _read_screenplays(director.params, config, execution, batch, draw.grammar.num_shots)
    return decode_opt(director.decoder, config.decoder, prefix_BPD, draw)


@functools.partial(jax.jit, static_argnames=("config", "execution", "num_shots"))
def _read_screenplays(params, config, execution, batch, num_shots):
    return Planner(config, execution).apply({"params": params}, batch, num_shots, method="prefix")


def check(director: Director, screenplay: Screenplay) -> None:
    """Raises ValueError for captions beyond what the planner takes; the parameters may be missing."""
    for part in groups.split(screenplay, director.config.max_shots):
        encode(director, part)


def encode(director: Director, screenplay: Screenplay) -> PlannerExample:
    """Returns the ids that the planner reads of a screenplay. Raises ValueError as `sample_ids`."""
    config = director.config
    if len(screenplay.shots) > config.max_shots:
        raise ValueError(
            f"this planner takes up to {config.max_shots} shots, the screenplay has {len(screenplay.shots)}; "
            "split it into scenes"
        )
    captions = [shot.caption for shot in screenplay.shots]
    return PlannerExample(*encode_text(config, director.tokenizer, screenplay.caption, captions))


def pose_counts(config: PlannerConfig, screenplay: Screenplay) -> list[int]:
    """Returns how many poses the planner writes for each shot of a screenplay."""
    return PoseTokenizer(config.tokens).pose_counts(list(screenplay.layout().spans))


def read_plan(config: PlannerConfig, screenplay: Screenplay, ids_N: np.ndarray) -> Trajectory:
    """Returns the trajectory of one screenplay's pose tokens, over its frames and through the lens of the stage.

    Raises:
        ValueError: tokens that are not a sequence of that many shots.
    """
    # Lenses are named for a film that is 36 mm wide.
    focal = screenplay.width * LENS_MM / FILM_BACK_MM
    return PoseTokenizer(config.tokens).decode(
        ids_N,
        list(screenplay.layout().spans),
        intrinsics_T4=np.array([focal, focal, screenplay.width / 2, screenplay.height / 2]),
        width=screenplay.width,
        height=screenplay.height,
        fps=screenplay.fps,
        captions=tuple(shot.caption for shot in screenplay.shots),
        global_caption=screenplay.caption,
    )
