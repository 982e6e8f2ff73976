"""From the shots of a film to the cameras of all its frames: each shot by itself, key frames together, both aligned.

ShotVerse's Algorithm 2, without its scale (`align.py`): a shot is reconstructed with all its frames, a few key frames
of every shot are reconstructed together, and the first is brought into the world of the second. Shots whose pictures
have nothing in common have no common world; each such group keeps its own.

Array axes: T frames of the film; K shots.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from shotverse_jax.calibration import align as alignment
from shotverse_jax.calibration.quality import GATES, ZOOM, Quality, measure
from shotverse_jax.calibration.reconstruction import Agreement, Footage, Points, Provider, Reconstruction
from shotverse_jax.camera import se3

KEYS = 8
"""Key frames of a shot, first and last among them; ShotVerse does not say how many."""
MOST_KEYS = 64
"""Key frames of all shots."""
OVERLAP = 0.1
"""Two shots are connected that see this share of each other's points."""
CELL = 0.05
"""Edge of the cells in which points of two shots meet, in sizes of the scene."""
LINK = 25
"""Matches of one picture of each of two shots that the cameras must explain for the shots to be connected."""


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """The cameras of a film.

    Attributes:
        pose_T34: [T, 3, 4] camera-to-world, OpenCV axes, in the world of the frame's shot. The unit of length is that
            of the provider. Frames without a camera of their own have one between their neighbours'.
        lens_T4: [T, 4] fx, fy, cx, cy in pixels.
        found_T: [T] bool, True where the frame's camera was found and not put between others.
        world_K: [K] number of the world that every shot is in; the largest one is 0. Shots of different numbers have
            nothing to do with each other: their poses must not be compared.
        quality: of every shot.
        points: measured points of all shots, as frames saw them.
        notes: sentences for the user.
    """

    pose_T34: np.ndarray
    lens_T4: np.ndarray
    found_T: np.ndarray
    world_K: np.ndarray
    quality: tuple[Quality, ...]
    points: Points
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Reconstructed:
    """What a provider made of a film, before its shots are aligned.

    Attributes:
        local: the reconstruction of every shot by itself.
        world: that of the key frames of all shots; of one shot it is the first of `local`.
        own: how the matches of every shot agree with its cameras.
        across: how those of the key frames agree with the cameras of `world`.
    """

    local: tuple[Reconstruction, ...]
    world: Reconstruction
    own: tuple[Agreement, ...]
    across: Agreement


def calibrate(
    footage: Footage,
    provider: Provider,
    method: str = "robust",
    progress: Callable[[str], None] = lambda words: None,
) -> Calibration:
    """Returns the cameras of a film.

    Args:
        footage: the film.
        provider: what reconstructs it.
        method: of `align.METHODS`; default "robust".
        progress: is told what is done next.
    """
    return aligned(footage, reconstructed(footage, provider, progress), method)


def reconstructed(footage: Footage, provider: Provider, progress: Callable[[str], None]) -> Reconstructed:
    """Returns the reconstructions of every shot and of the key frames of all; see `calibrate`."""
    shots, local = footage.shots, []
    for number, frames in enumerate(shots, 1):
        progress(f"shot {number} of {len(shots)}")
        local.append(provider.reconstruct(frames))
    if len(shots) > 1:
        progress("all shots together")
    world = provider.joint(local, key_frames(shots)) if len(shots) > 1 else local[0]
    across = provider.agreement(world) if len(shots) > 1 else Agreement.none()
    return Reconstructed(tuple(local), world, tuple(provider.agreement(made) for made in local), across)


def aligned(footage: Footage, made: Reconstructed, method: str = "robust") -> Calibration:
    """Returns the cameras of a film whose shots are reconstructed; see `calibrate`."""
    shots, local, world = footage.shots, made.local, made.world
    keys = key_frames(shots)
    group_K = connected(overlaps(world, keys, made.across), world.joint)
    fits = [_fit(k, local, world, keys, group_K, method) for k in range(len(shots))]
    # What a shot has in common with those of another world does not speak against its cameras.
    across = made.across.only(*(group_K[footage.shot_T[side]] for side in made.across[:2]))
    quality = tuple(
        measure(footage, frames, one, fit, (own, across))
        for frames, one, fit, own in zip(shots, local, fits, made.own, strict=True)
    )
    world_K = np.where([fit is not None for fit in fits], group_K, len(shots) + np.arange(len(shots)))
    return _whole(local, fits, _by_size(world_K, shots), quality)


def key_frames(shots: list[np.ndarray]) -> list[np.ndarray]:
    """Returns the key frames of every shot, evenly spaced from its first to its last frame."""
    count = max(2, min(KEYS, MOST_KEYS // len(shots)))
    return [
        frames[np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))]
        for frames in shots
    ]


def overlaps(world: Reconstruction, keys: list[np.ndarray], across: Agreement) -> np.ndarray:
    """Returns how connected every two shots are, [K, K]; 1 and more is connected.

    Where pictures were matched, it is the number of matches that the cameras explain, in `LINK`s, of the two pictures
    with the most; it is 0 if too many are not. (Sums over pictures would count the same match of a static shot often.)
    Elsewhere it is the share of one shot's points that are where the other has points too, in `OVERLAP`s.
    """
    count = len(keys)
    link_KK = np.eye(count)
    if len(across.share_P):
        shot_P = [np.array([next(k for k in range(count) if t in keys[k]) for t in side]) for side in across[:2]]
        for a in range(count):
            for b in range(a + 1, count):
                both_P = ((shot_P[0] == a) & (shot_P[1] == b)) | ((shot_P[0] == b) & (shot_P[1] == a))
                if across.mean(both_P) >= GATES["matches across"].least:
                    good = (across.matches_P * across.share_P)[both_P].max()
                    link_KK[a, b] = link_KK[b, a] = good / LINK
        return link_KK
    cells = _cells(world, keys)
    for a in range(count):
        for b in range(a + 1, count):
            seen = [np.isin(cells[i], cells[j]).mean() if len(cells[i]) else 0.0 for i, j in ((a, b), (b, a))]
            link_KK[a, b] = link_KK[b, a] = max(seen) / OVERLAP
    return link_KK


def _cells(world: Reconstruction, keys: list[np.ndarray]) -> list[np.ndarray]:
    """The cells of space, as numbers, in which every shot has points."""
    if not len(world.points):
        return [np.zeros(0, np.int64) for _ in keys]
    point_M3 = world.world()
    place_M3 = np.floor((point_M3 - np.median(point_M3, axis=0)) / (CELL * world.size)).astype(np.int64)
    near_M = (np.abs(place_M3) < 1 << 20).all(1)
    number_M = ((place_M3 + (1 << 20)) << np.array([42, 21, 0])).sum(1)
    return [np.unique(number_M[near_M & np.isin(world.points.frame_M, frames)]) for frames in keys]


def connected(link_KK: np.ndarray, joint: bool) -> np.ndarray:
    """Returns the group [K] of every shot: shots that a chain of connected ones joins, all of them if `joint`."""
    group_K = np.zeros(len(link_KK), int) if joint else np.arange(len(link_KK))
    for a, b in np.argwhere(link_KK >= 1):
        group_K[group_K == group_K[b]] = group_K[a]
    return group_K


def _fit(number, local, world, keys, group_K, method) -> alignment.Alignment | None:
    """The alignment of a shot with the other shots of its group; None where it stays alone."""
    if (group_K == group_K[number]).sum() == 1 or not len(world.found(local[number].found(keys[number]))):
        return None
    return alignment.align(local[number], world, keys[number], method)


def _by_size(world_K: np.ndarray, shots: list[np.ndarray]) -> np.ndarray:
    """The same groups, numbered from the one with the most frames."""
    numbers, group_K = np.unique(world_K, return_inverse=True)
    frames = np.bincount(group_K, [len(shot) for shot in shots])
    rank = np.empty(len(numbers), int)
    rank[np.argsort(-frames, kind="stable")] = np.arange(len(numbers))
    return rank[group_K]


def _whole(local, fits, world_K: np.ndarray, quality: tuple[Quality, ...]) -> Calibration:
    """The cameras of all shots, one after the other."""
    poses, lenses, points, notes = [], [], [], []
    for number, (made, fit, judged) in enumerate(zip(local, fits, quality, strict=True), 1):
        similarity = fit.similarity if fit else alignment.IDENTITY
        poses.append(filled(similarity.poses(made.pose_N34), made.found_N))
        lenses.append(made.lens_N4)
        moved = dataclasses.replace(made.points, depth_M=made.points.depth_M * similarity.scale)
        points.append(moved)
        notes += [f"shot {number}: {note}" for note in made.notes]
        notes += [f"shot {number} {GATES[name].means} ({name})" for name in judged.failed]
        if judged.zoom > ZOOM:
            notes.append(f"shot {number} zooms: its focal length changes by {judged.zoom:.0%}")
    for world in range(1, int(world_K.max()) + 1):
        names = " and ".join(str(k + 1) for k in np.flatnonzero(world_K == world))
        notes.append(
            f"disconnected: shot {names} has a world of its own; no cameras were found that explain what it shows "
            "together with the other shots"
        )
    return Calibration(
        pose_T34=np.concatenate(poses),
        lens_T4=np.concatenate(lenses),
        found_T=np.concatenate([made.found_N for made in local]),
        world_K=world_K,
        quality=quality,
        points=Points.together(points),
        notes=tuple(notes),
    )


def filled(pose_N34: np.ndarray, found_N: np.ndarray) -> np.ndarray:
    """Returns the poses of a shot, with those that were not found put between their neighbours."""
    known = np.flatnonzero(found_N)
    if not len(known):
        return pose_N34
    return se3.resample(pose_N34[known], np.interp(np.arange(len(found_N)), known, np.arange(len(known))))
