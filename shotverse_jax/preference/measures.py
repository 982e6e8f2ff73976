"""What geometry says of candidates: how every shot frames its subject, and whether it moves as its caption asks.

Array axes: J candidates; K shots; T frames; P joints.
"""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.camera import framing
from shotverse_jax.camera.motion_tags import Segment, labels_of_shots, segments
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.camera.vocabulary import ANGLES, POSITIONS, SIZES, motion_parts
from shotverse_jax.preference.previews import frames_of_shot, scene_of
from shotverse_jax.screenplay import Screenplay
from shotverse_jax.screenplay.slots import Slots, agreement, read_slots
from shotverse_jax.stage.bodies import subject_joints
from shotverse_jax.stage.casting import mentioned
from shotverse_jax.stage.preview import stage_poses
from shotverse_jax.stage.scene import Scene

FRAMES = 16
"""Frames of a shot that are looked at."""
BLOCK = 32
"""Shots of a call of the compiled program."""
LEAST = 0.15
"""Share of a shot in which a motion must last to count as one of the shot's."""


class Measured(NamedTuple):
    """Measures of the shots of candidates.

    Attributes:
        misframed_JK: MisR, share of frames without the subject or with its centre in the border.
        reward_JK: the framing reward, at most 1.
        motion_JK: agreement of the motions that are made with those that are asked for (`screenplay.slots.agreement`).
        motions_JK: the motions that are made, words of `MOTIONS`.
        seen_JKT: whether the subject is on screen, at `FRAMES` frames of every shot.
        labels_JKT: the motion tags of the shots, resampled to one number of frames (`camera.motion_tags`).
    """

    misframed_JK: np.ndarray
    reward_JK: np.ndarray
    motion_JK: np.ndarray
    motions_JK: list[list[frozenset[str]]]
    seen_JKT: np.ndarray
    labels_JKT: np.ndarray

    @property
    def off_screen_JK(self) -> np.ndarray:
        """Share of frames without the subject."""
        return 1 - self.seen_JKT.mean(-1)

    def kept(self, truth: "Measured") -> np.ndarray:
        """Share [J, K] of the frames that the true cameras show the subject in, that these show it in too.

        1 where the true ones never show it.
        """
        shown_1KT = truth.seen_JKT[:1]
        return 1 - (shown_1KT & ~self.seen_JKT).sum(-1) / np.maximum(shown_1KT.sum(-1), 1)

    def same_tags(self, truth: "Measured") -> np.ndarray:
        """Share [J, K] of the frames that have the motion tag of the true cameras."""
        return (self.labels_JKT == truth.labels_JKT[:1]).mean(-1)


def measure(screenplay: Screenplay, candidates: Sequence[Trajectory], scene: Scene | None = None) -> Measured:
    """Measures all shots of all candidates of a screenplay.

    scene: the stage; None (default) is the one that the captions describe.
    """
    return measure_all([(screenplay, candidates, scene)])[0]


def measure_all(
    entries: Sequence[tuple[Screenplay, Sequence[Trajectory], Scene | None]],
) -> list[Measured]:
    """`measure` of several screenplays, in few calls of one program."""
    rows = [row for entry in entries for row in _rows(*entry)]
    values = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    scored = _score(values)
    shots = [path.pose_T34[start:end] for _, paths, _ in entries for path in paths for start, end in path.spans]
    labels_NT = labels_of_shots(shots)
    tagged = [motions_of(segments(labels_T)) for labels_T in labels_NT]
    found, place = [], 0
    for screenplay, candidates, _ in entries:
        asked = [
            Slots(read_slots(screenplay.words(shot)).with_one_lens.motions) for shot in range(len(screenplay.shots))
        ]
        shape = len(candidates), len(asked)
        end = place + shape[0] * shape[1]
        seen, misframed, reward, labels = (x[place:end].reshape(*shape, *x.shape[1:]) for x in (*scored, labels_NT))
        motions = [tagged[i : i + shape[1]] for i in range(place, end, shape[1])]
        place = end
        motion = [[agreement(slots, Slots(made)) for slots, made in zip(asked, own, strict=True)] for own in motions]
        found.append(Measured(misframed, reward, np.asarray(motion), motions, seen, labels))
    return found


def motions_of(segments: Sequence[Segment]) -> frozenset[str]:
    """Returns the motions of a tagged shot that last long enough; "static" only where there is no other."""
    frames, whole = collections.Counter(), sum(map(len, segments))
    for segment in segments:
        frames[segment.translation, segment.rotation] += len(segment)
    parts = [motion_parts(*kind) for kind, count in frames.items() if count >= LEAST * whole]
    return frozenset().union(*parts) - {"static"} or frozenset({"static"})


def _rows(screenplay: Screenplay, candidates: Sequence[Trajectory], scene: Scene | None) -> list[dict]:
    """What the program reads of every shot of every candidate."""
    scene = scene or scene_of(screenplay)
    captions = [screenplay.words(shot) for shot in range(len(screenplay.shots))]
    who, rows = mentioned([shot.caption for shot in screenplay.shots], scene), []
    for path in candidates:
        poses = stage_poses(path)
        for shot, (start, end) in enumerate(path.spans):
            index_T = frames_of_shot(start, end, FRAMES)
            # Where a caption names nobody, or both, it may be anyone: the one that is nearest to the picture's middle.
            numbers = range(len(scene.subjects)) if who[shot] < 0 else (who[shot],)
            subjects = [scene.subjects[number] for number in numbers][:2]
            joints = [subject_joints(subject, path.stage_seconds_T[index_T]) for subject in subjects]
            slots = read_slots(captions[shot])
            rows.append(
                {
                    "pose_T34": poses[index_T],
                    "lens_T4": path.intrinsics_T4[index_T] / np.tile([path.width, path.height], 2).astype(np.float64),
                    "joint_STP3": np.stack([joints[0], joints[-1]]),
                    "height_S": np.array([subjects[0].height, subjects[-1].height]),
                    **_wanted(slots),
                }
            )
    return rows


def _wanted(slots: Slots) -> dict[str, np.ndarray]:
    sizes = [np.log(SIZES[name]) for name in slots.sizes]
    angles = [ANGLES[name] for name in slots.angles]
    column = np.mean([POSITIONS[name] for name in slots.positions]) if slots.positions else 0.5
    return {
        "position_2": np.array([column, 0.5]),
        "goal": np.float64(np.exp(np.mean(sizes)) if sizes else 0.0),
        "angle_2": np.array(
            [min(low for low, _ in angles), max(high for _, high in angles)] if angles else [-90, 90.0]
        ),
    }


def _score(values: dict[str, np.ndarray]) -> list[np.ndarray]:
    """(whether the subject is seen in every frame, MisR, reward) of every row, in blocks of one size."""
    count = len(values["goal"])
    padded = -(-count // BLOCK) * BLOCK
    values = {name: np.resize(x, (padded, *x.shape[1:])).astype(np.float32) for name, x in values.items()}
    parts = [_block({name: x[i : i + BLOCK] for name, x in values.items()}) for i in range(0, padded, BLOCK)]
    return [np.concatenate(part)[:count] for part in zip(*jax.device_get(parts), strict=True)]


@jax.jit
@jax.vmap
def _block(row: dict) -> tuple[jax.Array, jax.Array, jax.Array]:
    def of(joint_TP3, height):
        wanted = framing.Wanted(row["position_2"], row["goal"], row["angle_2"])
        seen = framing.project(row["pose_T34"], row["lens_T4"], joint_TP3)
        height_T = framing.body_height(seen, row["lens_T4"], height)
        reward = framing.framing_reward(row["pose_T34"], row["lens_T4"], joint_TP3, height, wanted)
        return ~framing.off_screen(seen), framing.misframed(seen, height_T).mean(), reward

    seen_ST, misframed_S, reward_S = jax.vmap(of)(row["joint_STP3"], row["height_S"])
    best = jnp.argmax(reward_S)
    return seen_ST[best], misframed_S[best], reward_S[best]
