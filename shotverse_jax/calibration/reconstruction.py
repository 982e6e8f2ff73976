"""What is given to a reconstruction of a film, and what comes back, whoever makes it.

Poses are camera-to-world, OpenCV axes (x right, y down, z forward), in the reconstruction's own world and unit of
length. Pixels: the corner of the image is (0, 0), the centre of the first pixel (0.5, 0.5). Depth is the z of a point
in its camera.

Array axes: T frames of the film; N frames of a reconstruction; M measured points of all its frames; H, W of a picture.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shotverse_jax.camera import se3

LEAST_POINTS = 20
"""Points that two reconstructions of a picture must share before their depths are compared."""


@dataclasses.dataclass(frozen=True, eq=False)
class Footage:
    """The frames of a film as a reconstruction sees them.

    Attributes:
        frame_THWC: [T, H, W, 3] uint8.
        shot_T: [T] int32 shot of every frame, contiguous and numbered from 0.
        lens_T4: [T, 4] fx, fy, cx, cy in pixels, where the lens is known; None (default) where it is estimated.
        static_THW: [T, H, W] bool, False where something moves by itself; None (default) where nothing does.

    Raises:
        ValueError: shapes do not fit.
    """

    frame_THWC: np.ndarray
    shot_T: np.ndarray
    lens_T4: np.ndarray | None = None
    static_THW: np.ndarray | None = None

    def __post_init__(self):
        shape = np.shape(self.frame_THWC)
        if len(shape) != 4 or shape[3] != 3 or self.frame_THWC.dtype != np.uint8:
            raise ValueError(f"frames should be [T, H, W, 3] uint8, got {shape} {self.frame_THWC.dtype}")
        shot_T = np.asarray(self.shot_T, np.int32)
        if shot_T.shape != shape[:1] or not len(shot_T) or shot_T[0] or not np.isin(np.diff(shot_T), (0, 1)).all():
            raise ValueError("shots must be contiguous and numbered from 0, one number per frame")
        object.__setattr__(self, "shot_T", shot_T)
        if self.lens_T4 is not None:
            lens_T4 = np.broadcast_to(np.asarray(self.lens_T4, np.float64), (shape[0], 4)).copy()
            if not (np.isfinite(lens_T4).all() and (lens_T4[:, :2] > 0).all()):
                raise ValueError("focal lengths must be positive and finite")
            object.__setattr__(self, "lens_T4", lens_T4)
        if self.static_THW is not None and np.shape(self.static_THW) != shape[:3]:
            raise ValueError(f"masks should be {list(shape[:3])} as the frames are, got {np.shape(self.static_THW)}")

    def __len__(self):
        return len(self.frame_THWC)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the frames in pixels."""
        return self.frame_THWC.shape[2], self.frame_THWC.shape[1]

    @property
    def shots(self) -> list[np.ndarray]:
        """The frames of every shot."""
        return [np.flatnonzero(self.shot_T == k) for k in range(int(self.shot_T[-1]) + 1)]


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
    """Points that were measured in pictures.

    Attributes:
        frame_M: [M] int64 frame of the film.
        pixel_M2: [M, 2] float64 place in the picture. Two reconstructions of one picture measure the same point at the
            same pixel.
        depth_M: [M] float64, positive.
        weight_M: [M] float64 confidence, 0 to 1.
        track_M: [M] int64 number of the point in space, the same in all pictures that show it; -1 where a picture is
            measured by itself.
    """

    frame_M: np.ndarray
    pixel_M2: np.ndarray
    depth_M: np.ndarray
    weight_M: np.ndarray
    track_M: np.ndarray

    def __len__(self):
        return len(self.frame_M)

    def __getitem__(self, which_M: np.ndarray) -> "Points":
        return Points(*(getattr(self, field.name)[which_M] for field in dataclasses.fields(self)))

    @classmethod
    def none(cls) -> "Points":
        """Returns no points."""
        whole, real = np.zeros(0, np.int64), np.zeros(0)
        return cls(whole, np.zeros((0, 2)), real, real, whole)

    @classmethod
    def together(cls, parts: Sequence["Points"]) -> "Points":
        """Returns all points of several lists."""
        fields = [field.name for field in dataclasses.fields(cls)]
        return (
            cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields)) if parts else cls.none()
        )

    @classmethod
    def of_depth(cls, frame_N: Sequence[int], depth_NHW, weight_NHW=None, most: int = 2000) -> "Points":
        """Returns points of depth maps, on a grid of the pixels' centres.

        Args:
            frame_N: frame of the film of every map.
            depth_NHW: [N, H, W] depth; what is not positive and finite is unknown.
            weight_NHW: [N, H, W] confidence, 0 to 1; None (default) is 1.
            most: about how many pixels of a picture are taken; default 2000.
        """
        _, height, width = np.shape(depth_NHW)
        stride = max(1, round((height * width / most) ** 0.5))
        rows, columns = np.arange(stride // 2, height, stride), np.arange(stride // 2, width, stride)
        depth = np.asarray(depth_NHW)[:, rows][:, :, columns].astype(np.float64)
        weight = np.ones_like(depth)
        if weight_NHW is not None:
            weight = np.asarray(weight_NHW)[:, rows][:, :, columns].astype(np.float64)
        pixel_2 = np.stack(np.meshgrid(columns + 0.5, rows + 0.5), axis=-1)
        known = np.isfinite(depth) & (depth > 0) & (weight > 0)
        return cls(
            np.broadcast_to(np.asarray(frame_N, np.int64)[:, None, None], depth.shape)[known],
            np.broadcast_to(pixel_2, (*depth.shape, 2))[known],
            depth[known],
            weight[known],
            np.full(int(known.sum()), -1, np.int64),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Reconstruction:
    """The cameras of some frames of a film in one world, and what was measured in them.

    Attributes:
        frame_N: [N] int64 frames of the film, ascending.
        pose_N34: [N, 3, 4] float64 camera-to-world; the identity where a frame was not registered.
        lens_N4: [N, 4] float64 fx, fy, cx, cy in pixels.
        found_N: [N] bool, True where the frame was registered.
        points: what was measured in registered frames.
        depth_NHW: [N, H, W] float32 depth maps, where the provider has them; None (default) elsewhere.
        joint: whether the poses of all its shots are known to share one world, whatever their pictures show; default
            False: the shots are as connected as their points are.
        notes: sentences for the user.
        lens_off: by how much the focal length that fits the pictures best differs from the given one, as a share;
            nan (default) where none was given, or the pictures fit no other better.
    """

    frame_N: np.ndarray
    pose_N34: np.ndarray
    lens_N4: np.ndarray
    found_N: np.ndarray
    points: Points
    depth_NHW: np.ndarray | None = None
    joint: bool = False
    notes: tuple[str, ...] = ()
    lens_off: float = float("nan")

    def place(self, frames: np.ndarray) -> np.ndarray:
        """Returns the place of frames of the film in `frame_N`.

        Raises:
            ValueError: a frame is not in it.
        """
        place = np.searchsorted(self.frame_N, frames)
        inside = place < len(self.frame_N)
        if not (inside.all() and (self.frame_N[place] == frames).all()):
            raise ValueError("the reconstruction does not hold all of these frames")
        return place

    def found(self, frames: np.ndarray) -> np.ndarray:
        """Returns those of some frames of the film that were registered."""
        return np.intersect1d(frames, self.frame_N[self.found_N])

    def poses(self, frames: np.ndarray) -> np.ndarray:
        """Returns the poses [n, 3, 4] of frames of the film, which must be in it."""
        return self.pose_N34[self.place(frames)]

    def world(self, points: Points | None = None) -> np.ndarray:
        """Returns points [M, 3] in the world; None (default) takes all of its own."""
        points = self.points if points is None else points
        place = self.place(points.frame_M)
        lens_M4 = self.lens_N4[place]
        ray_M2 = (points.pixel_M2 - lens_M4[:, 2:]) / lens_M4[:, :2]
        camera_M3 = np.concatenate([ray_M2, np.ones((len(points), 1))], axis=1) * points.depth_M[:, None]
        return se3.transform_points(self.pose_N34[place], camera_M3)

    @property
    def size(self) -> float:
        """Returns the size of the scene: the median depth, or the extent of the cameras without points, at least."""
        centers = self.pose_N34[self.found_N, :, 3]
        extent = float(np.linalg.norm(centers - np.median(centers, axis=0), axis=1).max()) if len(centers) else 0.0
        return max(extent, float(np.median(self.points.depth_M)) if len(self.points) else 0.0)


def pixel_key(frame_M: np.ndarray, pixel_M2: np.ndarray) -> np.ndarray:
    """Returns a number [M] for every pixel of every frame, the same within an eighth of a pixel or so."""
    pixel_M2 = np.round(pixel_M2 * 8).astype(np.int64)
    return (np.asarray(frame_M, np.int64) << 40) + (pixel_M2[:, 1] << 20) + pixel_M2[:, 0]


def shared(first: Points, second: Points, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places, in two lists of points, of what both measured at the same pixel of the same frame.

    frames: the frames of the film in which points are looked for.
    """
    places, keys = [], []
    for points in (first, second):
        place = np.flatnonzero(np.isin(points.frame_M, frames))
        key, only = np.unique(pixel_key(points.frame_M[place], points.pixel_M2[place]), return_index=True)
        places.append(place[only])
        keys.append(key)
    _, a, b = np.intersect1d(*keys, assume_unique=True, return_indices=True)
    return places[0][a], places[1][b]


class Provider:
    """What reconstructs the frames of one film. A provider has `reconstruct`; the rest has a plain meaning already."""

    def reconstruct(self, frames: np.ndarray) -> Reconstruction:
        """Returns the reconstruction of some frames, ascending, in one world."""
        raise NotImplementedError

    def joint(self, shots: Sequence[Reconstruction], keys: Sequence[np.ndarray]) -> Reconstruction:
        """Returns the reconstruction of the key frames of all shots in one world.

        Args:
            shots: the reconstruction of every shot by itself.
            keys: the key frames of every shot.
        """
        return self.reconstruct(np.sort(np.concatenate(keys)))

    def agreement(self, made: Reconstruction) -> "Agreement":
        """Returns whether the cameras of a reconstruction explain what was matched between its pictures.

        A provider that matches nothing has none (default).
        """
        return Agreement.none()


class Agreement(NamedTuple):
    """Matches between two pictures, and the share of them that the cameras explain, for P pairs of frames.

    Attributes:
        first_P, second_P: [P] frames of the film.
        matches_P: [P] number of matches.
        share_P: [P] share of the matches that is explained.
    """

    first_P: np.ndarray
    second_P: np.ndarray
    matches_P: np.ndarray
    share_P: np.ndarray

    @classmethod
    def none(cls) -> "Agreement":
        """Returns an agreement of no pairs."""
        return cls(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.int64, np.float64)))

    def only(self, group_P: np.ndarray, other_P: np.ndarray) -> "Agreement":
        """Returns the pairs whose two frames are of the same group."""
        return Agreement(*(field[group_P == other_P] for field in self))

    def mean(self, which_P: np.ndarray | None = None) -> float:
        """Returns the share over the matches of some pairs, all by default; nan where there are none."""
        which_P = np.ones(len(self.share_P), bool) if which_P is None else which_P
        count = self.matches_P[which_P].sum()
        return float((self.matches_P * self.share_P)[which_P].sum() / count) if count else float("nan")
