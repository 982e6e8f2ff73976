"""Whether a judge can be believed: it is tried on scenes of the stage whose true cameras are known.

Of each scene it scores the true cameras with their own words, the same cameras pushed aside until they lose the
subject, and the true cameras with the words of another scene. The true ones must score highest on nearly all scenes;
on average the pushed ones come second and strange words last.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.preference.judges import Judge
from shotverse_jax.preference.measures import measure
from shotverse_jax.preference.previews import Renderer
from shotverse_jax.screenplay import Screenplay

LEAST = 0.9
"""Share of the scenes on which the true cameras must score above the others."""

STEPS = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""How far cameras are pushed aside, metres; the first distance at which the subject is lost is taken."""


class Probe(NamedTuple):
    """How a judge did.

    Attributes:
        judge: its name.
        scenes: how many it was tried on.
        true, pushed, strange: mean scores.
        above_pushed, above_strange: shares of the scenes on which the true cameras score higher.
        rank: Spearman's correlation of its scores with being in frame, over true and pushed cameras.
    """

    judge: str
    scenes: int
    true: float
    pushed: float
    strange: float
    above_pushed: float
    above_strange: float
    rank: float

    @property
    def passed(self) -> bool:
        """Whether it may judge."""
        return min(self.above_pushed, self.above_strange) >= LEAST and self.true > self.pushed

    def sentence(self) -> str:
        """Its numbers in words."""
        return (
            f"{self.judge}: on {self.scenes} scenes the true cameras score {self.true:.3f}, pushed off the subject "
            f"{self.pushed:.3f}, with the words of another scene {self.strange:.3f}; the true ones are above the "
            f"pushed ones on {self.above_pushed:.0%} and above strange words on {self.above_strange:.0%} of the scenes "
            f"(at least {LEAST:.0%} are needed); rank correlation with being in frame {self.rank:.2f}"
        )


def check(judges: Sequence[Judge], renderer: Renderer | None, scenes: int, seed: int = 0) -> list[Probe]:
    """Tries judges; returns how each did.

    Raises:
        ValueError: one of them fails; the message has its numbers.
    """
    found = [probe(judge, renderer, scenes, seed) for judge in judges]
    if failed := [each.sentence() for each in found if not each.passed]:
        raise ValueError(f"this judge cannot be believed: {'; '.join(failed)}; take another, or probes=0 to trust it")
    return found


def probe(judge: Judge, renderer: Renderer | None, scenes: int, seed: int = 0) -> Probe:
    """Tries a judge on held-out scenes of the stage, numbers seed * scenes and on."""
    examples = [sample_example(seed * scenes + i, "test") for i in range(scenes)]
    scores, framed = [], []
    for number, example in enumerate(examples):
        play, other = example.screenplay, _other(examples, number)
        paths = [example.trajectory, pushed(example.trajectory, play)]
        clips = renderer.clips(f"probe_{number}", play, paths) if judge.sees else None
        true, aside = judge.judge(play, paths, clips).plans_J
        [strange] = judge.judge(other, paths[:1], clips and clips[:1]).plans_J
        scores.append((true, aside, strange))
        framed.append(1 - measure(play, paths).misframed_JK.mean(1))
    true_N, pushed_N, strange_N = np.transpose(scores)
    return Probe(
        judge.name,
        scenes,
        *(float(each.mean()) for each in (true_N, pushed_N, strange_N)),
        float(np.mean(true_N > pushed_N)),
        float(np.mean(true_N > strange_N)),
        _rank(np.concatenate([true_N, pushed_N]), np.transpose(framed).reshape(-1)),
    )


def pushed(trajectory: Trajectory, screenplay: Screenplay) -> Trajectory:
    """Returns the same cameras, each shot moved sideways as a whole until it shows the subject as little as it can.

    The motion stays what it was, as it is seen by the camera.
    """
    poses = trajectory.pose_T34.copy()
    for start, end in trajectory.spans:
        right_3 = trajectory.pose_T34[start, :, 0]
        shot = np.zeros(len(trajectory), bool)
        shot[start:end] = True
        moved = [_moved(trajectory, shot, side * step * right_3) for step in STEPS for side in (1, -1)]
        number = int(trajectory.shot_T[start])
        lost_J = measure(screenplay, moved).off_screen_JK[:, number]
        poses[start:end] = moved[int(np.argmax(lost_J >= lost_J.max() - 1e-9))].pose_T34[start:end]
    return dataclasses.replace(trajectory, pose_T34=poses)


def _moved(trajectory: Trajectory, shot_T: np.ndarray, way_3: np.ndarray) -> Trajectory:
    poses = trajectory.pose_T34.copy()
    poses[shot_T, :, 3] += way_3
    return dataclasses.replace(trajectory, pose_T34=poses)


def _other(examples: Sequence, number: int) -> Screenplay:
    """The screenplay of another example, of as many shots, with this one's lengths."""
    own = examples[number].screenplay
    for step in range(1, len(examples) + 1):
        other = examples[(number + step) % len(examples)].screenplay
        if len(other.shots) == len(own.shots) or step == len(examples):
            break
    shots = tuple(
        dataclasses.replace(mine, caption=other.shots[i % len(other.shots)].caption) for i, mine in enumerate(own.shots)
    )
    return dataclasses.replace(own, caption=other.caption, shots=shots)


def _rank(a_N: np.ndarray, b_N: np.ndarray) -> float:
    """Spearman's rank correlation; equal values share the mean of their ranks."""

    def ranks(x_N):
        _, inverse, count = np.unique(x_N, return_inverse=True, return_counts=True)
        return (np.cumsum(count) - (count + 1) / 2)[inverse]

    a_N, b_N = ranks(a_N), ranks(b_N)
    spread = a_N.std() * b_N.std()
    return float(np.mean((a_N - a_N.mean()) * (b_N - b_N.mean())) / spread) if spread else 0.0
