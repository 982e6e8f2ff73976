"""From screenplays to trajectories: encode the text, decode pose tokens on the device, read them back as cameras."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tokenizers import Tokenizer

from shotverse_jax.camera.tokens.shotverse import PoseTokenizer, sequence_length
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import Execution, PlannerConfig
from shotverse_jax.infer.decode import GREEDY, Draw, Drawn, Grammar, Sampling, decode_native, decode_opt
from shotverse_jax.inputs.planner_text import PlannerExample, collate, encode_text
from shotverse_jax.models import opt
from shotverse_jax.models.planner import Planner
from shotverse_jax.screenplay import Screenplay
from shotverse_jax.stage.scene import LENS_MM
from shotverse_jax.weights import load

TEXT_BUCKET = 64
"""Text lengths are padded to multiples of this, so that few shapes are compiled."""

SAMPLERS = {
    "nucleus": Sampling(),
    "top_k": Sampling(temperature=1.0, top_k=10, top_p=1.0),
    "greedy": GREEDY,
}
"""Ways to pick tokens by name: ShotVerse's nucleus (temperature 0.9, p 0.95), GenDoP's top-k 10, the likeliest."""


@dataclasses.dataclass(frozen=True)
class Director:
    """A planner ready to use.

    Attributes:
        config: the planner's configuration.
        params: its 'params' collection, adapters folded in.
        tokenizer: of captions.
        execution: how the network runs.
    """

    config: PlannerConfig
    params: dict
    tokenizer: Tokenizer
    # Layers are unrolled, because a scan over them is slower for a forward pass on a CPU.
    execution: Execution = Execution(unroll=True)

    @classmethod
    def load(cls, name_or_folder: str = "planner_small", mesh: Mesh | None = None) -> "Director":
        """Reads a shipped planner by its name, or a folder, whose weights may be arrays; splits it over `mesh`.

        Raises:
            ValueError: it is not there or does not fit.
        """
        return cls(*load("planner", name_or_folder, mesh=mesh))

    @functools.cached_property
    def decoder(self) -> dict:
        """The OPT decoder's weights as `decode_opt` takes them, prepared on first use and kept."""
        return opt.decode_weights(self.params["decoder"], self.config.decoder, self.execution.dtype)


class Sampled(NamedTuple):
    """Pose tokens of one screenplay, a row per sample; places as in `infer.decode.Drawn`.

    Attributes:
        ids_JN: int32, BOS … EOS and then PAD.
        log_probs_JN: float32, log p(token | screenplay, tokens before it) under the network, whatever the sampling.
    """

    ids_JN: np.ndarray
    log_probs_JN: np.ndarray


def plan(
    director: Director,
    screenplays: Sequence[Screenplay],
    *,
    seed: int = 0,
    samples: int = 1,
    sampling: Sampling = SAMPLERS["nucleus"],
) -> list[list[Trajectory]]:
    """Plans every screenplay `samples` times: result[i][j] is sample j of screenplay i.

    Shots, their lengths and the cuts are exactly those of `Screenplay.layout()`. The world is the first camera, and
    lengths are metres. Otherwise as `sample_ids`.
    """
    drawn = sample_ids(director, screenplays, seed=seed, samples=samples, sampling=sampling)
    return [
        [read_plan(director.config, screenplay, ids_N) for ids_N in sampled.ids_JN]
        for screenplay, sampled in zip(screenplays, drawn, strict=True)
    ]


def sample_ids(
    director: Director,
    screenplays: Sequence[Screenplay],
    *,
    seed: int = 0,
    samples: int = 1,
    sampling: Sampling = SAMPLERS["nucleus"],
) -> list[Sampled]:
    """Draws the pose tokens of every screenplay `samples` times, with the log-probability of each token.

    Screenplays with the same number of shots are decoded as one batch. A sample depends on its screenplay, the seed and
    its number, not on the others.

    Raises:
        ValueError: captions or shots beyond what the planner takes.
    """
    examples = [encode(director, screenplay) for screenplay in screenplays]
    results: dict[int, Sampled] = {}
    keys_J = sample_keys(seed, samples)
    # The number of shots is a constant of the compiled program, so each batch has one number.
    for num_shots in sorted({len(screenplay.shots) for screenplay in screenplays}):
        chosen = [i for i, screenplay in enumerate(screenplays) if len(screenplay.shots) == num_shots]
        counts_BK = np.array([pose_counts(director.config, screenplays[i]) for i in chosen], np.int32)
        longest = max(sequence_length(director.config.tokens, counts_K) for counts_K in counts_BK)
        draw = Draw.of(
            Grammar.of_planner(director.config, num_shots),
            jnp.tile(keys_J, len(chosen)),
            samples * len(chosen),
            sampling,
            np.repeat(counts_BK, samples, axis=0),
            # The limit counts the tokens after BOS.
            longest - 1,
        )
        batch = collate([examples[i] for i in chosen for _ in range(samples)], TEXT_BUCKET)
        drawn = (np.asarray(x_BN).reshape(len(chosen), samples, -1) for x_BN in decode(director, batch, draw))
        results |= {i: Sampled(*rows) for i, *rows in zip(chosen, *drawn, strict=True)}
    return [results[i] for i in range(len(screenplays))]


def decode(director: Director, batch: Mapping[str, Any], draw: Draw) -> Drawn:
    """Returns the pose tokens of a batch of `inputs.planner_text.collate`, all its screenplays with the same shots.

    Raises:
        ValueError: more tokens than the decoder has positions.
    """
    config, execution = director.config, director.execution
    batch = {name: jnp.asarray(batch[name]) for name in ("text_ids_BS", "slot_BS", "real_BS")}
    if config.decoder_kind == "native":
        return decode_native(director.params, config, execution, batch, draw)
    prefix_BPD = _read_screenplays(director.params, config, execution, batch, draw.grammar.num_shots)
    return decode_opt(director.decoder, config.decoder, prefix_BPD, draw)


@functools.partial(jax.jit, static_argnames=("config", "execution", "num_shots"))
def _read_screenplays(params, config, execution, batch, num_shots):
    return Planner(config, execution).apply({"params": params}, batch, num_shots, method="prefix")


def check(director: Director, screenplay: Screenplay) -> None:
    """Raises ValueError for captions or shots beyond what the planner takes; the parameters may be missing."""
    encode(director, screenplay)


def encode(director: Director, screenplay: Screenplay) -> PlannerExample:
    """Returns the ids that the planner reads of a screenplay. Raises ValueError as `check`."""
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


def sample_keys(seed: int, samples: int) -> jax.Array:
    """Returns the random keys [samples] of a seed; the first ones do not depend on how many follow."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(samples))


def read_plan(config: PlannerConfig, screenplay: Screenplay, ids_N: np.ndarray) -> Trajectory:
    """Returns the trajectory of one screenplay's pose tokens, over its frames and through the lens of the stage.

    Raises:
        ValueError: tokens that are not a sequence of that many shots.
    """
    # Lenses are named for a film that is 36 mm wide.
    focal = screenplay.width * LENS_MM / 36
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
