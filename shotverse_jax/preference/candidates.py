"""Candidates: several plans of a screenplay, with the tokens that were drawn and the probability of each."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax.camera.tokens.gendop import GenDoPTokenizer
from shotverse_jax.camera.tokens.shotverse import PoseTokenizer, through_end
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.files import reading
from shotverse_jax.infer import gendop, plan
from shotverse_jax.infer.decode import SAMPLERS, Sampling
from shotverse_jax.infer.gendop import GenDoPPlanner
from shotverse_jax.infer.plan import Director
from shotverse_jax.screenplay import Screenplay


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """The plans of one screenplay that can be read.

    Attributes:
        screenplay: what was planned.
        ids_J: the tokens of each, int32 [N], BOS … EOS.
        log_probs_J: of each token log p(token | screenplay, tokens before it), float32 [N], 0 at BOS.
        paths_J: the cameras of each.
        broken: how many samples were no plans and are left out. Only a GenDoP that has learned little draws such.
    """

    screenplay: Screenplay
    ids_J: tuple[np.ndarray, ...]
    log_probs_J: tuple[np.ndarray, ...]
    paths_J: tuple[Trajectory, ...]
    broken: int = 0

    def save(self, path: Path) -> None:
        """Writes tokens and log-probabilities as an .npz file, a row for each plan, padded with zeros."""
        longest = max(map(len, self.ids_J))
        rows = {"ids_JN": self.ids_J, "log_probs_JN": self.log_probs_J}
        np.savez_compressed(
            path, **{name: np.stack([np.pad(x, (0, longest - len(x))) for x in part]) for name, part in rows.items()}
        )


def draw(
    planner: Director | GenDoPPlanner,
    screenplays: Sequence[Screenplay],
    seeds: int | Sequence[int],
    count: int,
    sampling: Sampling | None = None,
    pictures: Sequence[gendop.Picture] | None = None,
) -> Iterator[Candidates]:
    """Yields the candidates of each screenplay, in their order; a plan depends on its screenplay and seed alone.

    Args:
        planner: ShotVerse's or GenDoP's.
        screenplays: what is planned.
        seeds: one for all, or one for each screenplay.
        count: candidates of each.
        sampling: how tokens are picked; None takes the planner's own way.
        pictures: of each screenplay, where a GenDoP reads them.

    Raises:
        ValueError: a screenplay that the planner cannot plan; or, of a single one, no candidate that is a plan.
    """
    options: dict[str, Any] = {"seed": seeds, "samples": count}
    if isinstance(planner, GenDoPPlanner):
        drawn = gendop.sample_ids(planner, screenplays, pictures, sampling=sampling or SAMPLERS["top_k"], **options)
    else:
        drawn = plan.sample_ids(planner, screenplays, sampling=sampling or SAMPLERS["nucleus"], **options)
    for screenplay, sampled in zip(screenplays, drawn, strict=True):
        found, broken = [], 0
        for number, (ids_N, log_probs_N) in enumerate(zip(sampled.ids_JN, sampled.log_probs_JN, strict=True)):
            plan_N = through_end(ids_N)
            anchor_3 = None if sampled.anchor_J3 is None else sampled.anchor_J3[number]
            try:
                found.append((plan_N, log_probs_N[: len(plan_N)], read(planner, screenplay, ids_N, anchor_3)))
            except ValueError as error:
                broken, reason = broken + 1, error
        if not found:
            raise ValueError(f"none of {count} samples is a plan: {reason}")
        yield Candidates(screenplay, *map(tuple, zip(*found, strict=True)), broken)


def read(
    planner: Director | GenDoPPlanner, screenplay: Screenplay, ids_N: np.ndarray, anchor_3: np.ndarray | None = None
) -> Trajectory:
    """Returns the cameras of a plan's tokens.

    anchor_3: the first position of a GenDoP that says it beside the tokens.

    Raises:
        ValueError: tokens that are no plan.
    """
    if isinstance(planner, GenDoPPlanner):
        return gendop.read_plan(planner.config, screenplay, ids_N, anchor_3)
    return plan.read_plan(planner.config, screenplay, ids_N)


def load(planner: Director | GenDoPPlanner, screenplay: Screenplay, path: Path, count: int) -> Candidates:
    """Returns the first `count` candidates of a screenplay that `Candidates.save` wrote.

    Raises:
        ValueError: the file is not there or has fewer plans, or the planner needs more than tokens to read them.
    """
    if isinstance(planner, GenDoPPlanner) and planner.config.tokens.anchor == "head":
        raise ValueError(
            "this planner says its first position beside the tokens, which are all that is kept; draw anew"
        )
    if not path.is_file():
        raise ValueError(f"there are no candidates {path}")
    with reading(path, "candidates"), np.load(path) as stored:
        ids_JN, log_probs_JN = stored["ids_JN"][:count], stored["log_probs_JN"][:count]
    if len(ids_JN) < count:
        raise ValueError(f"{path} has {len(ids_JN)} candidates, not {count}")
    plans = [through_end(ids_N) for ids_N in ids_JN]
    paths = tuple(read(planner, screenplay, ids_N) for ids_N in plans)
    kept = tuple(row_N[: len(ids_N)] for row_N, ids_N in zip(log_probs_JN, plans, strict=True))
    return Candidates(screenplay, tuple(plans), kept, paths)


def tokenizer_of(planner: Director | GenDoPPlanner) -> PoseTokenizer | GenDoPTokenizer:
    """Returns the tokenizer of a planner's poses."""
    return (
        GenDoPTokenizer(planner.config.tokens)
        if isinstance(planner, GenDoPPlanner)
        else PoseTokenizer(planner.config.tokens)
    )
