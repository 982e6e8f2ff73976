"""From scores of candidates to pairs: the best against the worst, of whole plans or of single shots.

Array axes: J candidates; K shots.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory


class Verdict(NamedTuple):
    """What a judge says of the candidates of one screenplay; higher is better, and 1 is the best there is.

    Attributes:
        shots_JK: scores of every shot.
        scenes_J: scores of whole plans; None for the mean over shots.
    """

    shots_JK: np.ndarray
    scenes_J: np.ndarray | None = None

    @property
    def plans_J(self) -> np.ndarray:
        """Scores of whole plans."""
        return self.shots_JK.mean(1) if self.scenes_J is None else self.scenes_J


@dataclasses.dataclass(frozen=True)
class Rule:
    """Which candidates make a pair.

    Attributes:
        unit: "scene" compares whole plans; "shot" compares each shot of the candidates, with the other shots the same.
        margin: by how much the better one's score must be higher.
        weights: weight of each judge in the score, by its name; one that is missing has weight 1. A weight of 0 leaves
            the judge out of the score, but not out of `agreed`.
        agreed: whether no judge may put the worse one first, nor the better one be framed worse by MisR. A captioner
            alone would at times prefer a plan that loses its subject.
    """

    unit: Literal["scene", "shot"] = "scene"
    margin: float = 0.05
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    agreed: bool = True


class Choice(NamedTuple):
    """A pair of candidates.

    Attributes:
        chosen, rejected: their numbers.
        shot: the shot that is compared; None for whole plans.
        chosen_score, rejected_score: weighted means of the judges' scores.
    """

    chosen: int
    rejected: int
    shot: int | None
    chosen_score: float
    rejected_score: float


def choose(verdicts: Mapping[str, Verdict], misframed_JK: np.ndarray | None, rule: Rule) -> Iterator[Choice]:
    """Yields the pairs of one screenplay: one of whole plans, or one for each shot; none where the rule finds none.

    verdicts: by the name of the judge. misframed_JK: MisR of every shot; None where it is not known.
    """
    shots = next(iter(verdicts.values())).shots_JK.shape[1]
    for shot in [None] if rule.unit == "scene" else range(shots):
        scores = {name: _of(verdict, shot) for name, verdict in verdicts.items()}
        total_J = combined(scores, rule.weights)
        chosen, rejected = int(np.argmax(total_J)), int(np.argmin(total_J))
        better = [scores_J[chosen] >= scores_J[rejected] for scores_J in scores.values()]
        if misframed_JK is not None:
            misframed_J = misframed_JK.mean(1) if shot is None else misframed_JK[:, shot]
            better.append(misframed_J[chosen] <= misframed_J[rejected])
        if total_J[chosen] - total_J[rejected] >= max(rule.margin, 1e-9) and (all(better) or not rule.agreed):
            yield Choice(chosen, rejected, shot, float(total_J[chosen]), float(total_J[rejected]))


def combined(scores: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """Returns the weighted mean of judges' scores; all weights 0 count as 1."""
    own = np.asarray([weights.get(name, 1.0) for name in scores])
    own = own if own.any() else np.ones(len(own))
    return np.einsum("g,g...->...", own / own.sum(), np.stack(list(scores.values())))


def _of(verdict: Verdict, shot: int | None) -> np.ndarray:
    return verdict.plans_J if shot is None else verdict.shots_JK[:, shot]


def spliced(first: Trajectory, shot: int, other: Trajectory) -> Trajectory:
    """Returns the first plan with one shot of another plan of the same screenplay, in the same place on the stage.

    Where the plans do not say where the stage is, their worlds are taken for one.
    """
    pose_T34 = other.pose_T34
    if first.stage_34 is not None and other.stage_34 is not None:
        pose_T34 = se3.compose(se3.compose(first.stage_34, se3.inverse(other.stage_34)), pose_T34)
    start, end = first.spans[shot]
    poses = first.pose_T34.copy()
    poses[start:end] = pose_T34[start:end]
    return dataclasses.replace(first, pose_T34=poses)


def swapped_tokens(
    first_N: Sequence[int], shot: int, other_N: Sequence[int], separator: int, header: int
) -> np.ndarray | None:
    """Returns the first plan's tokens with those of one shot of another plan, exactly as both were sampled.

    It is None where the plans have different headers, because a value then means another length in each.

    header: number of tokens before the first shot, BOS among them.
    """
    first_N, other_N = np.asarray(first_N), np.asarray(other_N)
    if not np.array_equal(first_N[:header], other_N[:header]):
        return None
    bounds = [
        (starts[shot], starts[shot + 1])
        for ids_N in (first_N, other_N)
        for starts in [[header, *(np.flatnonzero(ids_N == separator) + 1), len(ids_N)]]
    ]
    (start, end), (other_start, other_end) = bounds
    return np.concatenate([first_N[:start], other_N[other_start:other_end], first_N[end:]]).astype(np.int32)
