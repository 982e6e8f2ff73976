"""GenDoP as published, in the form of `infer/plan.py`: captions of single shots, and pictures where it has the towers.

A network with vision towers also sees the first frame of the shot and that frame's depth.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tokenizers import Tokenizer

from shotverse_jax.camera.tokens.gendop import NUM_POSES, GenDoPTokenizer
from shotverse_jax.camera.tokens.shotverse import EOS
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import Execution, GenDoPConfig
from shotverse_jax.infer.decode import SAMPLERS, Draw, Drawn, Grammar, Sampling, decode_opt
from shotverse_jax.infer.execution import choose
from shotverse_jax.infer.plan import Plan, in_order
from shotverse_jax.infer.samples import Sampled, block_rows, draw_samples
from shotverse_jax.inputs.clip import prepare_depth, prepare_image, tokenize
from shotverse_jax.inputs.planner_text import unknown_words
from shotverse_jax.models import opt
from shotverse_jax.models.gendop import GenDoP
from shotverse_jax.screenplay import Screenplay
from shotverse_jax.weights import load

GRAMMAR = Grammar.of_gendop(NUM_POSES)


@dataclasses.dataclass(frozen=True)
class GenDoPPlanner:
    """GenDoP ready to use.

    Attributes:
        config: its configuration.
        params: its 'params' collection.
        tokenizer: CLIP's.
        execution: how the network runs.
        mesh: the devices that weights are split over; None for one device.
    """

    config: GenDoPConfig
    params: dict
    tokenizer: Tokenizer
    execution: Execution = Execution()
    mesh: Mesh | None = None

    @classmethod
    def load(
        cls, folder: str, mesh: Mesh | None = None, dtype: str | None = None, attention: str | None = None
    ) -> "GenDoPPlanner":
        """Reads a folder that `shotverse convert --as gendop-…` wrote.

        mesh, dtype, attention: as `infer.execution.choose` takes them; None takes the platform's own.

        Raises:
            ValueError: it is not there or does not fit, or there is no such kernel here.
        """
        execution, place = choose(mesh, dtype, attention)
        execution = dataclasses.replace(execution, unroll=False)
        config, params, tokenizer = load("gendop", folder, mesh=place, dtype=execution.dtype)
        return cls(config, params, tokenizer, execution, mesh)

    def plan(
        self,
        screenplays: Sequence[Screenplay],
        seeds: int | Sequence[int] = 0,
        samples: int = 1,
        sampling: Sampling = SAMPLERS["top_k"],
    ) -> Iterator[Plan]:
        """Yields the plans of screenplays as they finish; arguments and errors are those of `plans`."""
        return plans(self, screenplays, seed=seeds, samples=samples, sampling=sampling)

    def bucket(self, screenplay: Screenplay) -> int:
        """All screenplays share one program. Raises ValueError for one that GenDoP cannot plan."""
        read(self, [screenplay], None)
        return 0

    def notes(self, screenplay: Screenplay) -> tuple[str, ...]:
        """Sentences about the words of a screenplay that the planner cannot know."""
        return tuple(filter(None, (unknown_words(self.tokenizer, screenplay),)))

    @property
    def parts(self) -> int:
        """The rows of a batch are not split over a mesh."""
        return 1

    @functools.cached_property
    def decoder(self) -> dict:
        """The pose decoder's weights as `decode_opt` takes them, prepared on first use and kept."""
        return opt.decode_weights(self.params["decoder"], self.config.decoder, self.execution.dtype)


class Picture(NamedTuple):
    """The first frame of a shot, uint8 RGB [H, W, 3], and its depth [H', W'] in the unit that the network learned."""

    image_HWC: np.ndarray
    depth_HW: np.ndarray


class Inputs(NamedTuple):
    """What the network reads of a batch, as `inputs/clip.py` makes it; no pictures where it has no vision towers."""

    text_ids_BT: np.ndarray
    real_BT: np.ndarray
    image_BHWC: np.ndarray | None = None
    depth_BHW: np.ndarray | None = None


def plan(
    planner: GenDoPPlanner,
    screenplays: Sequence[Screenplay],
    pictures: Sequence[Picture] | None = None,
    *,
    seed: int | Sequence[int] = 0,
    samples: int = 1,
    sampling: Sampling = SAMPLERS["top_k"],
) -> list[list[Trajectory]]:
    """Plans every screenplay `samples` times: result[i][j] is sample j of screenplay i; otherwise as `plans`."""
    return in_order(plans(planner, screenplays, pictures, seed=seed, samples=samples, sampling=sampling))


def plans(
    planner: GenDoPPlanner,
    screenplays: Sequence[Screenplay],
    pictures: Sequence[Picture] | None = None,
    *,
    seed: int | Sequence[int] = 0,
    samples: int = 1,
    sampling: Sampling = SAMPLERS["top_k"],
) -> Iterator[Plan]:
    """Yields the plans of every screenplay, each of a single shot, as soon as they are drawn.

    The path is spread over the shot's frames; focal lengths are the network's own, and so is the unit of length.

    Raises:
        ValueError: a screenplay of several shots, or pictures where there are no towers and the reverse.
    """
    drawn = _sample(planner, screenplays, pictures, seed, samples, sampling)

    def read_all(index, sampled):
        return [read_plan(screenplays[index], ids_N) for ids_N in sampled.ids_JN]

    return (Plan(index, functools.partial(read_all, index, sampled)) for index, sampled in drawn)


def sample_ids(
    planner: GenDoPPlanner,
    screenplays: Sequence[Screenplay],
    pictures: Sequence[Picture] | None = None,
    *,
    seed: int | Sequence[int] = 0,
    samples: int = 1,
    sampling: Sampling = SAMPLERS["top_k"],
) -> list[Sampled]:
    """Draws the pose tokens of every screenplay `samples` times, with their log-probabilities.

    A sample depends on its screenplay, its seed and its number alone, to the last bit. Raises ValueError as `plans`.
    """
    drawn = dict(_sample(planner, screenplays, pictures, seed, samples, sampling))
    return [drawn[i] for i in range(len(screenplays))]


def _sample(planner, screenplays, pictures, seed, samples, sampling) -> Iterator[tuple[int, Sampled]]:
    inputs = read(planner, screenplays, pictures)

    def run(_, chosen, keys_B):
        rows = jax.tree.map(lambda x_B: x_B[np.asarray(chosen)], inputs)
        return decode(planner, rows, keys_B, sampling)

    # Texts, pictures and paths are all of one length, so there is one bucket.
    return draw_samples([0] * len(screenplays), seed, samples, block_rows(), run)


def read(planner: GenDoPPlanner, screenplays: Sequence[Screenplay], pictures: Sequence[Picture] | None) -> Inputs:
    """Returns what the network reads of screenplays and their pictures; the text is all of a screenplay's captions.

    Raises:
        ValueError: a screenplay of several shots, another number of pictures, or arrays that are no pictures.
    """
    for screenplay in screenplays:
        if len(screenplay.shots) != 1:
            raise ValueError(f"GenDoP plans one shot, the screenplay has {len(screenplay.shots)}; give its shots alone")
    texts = [" ".join(filter(None, (play.caption, play.shots[0].caption))) for play in screenplays]
    inputs = Inputs(*tokenize(planner.tokenizer, texts, planner.config.text.max_positions))
    if pictures is None:
        return inputs
    if len(pictures) != len(screenplays):
        raise ValueError(f"{len(screenplays)} screenplays and {len(pictures)} pictures; give one for each")
    # A network without towers refuses pictures later, whatever their size is.
    size = planner.config.vision.image_size if planner.config.vision else 224
    return inputs._replace(
        image_BHWC=np.stack([prepare_image(picture.image_HWC, size) for picture in pictures]),
        depth_BHW=np.stack([prepare_depth(picture.depth_HW, size) for picture in pictures]),
    )


def decode(planner: GenDoPPlanner, inputs: Inputs, key: jax.Array, sampling: Sampling = SAMPLERS["top_k"]) -> Drawn:
    """Returns pose tokens [B, 302] of 30 poses, BOS … EOS, as `GenDoPTokenizer.decode` takes a row.

    key: one key, or one per row, as in `Draw.of`. Every token is a value, so that a sequence is always complete; EOS
    is not drawn, and its log-probability is 0 like that of BOS. The original draws a 301st token and drops it.

    Raises:
        ValueError: pictures where the network has no towers for them, or the reverse.
    """
    prefix_BPD = _prefix(planner.params, planner.config, planner.execution, *inputs)
    draw = Draw.of(GRAMMAR, key, len(prefix_BPD), sampling)
    ids_BN, log_probs_BN = decode_opt(planner.decoder, planner.config.decoder, prefix_BPD, draw)
    end = ((0, 0), (0, 1))
    return Drawn(jnp.pad(ids_BN, end, constant_values=EOS), jnp.pad(log_probs_BN, end))


@functools.partial(jax.jit, static_argnames=("config", "execution"))
def _prefix(params, config, execution, *inputs):
    return GenDoP(config, execution).apply({"params": params}, *inputs, method="prefix")


def read_plan(screenplay: Screenplay, ids_N: np.ndarray) -> Trajectory:
    """Returns the trajectory of one screenplay's pose tokens over its frames. Raises ValueError for broken tokens."""
    return GenDoPTokenizer().decode(
        ids_N,
        list(screenplay.layout().spans),
        width=screenplay.width,
        height=screenplay.height,
        fps=screenplay.fps,
        captions=tuple(shot.caption for shot in screenplay.shots),
        global_caption=screenplay.caption,
    )
