"""Features of the frames of a film and their matches, by COLMAP (pycolmap, the optional extra `calibration`).

Features of all frames are extracted once, so a picture has the same features in every reconstruction. Masked pixels
lose their features and keep their colours. A run repeats: all seeds are fixed, and there is one thread, since the order
of several decides the numbers of images.

Array axes: T frames of the film; N chosen frames; M matches.
"""

import contextlib
import dataclasses
import functools
import importlib
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from shotverse_jax.calibration import rotations
from shotverse_jax.calibration.reconstruction import Footage

MATCH_ERROR = 2.0
"""Pixels by which a match may miss the geometry of its two pictures."""
_USUAL_FOCAL = 1.0  # longer sides of the picture: the start of a lens that is estimated


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of COLMAP.

    Attributes:
        neighbours: a frame is matched with so many that follow it in its shot, and with those 8, 16, … after it;
            default 4.
        exhaustive: at most so many frames are matched each with each; default 48.
        features: the most features of a picture; default 2048.
        seed: of what is drawn; default 0.
        wide: whether features are those of pictures from places far apart: also small ones, each seen as if from
            straight before it. They take five times as long; default False.
    """

    neighbours: int = 4
    exhaustive: int = 48
    features: int = 2048
    seed: int = 0
    wide: bool = False


def library() -> ModuleType:
    """Returns pycolmap, which writes no messages but errors.

    Raises:
        ValueError: it is not installed.
    """
    try:
        pycolmap = importlib.import_module("pycolmap")
    except ImportError as error:
        raise ValueError("COLMAP is not installed; run: pip install 'shotverse_jax[calibration]'") from error
    pycolmap.logging.minloglevel = pycolmap.logging.Level.FATAL.value
    return pycolmap


@contextlib.contextmanager
def extracted(footage: Footage, options: Options | None = None) -> Iterator["Features"]:
    """Extracts the features of a film and yields them.

    Temporary files take about the size of the film as grey pictures; they are removed at the end.
    """
    with tempfile.TemporaryDirectory(prefix="shotverse_colmap_") as folder:
        features = Features(footage, Path(folder), options or Options())
        features.write_pictures()
        features.extract(features.cameras())
        yield features


@dataclasses.dataclass(eq=False)
class Features:
    """The features and matches of a film.

    Attributes:
        footage: the film.
        folder: where the pictures and the database are.
        options: settings.
    """

    footage: Footage
    folder: Path
    options: Options

    @property
    def database(self) -> Path:
        """The file of COLMAP's database."""
        return self.folder / ("wide.db" if self.options.wide else "database.db")

    @functools.cached_property
    def image_T(self) -> np.ndarray:
        """[T] number of every frame's image in the database, 0 where its features were not extracted."""
        if not self.database.exists():
            return np.zeros(len(self.footage), np.int64)
        with self._reading() as database:
            number = {image.name: image.image_id for image in database.read_all_images()}
        return np.array([number.get(name(t), 0) for t in range(len(self.footage))])

    @contextlib.contextmanager
    def _reading(self) -> Iterator:
        database = library().Database.open(self.database)
        try:
            yield database
        finally:
            database.close()

    def write_pictures(self) -> None:
        """Writes the frames and their masks as files, which all features of the film are extracted from."""
        film, images, masks = self.footage, self.folder / "images", self.folder / "masks"
        images.mkdir()
        masks.mkdir()
        for t, frame_HWC in enumerate(film.frame_THWC):
            Image.fromarray(frame_HWC).convert("L").save(images / name(t), compress_level=1)
            if film.static_THW is not None:
                mask_HW = np.where(film.static_THW[t], 255, 0).astype(np.uint8)
                Image.fromarray(mask_HW).save(masks / f"{name(t)}.png", compress_level=1)

    def extract(self, cameras: Iterable[tuple[np.ndarray, np.ndarray | None]]) -> None:
        """Extracts the features of frames that share a camera and its lens, None where it is not known."""
        pycolmap, images = library(), self.folder / "images"
        reading, extraction = pycolmap.ImageReaderOptions(), pycolmap.FeatureExtractionOptions()
        extraction.use_gpu, extraction.num_threads = False, 1
        # Octave 0 is the picture as it is. Doubled ones take six times as long and find no better cameras of one shot,
        # but a floor that is seen from two heights is hardly matched without.
        extraction.sift.first_octave = -1 if self.options.wide else 0
        extraction.sift.estimate_affine_shape = self.options.wide
        extraction.sift.max_num_features = self.options.features
        if self.footage.static_THW is not None:
            reading.mask_path = self.folder / "masks"
        for frames, lens in cameras:
            reading.camera_model = "PINHOLE" if lens is not None else "SIMPLE_PINHOLE"
            reading.camera_params = "" if lens is None else ",".join(f"{value:.9g}" for value in lens)
            reading.default_focal_length_factor = _USUAL_FOCAL
            pycolmap.extract_features(
                self.database,
                images,
                [name(t) for t in frames],
                pycolmap.CameraMode.SINGLE,
                reading,
                extraction,
                pycolmap.Device.cpu,
            )
        self.__dict__.pop("image_T", None)

    def cameras(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yields all frames that share a camera, and its lens, None where it is not known."""
        for frames in self.footage.shots:
            if self.footage.lens_T4 is None:
                yield frames, None
                continue
            yield from by_lens(frames, self.footage.lens_T4[frames])

    def match(self, frames: np.ndarray) -> None:
        """Matches the features of those pairs of frames that were not matched before."""
        pycolmap = library()
        with self._reading() as database:
            names = [
                f"{name(a)} {name(b)}\n"
                for a, b in wanted_pairs(frames, self.footage.shot_T, self.options)
                if not database.exists_matches(self.image_T[a], self.image_T[b])
            ]
        if not names:
            return
        matching, pairing = pycolmap.FeatureMatchingOptions(), pycolmap.ImportedPairingOptions()
        matching.use_gpu, matching.num_threads = False, 1
        pairing.match_list_path = self.folder / "pairs.txt"
        pairing.match_list_path.write_text("".join(names), encoding="utf-8")
        geometry = pycolmap.TwoViewGeometryOptions()
        geometry.ransac.random_seed, geometry.ransac.max_error = self.options.seed, MATCH_ERROR
        geometry.compute_relative_pose = True
        pycolmap.match_image_pairs(self.database, matching, pairing, geometry, pycolmap.Device.cpu)

    def matches(self, frames: np.ndarray) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """Yields every pair of frames, by their places, and the pixels [M, 2] of their matches in both.

        The matches of a pair fit one geometry, and there are `rotations.LEAST_MATCHES` of them at least.
        """
        with self._reading() as database:
            pixel_N = [database.read_keypoints(self.image_T[t])[:, :2].astype(np.float64) for t in frames]
            for i, j in itertools.combinations(range(len(frames)), 2):
                ids = int(self.image_T[frames[i]]), int(self.image_T[frames[j]])
                if database.exists_two_view_geometry(*ids):
                    match_M2 = database.read_two_view_geometry(*ids).inlier_matches
                    if len(match_M2) >= rotations.LEAST_MATCHES:
                        yield i, j, pixel_N[i][match_M2[:, 0]], pixel_N[j][match_M2[:, 1]]

    def pairs(self, frames: np.ndarray, lens_N4: np.ndarray) -> list[rotations.Pair]:
        """Returns the matches of all pairs of frames as rays, by places in `frames`."""
        return [
            rotations.Pair(i, j, rotations.rays(mine_M2, lens_N4[i]), rotations.rays(other_M2, lens_N4[j]))
            for i, j, mine_M2, other_M2 in self.matches(frames)
        ]

    def free(self, frames: np.ndarray) -> bool:
        """Whether the lens of some of these frames is neither known nor estimated yet."""
        with self._reading() as database:
            cameras = {camera.camera_id: camera for camera in database.read_all_cameras()}
            used = {database.read_image(int(self.image_T[t])).camera_id for t in frames}
            return not all(cameras[camera].has_prior_focal_length for camera in used)

    def calibrate(self, frames: np.ndarray) -> None:
        """Estimates the lens of some frames by their matches, as a start for their mapping; other lenses stay."""
        options = library().ViewGraphCalibrationOptions()
        options.random_seed = self.options.seed
        with self._reading() as database:
            used = {database.read_image(int(self.image_T[t])).camera_id for t in frames}
            others = [camera for camera in database.read_all_cameras() if camera.camera_id not in used]
        # It says of all cameras that they are known, also of those of which nothing was matched.
        library().calibrate_view_graph(self.database, options)
        with self._reading() as database:
            for camera in others:
                database.update_camera(camera)

    def settle(self, frames: np.ndarray, focal_N: np.ndarray) -> None:
        """Fixes the focal length of the cameras of some frames, which other reconstructions then keep."""
        with self._reading() as database:
            cameras = {camera.camera_id: camera for camera in database.read_all_cameras()}
            for t, focal in zip(frames, focal_N, strict=True):
                camera = cameras[database.read_image(int(self.image_T[t])).camera_id]
                camera.focal_length, camera.has_prior_focal_length = float(focal), True
            for camera in cameras.values():
                database.update_camera(camera)

    def lens(self, frames: np.ndarray) -> np.ndarray:
        """The lenses [N, 4] in the database, known or the best guess so far."""
        with self._reading() as database:
            cameras = {camera.camera_id: lens_of(camera) for camera in database.read_all_cameras()}
            return np.stack([cameras[database.read_image(int(self.image_T[t])).camera_id] for t in frames])


def by_lens(frames: np.ndarray, lens_N4: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the frames of every lens, and the lens."""
    lens_R4, row_N = np.unique(lens_N4, axis=0, return_inverse=True)
    for row, lens_4 in enumerate(lens_R4):
        yield frames[row_N.reshape(-1) == row], lens_4


def lens_of(camera) -> tuple[float, float, float, float]:
    matrix = camera.calibration_matrix()
    return matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]


def wanted_pairs(frames: Sequence[int], shot_T: np.ndarray, options: Options) -> list[tuple[int, int]]:
    """Returns the pairs of frames whose features are matched: all of few frames, those near in time of many."""
    frames = [int(t) for t in frames]
    steps = range(1, len(frames))
    few = len(frames) <= options.exhaustive
    if not few:
        steps = [*range(1, options.neighbours + 1), *(2**k for k in range(3, len(frames).bit_length()))]
    return [
        (frames[i], frames[i + step])
        for step in steps
        for i in range(len(frames) - step)
        if few or shot_T[frames[i]] == shot_T[frames[i + step]]
    ]


def name(frame: int) -> str:
    return f"frame_{frame:06d}.png"
