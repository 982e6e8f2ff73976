"""Reconstruction by COLMAP (pycolmap, the optional extra `calibration`): global mapping of matched features.

Known lenses stay as they are; unknown ones are estimated, one for every shot. A camera that only turns has no depths,
and COLMAP's mapping then invents some: its rotations are averaged instead (`rotations.py`). Key frames of several shots
are placed in the points of the shots (`joining.py`); where that explains too little, they are mapped together.

Array axes: N frames of a reconstruction; M observations; P pairs of frames.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from shotverse_jax.calibration import rotations
from shotverse_jax.calibration.calibrate import key_frames
from shotverse_jax.calibration.features import Features, Options, by_lens, extracted, lens_of, library, name
from shotverse_jax.calibration.joining import join, triangulated
from shotverse_jax.calibration.reconstruction import Agreement, Footage, Points, Provider, Reconstruction
from shotverse_jax.camera import se3

TURNS = 0.9
"""A camera only turns where a turn explains this share of the matches of most pairs of its frames."""
AGREES = 0.7
"""Cameras of several shots are right where they explain this share of the matches between shots."""
LENS_FITS = 0.05
"""Another lens fits better that takes this share of the distance between points and where they are seen."""
WIDE_FEATURES = 4096
"""The most features of a key frame."""
MOST_PICTURES = 200
"""So many key frames are matched each with each; of more, only those of the same shot are."""
_BETTER = 0.005  # share of the matches that a moving camera must explain beyond those that a turning one does
_NEAR = 0.05  # sizes of the scene: nothing that is seen is nearer


@contextlib.contextmanager
def opened(footage: Footage, options: Options | None = None) -> Iterator["Colmap"]:
    """Extracts the features of a film and yields the provider that reconstructs its frames.

    Raises:
        ValueError: pycolmap is not installed.
    """
    with extracted(footage, options) as features:
        wide = dataclasses.replace(features.options, wide=True, features=WIDE_FEATURES, exhaustive=MOST_PICTURES)
        yield Colmap(features, dataclasses.replace(features, options=wide))


@dataclasses.dataclass(eq=False)
class Colmap(Provider):
    """The provider `colmap`.

    Attributes:
        features: of the film, for the frames of one shot.
        wide: those of key frames, for frames of several shots.
    """

    features: Features
    wide: Features

    def reconstruct(self, frames: Sequence[int]) -> Reconstruction:
        """Returns the reconstruction of some frames, ascending, in one world.

        Frames that the largest model does not hold are not registered.
        """
        return self._widened(self._reconstruct(np.asarray(frames, np.int64)))

    def _reconstruct(self, frames: np.ndarray) -> Reconstruction:
        features = self._features(frames)
        features.match(frames)
        turned, free = self._turned(frames), features.free(frames)
        if turned is not None and not free:
            return turned
        if free:
            features.calibrate(frames)
        made = self._mapped(frames, free)
        # With a long enough lens a turn explains a camera that moves along a wall nearly as well as the truth does.
        if turned is not None and not self.agreement(turned).mean() < self.agreement(made).mean() - _BETTER:
            made = turned
        if free:
            features.settle(frames[made.found_N], made.lens_N4[made.found_N, 0])
        return made

    def _features(self, frames: np.ndarray) -> Features:
        shot_T = self.features.footage.shot_T[frames]
        return self.wide if shot_T[0] != shot_T[-1] else self.features

    def joint(self, shots: Sequence[Reconstruction], keys: Sequence[np.ndarray]) -> Reconstruction:
        """Returns the key frames of all shots in one world: placed in the shots' points, or else mapped."""
        frames = np.sort(np.concatenate(keys))
        self.wide.match(frames)
        placed = join(self.wide, shots, keys)
        if placed is not None and all(len(placed.found(own)) for own in keys) and self._right(placed)[0] >= AGREES:
            return placed
        tried = [made for made in (placed, self.reconstruct(frames)) if made is not None]
        return max(tried, key=lambda made: self._right(made)[1])

    def _right(self, made: Reconstruction) -> tuple[float, float]:
        """The share, and the number, of the matches between shots that the cameras explain."""
        found = self.agreement(made)
        shot_T = self.features.footage.shot_T
        across_P = shot_T[found.first_P] != shot_T[found.second_P]
        # A pair that is hardly explained is wrong as a whole: its few matches are chance.
        good_P = across_P & (found.share_P >= AGREES)
        return found.mean(across_P), float((found.matches_P * found.share_P)[good_P].sum())

    def agreement(self, made: Reconstruction) -> Agreement:
        """Returns the share of all pairs' matches that the cameras of registered frames explain."""
        frames = made.frame_N[made.found_N]
        lens_N4, pose_N34 = made.lens_N4[made.found_N], made.pose_N34[made.found_N]
        near, pairs = _NEAR * made.size or 1.0, self._features(made.frame_N).pairs(frames, lens_N4)
        share = [
            rotations.explained(pair, pose_N34[pair.first], pose_N34[pair.second], float(lens_N4[pair.first, 0]), near)
            for pair in pairs
        ]
        first, second = (np.array([frames[pair[k]] for pair in pairs], np.int64) for k in (0, 1))
        return Agreement(first, second, np.array([len(pair.ray_M3) for pair in pairs], np.int64), np.array(share))

    def _turned(self, frames: np.ndarray) -> Reconstruction | None:
        """The reconstruction of frames whose camera only turns, or stands; None where it also moves."""
        features, notes = self._features(frames), ["the camera only turns, so there are no depths"]
        lens_N4 = features.lens(frames)
        pairs = features.pairs(frames, lens_N4)
        if not pairs:
            return None
        given, off = float(lens_N4[0, 0]), float("nan")
        focal, sure = rotations.focal(pairs, given)
        if not features.free(frames):
            off = abs(focal / given - 1) if sure else off
        else:
            lens_N4[:, :2] = focal
            pairs = features.pairs(frames, lens_N4)
            if not sure:
                notes.append("its turns are too small to say its lens, which is assumed")
        edges, share_P = rotations.turned(pairs, float(lens_N4[0, 0]))
        shot_N = features.footage.shot_T[frames]
        kind_P = np.array([(shot_N[pair.first], shot_N[pair.second]) for pair in pairs])
        # Every shot, and every two shots, are asked: a few pairs between two places are lost among all the others.
        for kind in np.unique(kind_P, axis=0):
            if np.quantile(share_P[(kind_P == kind).all(1)], 0.2) < TURNS:
                return None
        rotation_N33, found_N = rotations.average(len(frames), edges)
        pose_N34 = se3.identity((len(frames),))
        pose_N34[found_N, :, :3] = rotation_N33[found_N].swapaxes(1, 2)
        return Reconstruction(frames, pose_N34, lens_N4, found_N, Points.none(), lens_off=off, notes=tuple(notes))

    def _mapped(self, frames: np.ndarray, free: bool) -> Reconstruction:
        """COLMAP's largest model of some frames, by global mapping. free: whether the lenses are estimated."""
        features = self._features(frames)
        pycolmap, seed = library(), features.options.seed
        options = pycolmap.GlobalPipelineOptions()
        options.image_names = [name(t) for t in frames]
        options.num_threads, options.random_seed = 1, seed
        mapper = options.mapper
        mapper.num_threads, mapper.random_seed = 1, seed
        for part in (mapper.global_positioning, mapper.rotation_averaging, mapper.retriangulation):
            part.random_seed = seed
        mapper.global_positioning.use_gpu = mapper.bundle_adjustment.ceres.use_gpu = False
        mapper.bundle_adjustment.ceres.solver_options.num_threads = 1
        mapper.bundle_adjustment.refine_focal_length = free
        pycolmap.set_random_seed(seed)
        models = features.folder / "models"
        models.mkdir(exist_ok=True)
        found = pycolmap.global_mapping(features.database, features.folder / "images", models, options)
        model = max(found.values(), key=lambda model: model.num_reg_images(), default=None)
        made = _result(features, model, frames)
        off = _lens_off(model) if model and not free and features is self.features else float("nan")
        return dataclasses.replace(made, lens_off=off)

    def _widened(self, made: Reconstruction) -> Reconstruction:
        """A shot with what the wide features of its key frames show, so that other shots find their place in it."""
        shots, shot_T = self.features.footage.shots, self.features.footage.shot_T
        if len(shots) == 1 or shot_T[made.frame_N[0]] != shot_T[made.frame_N[-1]]:
            return made
        keys = np.intersect1d(key_frames(shots)[shot_T[made.frame_N[0]]], made.frame_N)
        new = keys[self.wide.image_T[keys] == 0]
        self.wide.extract(by_lens(new, made.lens_N4[made.place(new)]))
        if not len(made.points):
            return made
        self.wide.match(made.found(keys))
        points = triangulated(self.wide, made, made.found(keys))
        return dataclasses.replace(made, points=Points.together([made.points, points]))


def _result(features: Features, model, frames: np.ndarray) -> Reconstruction:
    """A model of COLMAP as the project has it."""
    pose_N34, found_N, lens_N4 = se3.identity((len(frames),)), np.zeros(len(frames), bool), features.lens(frames)
    registered = set(model.reg_image_ids()) if model else set()
    parts = []
    for n, t in enumerate(frames):
        if int(features.image_T[t]) not in registered:
            continue
        image = model.image(int(features.image_T[t]))
        pose_N34[n], found_N[n] = se3.inverse(image.cam_from_world().matrix()), True
        lens_N4[n] = lens_of(image.camera)
        if seen := image.get_observation_points2D():
            parts.append(_observations(int(t), pose_N34[n], seen, model))
    points = Points(*map(np.concatenate, zip(*parts, strict=True))) if parts else Points.none()
    return Reconstruction(frames, pose_N34, lens_N4, found_N, points)


def _lens_off(model) -> float:
    """By how much another focal length fits a model's pictures better than the given one; nan where none does."""
    pycolmap, missed = library(), []
    for free in (False, True):
        copy, options = pycolmap.Reconstruction(model), pycolmap.BundleAdjustmentOptions()
        options.refine_focal_length, options.refine_extra_params = free, False
        options.ceres.use_gpu, options.ceres.solver_options.num_threads = False, 1
        for camera in copy.cameras.values():
            focal, _, *center = lens_of(camera)
            camera.model, camera.params = pycolmap.CameraModelId.SIMPLE_PINHOLE, [focal, *center]
        pycolmap.bundle_adjustment(copy, options)
        copy.update_point_3d_errors()
        missed.append(copy.compute_mean_reprojection_error())
    off = [abs(copy.cameras[n].focal_length / lens_of(camera)[0] - 1) for n, camera in model.cameras.items()]
    return max(off) if missed[1] < (1 - LENS_FITS) * missed[0] else float("nan")


def _observations(frame: int, pose_34: np.ndarray, seen, model) -> tuple[np.ndarray, ...]:
    """The fields of `Points` of one image."""
    track_M = np.array([point.point3D_id for point in seen], np.int64)
    points = [model.point3D(int(track)) for track in track_M]
    depth_M = se3.transform_points(se3.inverse(pose_34), np.array([point.xyz for point in points]))[:, 2]
    error_M = np.array([point.error for point in points])
    fields = (np.full(len(seen), frame), np.array([point.xy for point in seen]), depth_M, 1 / (1 + error_M**2), track_M)
    return tuple(field[depth_M > 0] for field in fields)
