"""From screenplays to trajectories: encode the text, decode pose tokens on the device, read them back as cameras."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tokenizers import Tokenizer

from shotverse_jax.camera.tokens.shotverse import PoseTokenizer, sequence_length
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import Execution, PlannerConfig
from shotverse_jax.infer.decode import GREEDY, Sampling, decode
from shotverse_jax.inputs.planner_text import PlannerExample, collate, encode_text
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
    """A planner ready to use: its configuration, parameters and text tokenizer."""

    config: PlannerConfig
    params: dict
    tokenizer: Tokenizer
    execution: Execution = Execution(unroll=True)

    @classmethod
    def load(cls, name_or_folder: str = "planner_small", mesh: Mesh | None = None) -> "Director":
        """By the name of a shipped planner or by folder, whose weights may be arrays; split over `mesh` if it is given.

        Raises:
            ValueError: it is not there or does not fit.
        """
        return cls(*load("planner", name_or_folder, mesh=mesh))


def plan(
    director: Director,
    screenplays: Sequence[Screenplay],
    *,
    seed: int = 0,
    samples: int = 1,
    sampling: Sampling = SAMPLERS["nucleus"],
) -> list[list[Trajectory]]:
    """Plans every screenplay `samples` times: result[i][j] is sample j of screenplay i.

    Shots, their lengths and the cuts are exactly those of `Screenplay.layout()`. World: the first camera; metres.
    Screenplays with the same number of shots are decoded as one batch; what comes out depends on the screenplay, the
    seed and the sample's number, not on the others. Raises ValueError for captions or shots beyond
    what the planner takes.
    """
    config = director.config
    for screenplay in screenplays:
        check(director, screenplay)
    results: list[list[Trajectory]] = [[] for _ in screenplays]
    keys_S = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(samples))
    for num_shots in sorted({len(s.shots) for s in screenplays}):
        chosen = [i for i, s in enumerate(screenplays) if len(s.shots) == num_shots]
        ids_BSN = _decode(director, [screenplays[i] for i in chosen], num_shots, keys_S, sampling)
        for i, ids_SN in zip(chosen, ids_BSN, strict=True):
            results[i] = [read_plan(config, screenplays[i], ids_N) for ids_N in ids_SN]
    return results


def check(director: Director, screenplay: Screenplay) -> None:
    """Raises ValueError for captions or shots beyond what the planner takes; its parameters are not needed."""
    config = director.config
    if len(screenplay.shots) > config.max_shots:
        raise ValueError(
            f"this planner takes up to {config.max_shots} shots, the screenplay has {len(screenplay.shots)}; "
            "split it into scenes"
        )
    _encode(director, screenplay)


def read_plan(config: PlannerConfig, screenplay: Screenplay, ids_N: np.ndarray) -> Trajectory:
    """Pose tokens of one screenplay → its trajectory over the screenplay's frames, through the lens of the stage."""
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


def _encode(director: Director, screenplay: Screenplay) -> tuple[np.ndarray, np.ndarray]:
    captions = [shot.caption for shot in screenplay.shots]
    return encode_text(director.config, director.tokenizer, screenplay.caption, captions)


def _decode(director, screenplays, num_shots, keys_S, sampling) -> np.ndarray:
    """ids [screenplay, sample, N] of screenplays with the same number of shots."""
    samples = len(keys_S)
    config = director.config
    pose_tokenizer = PoseTokenizer(config.tokens)
    rows, counts = [], []
    for screenplay in screenplays:
        rows += [PlannerExample(*_encode(director, screenplay))] * samples
        counts += [pose_tokenizer.pose_counts(list(screenplay.layout().spans))] * samples
    longest = max(sequence_length(config.tokens, c) for c in counts)
    ids_BN = decode(
        director.params,
        config,
        director.execution,
        collate(rows, TEXT_BUCKET),
        np.array(counts, np.int32),
        jnp.tile(keys_S, len(screenplays)),
        sampling,
        num_shots=num_shots,
        max_tokens=longest,
    )
    return np.asarray(ids_BN).reshape(len(screenplays), samples, -1)
