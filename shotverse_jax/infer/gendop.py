"""GenDoP in the form of `infer/plan.py`: single shots from captions, from first frames with or without depth, or both.

What a network is conditioned on follows from its towers (`config.MODES`).
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tokenizers import Tokenizer

from shotverse_jax.camera.tokens.gendop import GenDoPTokenizer, PredScale, value_count
from shotverse_jax.camera.tokens.shotverse import EOS
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import MODES, Execution, GenDoPConfig
from shotverse_jax.conversion.commands import MANIFEST
from shotverse_jax.files import read_json
from shotverse_jax.infer.decode import SAMPLERS, Draw, Drawn, Grammar, Sampling, decode_opt
from shotverse_jax.infer.execution import choose
from shotverse_jax.infer.plan import Plan, in_order
from shotverse_jax.infer.samples import Sampled, block_rows, draw_samples
from shotverse_jax.inputs.clip import read_conditions, read_depth, read_image
from shotverse_jax.inputs.planner_text import unknown_words
from shotverse_jax.models import opt
from shotverse_jax.models.gendop import GenDoP
from shotverse_jax.screenplay import Screenplay
from shotverse_jax.weights import find, load
from shotverse_jax.weights.folder import read_config

FPS = 30.0
"""Frames per second of GenDoP's 120 poses, as its motion tags take them; its files name no rate."""


@dataclasses.dataclass(frozen=True)
class GenDoPPlanner:
    """GenDoP ready to use.

    Attributes:
        config: its configuration.
        params: its 'params' collection.
        tokenizer: CLIP's; None for a network that reads no captions.
        execution: how the network runs.
        mesh: the devices that weights are split over; None for one device.
        mode: what of its towers is used, a key of `MODES`; None (default) for all of them, as it was trained.
    """

    config: GenDoPConfig
    params: dict
    tokenizer: Tokenizer | None
    execution: Execution = Execution()
    mesh: Mesh | None = None
    mode: str | None = None

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

    def conditioned(self, mode: str | None) -> "GenDoPPlanner":
        """Returns the planner with a mode of GenDoP, which its towers must have; None takes all of them.

        Raises:
            ValueError: there is no such mode, or the network has no tower for it.
        """
        if mode is not None and mode not in MODES:
            raise ValueError(f"GenDoP's modes are {', '.join(MODES)}; got {mode!r}")
        if mode is not None and not set(MODES[mode]) <= set(self.config.conditions):
            raise ValueError(f"this GenDoP is one of {self.config.mode}; it has not the towers of {mode}")
        return dataclasses.replace(self, mode=mode)

    @property
    def conditions(self) -> tuple[str, ...]:
        """What it is conditioned on: of "text", "image" and "depth" those that are used."""
        return MODES[self.mode or self.config.mode]

    def plan(
        self,
        screenplays: Sequence[Screenplay],
        seeds: int | Sequence[int] = 0,
        samples: int = 1,
        sampling: Sampling = SAMPLERS["top_k"],
        candidates: int | None = None,
    ) -> Iterator[Plan]:
        """Yields the plans of screenplays as they finish; arguments and errors are those of `plans`.

        candidates: 1 or None, since a GenDoP's world and unit are its own: nobody can say where its subject is.
        """
        if candidates not in (None, self.usual_candidates):
            raise ValueError(f"a GenDoP draws one candidate for each plan, got {candidates}")
        return plans(self, screenplays, seed=seeds, samples=samples, sampling=sampling)

    def bucket(self, screenplay: Screenplay) -> int:
        """All screenplays share one program. Raises ValueError for one that GenDoP cannot plan."""
        read(self, [screenplay], None)
        return 0

    def notes(self, screenplay: Screenplay) -> tuple[str, ...]:
        """Sentences about the words of a screenplay that the planner cannot know."""
        if "text" not in self.conditions:
            return ()
        return tuple(filter(None, (unknown_words(self.tokenizer, screenplay),)))

    @property
    def usual_candidates(self) -> int:
        """As `infer.plan.Director`'s: a GenDoP has one."""
        return 1

    @property
    def parts(self) -> int:
        """The rows of a batch are not split over a mesh."""
        return 1

    @functools.cached_property
    def decoder(self) -> dict:
        """The pose decoder's weights as `decode_opt` takes them, prepared on first use and kept."""
        return opt.decode_weights(self.params["decoder"], self.config.decoder, self.execution.dtype)


def mode_of(text: bool, image: bool, depth: bool) -> str:
    """Returns the mode of what is given. Raises ValueError where GenDoP has no such mode."""
    given = {"text": text, "image": image, "depth": depth}
    given = tuple(name for name, here in given.items() if here)
    if given not in MODES.values():
        raise ValueError(f"no mode of GenDoP takes {' and '.join(given) or 'nothing'}; modes: {', '.join(MODES)}")
    return next(mode for mode, conditions in MODES.items() if conditions == given)


class Made(NamedTuple):
    """What a folder of GenDoP says of its network before it is loaded.

    Attributes:
        mode: what it is conditioned on, a key of `MODES`.
        directorial: whether it was converted of a checkpoint for captions of what is shown and why.
    """

    mode: str
    directorial: bool


def look(name_or_folder: str | Path) -> Made:
    """Returns what a folder of GenDoP says, by its path or name, without reading weights.

    Raises:
        ValueError: it is not there, or no GenDoP.
    """
    path = Path(name_or_folder)
    if path.suffix in (".safetensors", ".pt", ".ckpt", ".bin") and path.is_file():
        raise ValueError(
            f"{path} is a checkpoint; make a folder of it first: shotverse convert {path} --as gendop-text-motion "
            "(or another of GenDoP's networks) --out FOLDER --tokenizer FILE"
        )
    folder = find("gendop", name_or_folder)
    manifest = folder / MANIFEST
    values = read_json(manifest).get("model") if manifest.is_file() else None
    network = values.get("network") if isinstance(values, dict) else None
    config = read_config(folder, GenDoPConfig)
    return Made(config.mode, config.mode != "text" or network == "gendop-text-directorial")


class Picture(NamedTuple):
    """The first frame of a shot, uint8 RGB [H, W, 3], and its depth [H', W'] in the unit that the network learned.

    What the network is not conditioned on is None.
    """

    image_HWC: np.ndarray | None = None
    depth_HW: np.ndarray | None = None

    @classmethod
    def read(cls, image: str | Path | None, depth: str | Path | None) -> "Picture":
        """Reads the files that are given. Raises ValueError as `read_image` and `read_depth`."""
        return cls(None if image is None else read_image(image), None if depth is None else read_depth(depth))


class Inputs(NamedTuple):
    """What the network reads of a batch, as `inputs/clip.py` makes it; None for what it is not conditioned on."""

    text_ids_BT: np.ndarray | None = None
    real_BT: np.ndarray | None = None
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

    The path is spread over the shot's frames; focal lengths are the network's own, and so is the unit of length. A path
    has a stage where the network knows where its subject is (`GenDoPTokenConfig`).

    Raises:
        ValueError: a screenplay of several shots, or pictures that the planner is not conditioned on and the reverse.
    """
    drawn = _sample(planner, screenplays, pictures, seed, samples, sampling)

    def read_all(index, sampled):
        play, config = screenplays[index], planner.config
        return [read_plan(config, play, *drawn) for drawn in zip(sampled.ids_JN, _anchors(sampled), strict=True)]

    return (Plan(index, functools.partial(read_all, index, sampled)) for index, sampled in drawn)


def predictions(
    planner: GenDoPPlanner,
    screenplays: Sequence[Screenplay],
    pictures: Sequence[Picture] | None = None,
    *,
    seed: int | Sequence[int] = 0,
    samples: int = 1,
    sampling: Sampling = SAMPLERS["top_k"],
    pred_scale: PredScale = "none",
) -> Iterator[Plan]:
    """Yields GenDoP's own predictions, whatever a screenplay's frames: 120 poses, `FPS`, an image of 512x512.

    The world is that of the sequence, whose first camera need not be the identity. Arguments and errors are those of
    `plans`; pred_scale is that of `GenDoPTokenizer`.
    """
    tokenizer = GenDoPTokenizer(planner.config.tokens, pred_scale)
    drawn = _sample(planner, screenplays, pictures, seed, samples, sampling)

    def read_all(index, sampled):
        captions = (screenplays[index].shots[0].caption,) if "text" in planner.conditions else ()
        fields = {"fps": FPS, "captions": captions, "first_camera": False}
        rows = zip(sampled.ids_JN, _anchors(sampled), strict=True)
        return [tokenizer.decode(ids_N, anchor_3=anchor_3, **fields) for ids_N, anchor_3 in rows]

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
        prefix_BPD = _prefix(planner.params, planner.config, planner.execution, *rows)
        drawn = _decode(planner, prefix_BPD, keys_B, sampling)
        if planner.config.tokens.anchor != "head":
            return drawn
        return *drawn, _predicted_anchor(planner.params, planner.config, planner.execution, prefix_BPD)

    # Texts, pictures and paths are all of one length, so there is one bucket.
    return draw_samples([0] * len(screenplays), seed, samples, block_rows(), run)


def read(planner: GenDoPPlanner, screenplays: Sequence[Screenplay], pictures: Sequence[Picture] | None) -> Inputs:
    """Returns what the network reads of screenplays and their pictures; the text is all of a screenplay's captions.

    Raises:
        ValueError: a screenplay of several shots, another number of pictures, pictures that the planner is not
            conditioned on or that lack what it is conditioned on, or arrays that are no pictures.
    """
    for screenplay in screenplays:
        if len(screenplay.shots) != 1:
            raise ValueError(f"GenDoP plans one shot, the screenplay has {len(screenplay.shots)}; give its shots alone")
    if pictures is not None and len(pictures) != len(screenplays):
        raise ValueError(f"{len(screenplays)} screenplays and {len(pictures)} pictures; give one for each")
    for picture in [Picture()] if pictures is None else pictures:
        _check_picture(planner, picture)
    texts = [play.words(0) for play in screenplays]
    images, depths = zip(*(pictures or [Picture()]), strict=True)
    return Inputs(**read_conditions(planner.config, planner.conditions, planner.tokenizer, texts, images, depths))


def _check_picture(planner: GenDoPPlanner, picture: Picture) -> None:
    for name, value in (("image", picture.image_HWC), ("depth", picture.depth_HW)):
        if (name in planner.conditions) != (value is not None):
            does = "sees" if name in planner.conditions else "does not see"
            raise ValueError(
                f"GenDoP's mode {planner.mode or planner.config.mode} {does} the {name} of a shot; "
                f"{'give it' if value is None else 'leave it out'}"
            )


def decode(planner: GenDoPPlanner, inputs: Inputs, key: jax.Array, sampling: Sampling = SAMPLERS["top_k"]) -> Drawn:
    """Returns pose tokens [B, N] of 30 poses, BOS … EOS, as `GenDoPTokenizer.decode` takes a row.

    key: one key, or one per row, as in `Draw.of`. Every token is a value, so that a sequence is always complete; EOS
    is not drawn, and its log-probability is 0 like that of BOS. The original draws a 301st token and drops it.

    Raises:
        ValueError: conditions that the network has no towers for.
    """
    return _decode(planner, _prefix(planner.params, planner.config, planner.execution, *inputs), key, sampling)


def _decode(planner: GenDoPPlanner, prefix_BPD: jax.Array, key: jax.Array, sampling: Sampling) -> Drawn:
    grammar = Grammar.of_gendop(value_count(planner.config.tokens))
    draw = Draw.of(grammar, key, len(prefix_BPD), sampling)
    ids_BN, log_probs_BN = decode_opt(planner.decoder, planner.config.decoder, prefix_BPD, draw)
    end = ((0, 0), (0, 1))
    return Drawn(jnp.pad(ids_BN, end, constant_values=EOS), jnp.pad(log_probs_BN, end))


@functools.partial(jax.jit, static_argnames=("config", "execution"))
def _prefix(params, config, execution, *inputs):
    return GenDoP(config, execution).apply({"params": params}, *inputs, method="prefix")


@functools.partial(jax.jit, static_argnames=("config", "execution"))
def _predicted_anchor(params, config, execution, prefix_BPD):
    return GenDoP(config, execution).apply({"params": params}, prefix_BPD, method="predict_anchor")


def _anchors(sampled: Sampled) -> Sequence[np.ndarray | None]:
    """The predicted anchor of every sample; None where the network predicts none."""
    return [None] * len(sampled.ids_JN) if sampled.anchor_J3 is None else list(sampled.anchor_J3)


def read_plan(
    config: GenDoPConfig, screenplay: Screenplay, ids_N: np.ndarray, anchor_3: np.ndarray | None = None
) -> Trajectory:
    """Returns the trajectory of one screenplay's pose tokens over its frames.

    anchor_3: what the network's anchor head predicted, where it has one (`Sampled.anchor_J3`).

    Raises:
        ValueError: broken tokens.
    """
    return GenDoPTokenizer(config.tokens).decode(
        ids_N,
        list(screenplay.layout().spans),
        anchor_3=anchor_3,
        width=screenplay.width,
        height=screenplay.height,
        fps=screenplay.fps,
        captions=tuple(shot.caption for shot in screenplay.shots),
        global_caption=screenplay.caption,
    )
