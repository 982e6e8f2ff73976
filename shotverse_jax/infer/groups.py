"""Screenplays of more shots than a planner takes: planned in groups that have one shot in common, then put together.

Each group is planned in a world of its own. Where a planner knows the stage, the next group is moved so that both have
one stage: subjects then stay in the picture. Otherwise it is moved so that the poses of the shot in common agree.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.screenplay import Screenplay, Shot


def bounds(count: int, most: int) -> list[tuple[int, int]]:
    """Returns (first, last) shot of every group, both inclusive: few groups, of nearly the same number of shots.

    Raises:
        ValueError: groups of one shot have none in common with the next.
    """
    if most < 2 and count > most:
        raise ValueError(f"this planner takes {most} shot, the screenplay has {count}; give its shots alone")
    groups = max(1, math.ceil((count - 1) / (most - 1))) if most > 1 else 1
    edges = [round(i * (count - 1) / groups) for i in range(groups + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


def split(screenplay: Screenplay, most: int) -> list[Screenplay]:
    """Returns the groups of a screenplay, each of at most `most` shots; the screenplay itself if it is not longer.

    Shots keep their frames. The first shot of a group has one frame more than in the film, unless it is the film's
    first: the first shot of every film has 4t+1 frames and the others 4t.

    Raises:
        ValueError: as `bounds`.
    """
    if len(screenplay.shots) <= most:
        return [screenplay]
    length_K = np.diff(screenplay.layout().spans)[:, 0]
    groups = []
    for first, last in bounds(len(screenplay.shots), most):
        frames = [int(length_K[first]) + (first > 0), *map(int, length_K[first + 1 : last + 1])]
        captions = [shot.caption for shot in screenplay.shots[first : last + 1]]
        shots = [Shot(caption, n / screenplay.fps) for caption, n in zip(captions, frames, strict=True)]
        groups.append(dataclasses.replace(screenplay, shots=tuple(shots), frames=sum(frames), notes=()))
    return groups


def join(plans: Sequence[Trajectory], screenplay: Screenplay) -> Trajectory:
    """Returns the plan of a screenplay from those of its groups, in the world of the first one.

    Of a shot that two groups have, the first one's path is kept.

    Args:
        plans: one for each screenplay of `split`, in order.
        screenplay: the whole one.
    """
    world, pieces = plans[0], [plans[0]]
    for plan in plans[1:]:
        plan = plan.moved(_into(pieces[-1], plan))
        pieces.append(plan)
    starts = [0, *(plan.spans[1][0] for plan in pieces[1:])]
    kept = [(plan.pose_T34[start:], plan.intrinsics_T4[start:]) for plan, start in zip(pieces, starts, strict=True)]
    spans = screenplay.layout().spans
    return dataclasses.replace(
        world,
        pose_T34=np.concatenate([pose_T34 for pose_T34, _ in kept]),
        intrinsics_T4=np.concatenate([lens_T4 for _, lens_T4 in kept]),
        shot_T=np.repeat(np.arange(len(spans)), np.diff(spans)[:, 0]),
        captions=tuple(shot.caption for shot in screenplay.shots),
    )


def _into(before: Trajectory, after: Trajectory) -> np.ndarray:
    """The rigid motion that brings the world of a group into that of the group before it."""
    if before.stage_34 is not None and after.stage_34 is not None:
        return se3.compose(before.stage_34, se3.inverse(after.stage_34))
    last_T34, first_T34 = before.shot(before.num_shots - 1).pose_T34, after.shot(0).pose_T34
    # The shot may have a frame more in one group: its path is the same, from its first pose to its last.
    first_T34 = se3.resample(first_T34, np.linspace(0, len(first_T34) - 1, len(last_T34)))
    turn_33 = se3.project_to_so3(np.einsum("tij,tkj->ik", last_T34[:, :, :3], first_T34[:, :, :3]))
    return se3.make(turn_33, last_T34[:, :, 3].mean(0) - turn_33 @ first_T34[:, :, 3].mean(0))


def seeds(seed: int, count: int) -> list[int]:
    """Returns the seeds of the groups of a screenplay: the first is its own, the others follow from it."""
    # The odd number nearest to 2**32 divided by the golden ratio keeps the seeds of near seeds apart.
    return [(seed + 0x9E3779B1 * i) % 2**32 for i in range(count)]


def note(count: int, most: int) -> str:
    """Returns what a user should know about a screenplay of so many shots; "" for one that needs no groups."""
    if count <= most:
        return ""
    groups = len(bounds(count, most))
    return (
        f"this planner takes up to {most} shots: the {count} shots are planned in {groups} groups, one shot in common, "
        "and put into one world"
    )
