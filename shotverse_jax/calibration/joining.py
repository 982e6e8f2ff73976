"""Reconstructions of shots made one: the pictures of each shot are placed in the points of the others.

COLMAP's mapping of the key frames of all shots together starts from directions between pictures. Those of pictures
that are alike, or that see a floor and little else, are often wrong. The reconstruction of a shot with many pictures is
not, so a picture of another shot is placed by what it shows of the shot's points (perspective-n-point with RANSAC).

Array axes: M matches.
"""

from collections.abc import Sequence

import numpy as np

from shotverse_jax.calibration.align import align
from shotverse_jax.calibration.features import MATCH_ERROR, Features, library
from shotverse_jax.calibration.reconstruction import LEAST_POINTS, Points, Reconstruction, pixel_key
from shotverse_jax.camera import se3

LEAST_PLACED = 30
"""Different points that place a picture. Fewer fit wrong cameras too."""

LEAST_ANGLE = 1.5
"""Degrees between two rays that show how far away a point is."""


class _World:
    """Key frames in one world, and the points that can be seen in them."""

    def __init__(self):
        self.pose, self.lens, self.key, self.point, self.parts = {}, {}, np.zeros(0, np.int64), np.zeros((0, 3)), []

    def add(self, keys: np.ndarray, point_M3: np.ndarray) -> None:
        """Adds points by their `pixel_key`."""
        keys, first = np.unique(np.concatenate([self.key, keys]), return_index=True)
        self.key, self.point = keys, np.concatenate([self.point, point_M3])[first]

    def find(self, frame: int, pixel_M2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which pixels of a frame have a point, [M] bool, and the points."""
        wanted_M = pixel_key(np.full(len(pixel_M2), frame), pixel_M2)
        place_M = np.minimum(np.searchsorted(self.key, wanted_M), len(self.key) - 1)
        known_M = self.key[place_M] == wanted_M
        return known_M, self.point[place_M[known_M]]


def join(features: Features, shots: Sequence[Reconstruction], keys: Sequence[np.ndarray]) -> Reconstruction | None:
    """Returns the reconstruction of the key frames of all shots, in the world of the shot with the most points.

    Shots that see nothing of it are not registered. None where no shot has points.

    Args:
        features: of the film, with the matches of all key frames.
        shots: the reconstruction of every shot by itself.
        keys: the key frames of every shot.
    """
    root = max(range(len(shots)), key=lambda k: len(shots[k].points))
    if len(shots[root].points) < LEAST_POINTS:
        return None
    frames = np.concatenate(keys)
    matches = [(int(frames[i]), int(frames[j]), a, b) for i, j, a, b in features.matches(frames)]
    world, waiting = _World(), set(range(len(shots))) - {root}
    for frame in shots[root].found(keys[root]):
        place = shots[root].place(np.array([frame]))[0]
        world.pose[int(frame)], world.lens[int(frame)] = shots[root].pose_N34[place], shots[root].lens_N4[place]
    own = shots[root].points[np.isin(shots[root].points.frame_M, keys[root])]
    world.add(pixel_key(own.frame_M, own.pixel_M2), shots[root].world(own))
    world.parts.append(own)
    while waiting:
        tried = {k: _placed(features, world, shots[k], keys[k], matches) for k in waiting}
        best = max(waiting, key=lambda k: len(tried[k].points))
        if not tried[best].found_N.any():
            break
        _take(world, shots[best], tried[best])
        waiting.remove(best)
    return _whole(features, world, np.sort(frames))


def triangulated(features: Features, made: Reconstruction, frames: np.ndarray) -> Points:
    """Returns points of a reconstruction by other features than those that it was made of.

    A point is where the rays of a match come nearest to each other; of the matches of a pixel, the one with the widest
    angle counts. Matches whose rays are nearly parallel, or miss each other, have none.

    Args:
        features: the features, with the matches of the frames.
        made: the cameras.
        frames: registered frames.
    """
    poses, lenses = made.poses(frames), made.lens_N4[made.place(frames)]
    parts, angles = [Points.none()], [np.zeros(0)]
    for pair, (_, _, pixel_M2, other_M2) in zip(features.pairs(frames, lenses), features.matches(frames), strict=True):
        i, j = pair.first, pair.second
        ray_M3, other_M3 = pair.ray_M3 @ poses[i][:, :3].T, pair.other_M3 @ poses[j][:, :3].T
        base_3, cos_M = poses[j][:, 3] - poses[i][:, 3], (ray_M3 * other_M3).sum(1)
        angle_M = np.degrees(np.arccos(np.clip(cos_M, -1, 1)))
        sine_M = np.maximum(1 - cos_M**2, 1e-12)
        far_M = (ray_M3 @ base_3 - (other_M3 @ base_3) * cos_M) / sine_M
        near_M = ((ray_M3 @ base_3) * cos_M - other_M3 @ base_3) / sine_M
        gap_M = np.linalg.norm(far_M[:, None] * ray_M3 - base_3 - near_M[:, None] * other_M3, axis=1)
        least_M = np.minimum(far_M, near_M)
        good_M = (angle_M > LEAST_ANGLE) & (least_M > 0) & (gap_M * lenses[i, 0] < MATCH_ERROR * least_M)
        for place, pixels, depth_M in (
            (i, pixel_M2, far_M * pair.ray_M3[:, 2]),
            (j, other_M2, near_M * pair.other_M3[:, 2]),
        ):
            count = int(good_M.sum())
            frame_M = np.full(count, frames[place])
            parts.append(Points(frame_M, pixels[good_M], depth_M[good_M], np.ones(count), np.full(count, -1)))
            angles.append(angle_M[good_M])
    points, angle_M = Points.together(parts), np.concatenate(angles)
    points = points[np.argsort(-angle_M, kind="stable")]
    _, first = np.unique(pixel_key(points.frame_M, points.pixel_M2), return_index=True)
    return points[first]


def _placed(features: Features, world: _World, shot: Reconstruction, keys: np.ndarray, matches) -> Reconstruction:
    """The key frames of a shot as the points of the world place them."""
    pycolmap = library()
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac.max_error, options.ransac.random_seed = 2 * MATCH_ERROR, features.options.seed
    keys = shot.found(keys)
    pose_N34, found_N, parts = se3.identity((len(keys),)), np.zeros(len(keys), bool), []
    for n, frame in enumerate(keys.tolist()):
        pixels, points = [np.zeros((0, 2))], [np.zeros((0, 3))]
        for a, b, pixel_a, pixel_b in matches:
            if frame not in (a, b):
                continue
            other, mine_M2, theirs_M2 = (b, pixel_a, pixel_b) if frame == a else (a, pixel_b, pixel_a)
            known_M, point_M3 = world.find(other, theirs_M2)
            pixels.append(mine_M2[known_M])
            points.append(point_M3)
        pixel_M2, point_M3 = np.concatenate(pixels), np.concatenate(points)
        if len(pixel_M2) < LEAST_POINTS:
            continue
        lens_4 = shot.lens_N4[shot.place(np.array([frame]))[0]]
        camera = pycolmap.Camera(
            model="PINHOLE", width=features.footage.size[0], height=features.footage.size[1], params=lens_4
        )
        pycolmap.set_random_seed(features.options.seed)
        found = pycolmap.estimate_and_refine_absolute_pose(pixel_M2, point_M3, camera, options)
        good = np.zeros(len(pixel_M2), bool) if found is None else np.asarray(found["inlier_mask"])
        # Many frames of a shot show the same point, which counts once: the same pixel of the frame that is placed.
        if len(np.unique(pixel_key(np.full(good.sum(), frame), pixel_M2[good]))) < LEAST_PLACED:
            continue
        world_to_camera_34 = found["cam_from_world"].matrix()
        pose_N34[n], found_N[n] = se3.inverse(world_to_camera_34), True
        depth = se3.transform_points(world_to_camera_34, point_M3[good])[:, 2]
        count = len(depth)
        fields = (np.full(count, frame), pixel_M2[good], depth, np.ones(count), np.full(count, -1))
        parts.append(Points(*(field[depth > 0] for field in fields)))
    return Reconstruction(keys, pose_N34, shot.lens_N4[shot.place(keys)], found_N, Points.together(parts))


def _take(world: _World, shot: Reconstruction, placed: Reconstruction) -> None:
    """Adds a shot to the world: its key frames as they were placed, and its own points as they fit these."""
    for n, frame in enumerate(placed.frame_N.tolist()):
        if placed.found_N[n]:
            world.pose[frame], world.lens[frame] = placed.pose_N34[n], placed.lens_N4[n]
    world.parts.append(placed.points)
    fit = align(shot, placed, placed.frame_N)
    own = shot.points[np.isin(shot.points.frame_M, placed.frame_N)]
    world.add(pixel_key(own.frame_M, own.pixel_M2), fit.similarity.points(shot.world(own)))


def _whole(features: Features, world: _World, frames: np.ndarray) -> Reconstruction:
    found_N = np.array([t in world.pose for t in frames.tolist()])
    pose_N34 = np.stack([world.pose.get(t, np.eye(3, 4)) for t in frames.tolist()])
    lens_N4 = features.lens(frames)
    for n in np.flatnonzero(found_N):
        lens_N4[n] = world.lens[int(frames[n])]
    return Reconstruction(frames, pose_N34, lens_N4, found_N, Points.together(world.parts))
