"""The providers `stage` and `file`: cameras, and depths, that are known."""

import dataclasses
from pathlib import Path

import numpy as np

from shotverse_jax import limits
from shotverse_jax.calibration.reconstruction import Footage, Points, Provider, Reconstruction
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.trajectory import check_rigid
from shotverse_jax.files import reading
from shotverse_jax.stage.preview import shows_subject
from shotverse_jax.stage.raycast import primitives, render
from shotverse_jax.stage.scene import Scene

KEYS = ("poses_c2w", "intrinsics", "fov_y", "size", "depth", "confidence", "registered", "joint")
"""Arrays of an .npz of cameras; `read_cameras` says what they are."""


@dataclasses.dataclass(frozen=True, eq=False)
class Known(Provider):
    """Cameras of all frames of a film.

    Attributes:
        pose_T34: [T, 3, 4] camera-to-world, OpenCV axes.
        lens_T4: [T, 4] fx, fy, cx, cy in pixels of `size`.
        size: (width, height) in pixels of the pictures that the lenses belong to.
        depth_THW: [T, h, w] depth in the unit of the poses, of any size; None (default) is unknown.
        weight_THW: [T, h, w] bool or confidence, 0 to 1, of the depth; None (default) is 1.
        found_T: [T] bool, False where the camera is not known; None (default) is everywhere True.
        joint_world: whether all shots are in one world (default), whatever their pictures show.
        notes: sentences for the user.
    """

    pose_T34: np.ndarray
    lens_T4: np.ndarray
    size: tuple[int, int]
    depth_THW: np.ndarray | None = None
    weight_THW: np.ndarray | None = None
    found_T: np.ndarray | None = None
    joint_world: bool = True
    notes: tuple[str, ...] = ()

    def __len__(self):
        return len(self.pose_T34)

    def reconstruct(self, frames: np.ndarray) -> Reconstruction:
        """Returns what is known of some frames."""
        frames = np.asarray(frames, np.int64)
        if len(frames) and frames.max() >= len(self):
            raise ValueError(f"the film has frame {frames.max()}, but cameras of {len(self)} frames were given")
        found_N = np.ones(len(frames), bool) if self.found_T is None else self.found_T[frames]
        depth_NHW, points = None, Points.none()
        if self.depth_THW is not None:
            depth_NHW = np.where(found_N[:, None, None], self.depth_THW[frames], 0)
            points = Points.of_depth(frames, depth_NHW, None if self.weight_THW is None else self.weight_THW[frames])
            scale_2 = np.array(self.size) / depth_NHW.shape[:0:-1]
            points = dataclasses.replace(points, pixel_M2=points.pixel_M2 * scale_2)
        pose_N34 = np.where(found_N[:, None, None], self.pose_T34[frames], np.eye(3, 4))
        return Reconstruction(
            frames, pose_N34, self.lens_T4[frames], found_N, points, depth_NHW, self.joint_world, self.notes
        )


def film_stage(
    scene: Scene,
    pose_T34: np.ndarray,
    lens_T4: np.ndarray,
    shot_T: np.ndarray,
    size: tuple[int, int],
    time_T: np.ndarray,
) -> tuple[Footage, Known]:
    """Returns a film of the stage, whose subjects are not static, and its exact cameras and depths.

    Args:
        scene: the stage.
        pose_T34: cameras in the stage's coordinates, metres.
        lens_T4: fx, fy, cx, cy in pixels of `size`.
        shot_T: shot of every frame.
        size: (width, height) in pixels.
        time_T: seconds of every frame.
    """
    frames = render(primitives(scene, time_T), pose_T34, lens_T4, *size)
    static_THW = ~shows_subject(frames.instance_THW, scene)
    depth_THW = np.asarray(frames.depth_THW)
    return (
        Footage(np.asarray(frames.color_THW3), shot_T, lens_T4, static_THW),
        Known(np.asarray(pose_T34, np.float64), np.asarray(lens_T4, np.float64), size, depth_THW, static_THW),
    )


def read_cameras(path: str | Path) -> Known:
    """Reads cameras that another program found: a .npz of arrays, or any camera file that the project reads.

    The arrays of a .npz:
        poses_c2w: [T, 3, 4] or [T, 4, 4] camera-to-world, OpenCV axes.
        intrinsics: [T, 4] or [4] fx, fy, cx, cy, or [T, 3, 3] or [3, 3]; or fov_y, [T] or one number, degrees across
            the height of the picture, with square pixels and the principal point in the middle.
        size: width and height in pixels of the pictures that the lenses belong to; default that of `depth`.
        depth: [T, h, w] z-depth in the unit of the poses; 0 or NaN is unknown. Optional.
        confidence: [T, h, w] of the depth, 0 to 1. Optional.
        registered: [T] bool, False where the camera is not known. Optional.
        joint: whether all shots share one world; default true.

    Raises:
        ValueError: the file is not there, or is no such file.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        film = read_trajectory(path)
        return Known(film.pose_T34, film.intrinsics_T4, (film.width, film.height), notes=film.notes)
    with reading(path, "an .npz file of cameras"):
        limits.file_size(path, limits.CAMERA_FILE)
        with np.load(path, allow_pickle=False) as file:
            ignored = sorted(set(file) - set(KEYS))
            known = _known({name: file[name] for name in KEYS if name in file})
    notes = (f"arrays that are not read: {', '.join(ignored)}",) if ignored else ()
    return dataclasses.replace(known, notes=notes)


def _known(array: dict[str, np.ndarray]) -> Known:
    """The cameras of the arrays of an .npz."""
    if "poses_c2w" not in array:
        raise ValueError("there is no array poses_c2w")
    pose_T34 = np.asarray(array["poses_c2w"], np.float64)
    if pose_T34.ndim != 3 or pose_T34.shape[1:] not in ((3, 4), (4, 4)) or not len(pose_T34):
        raise ValueError(f"poses_c2w should be [T, 3, 4] or [T, 4, 4], got {list(pose_T34.shape)}")
    pose_T34, frames = pose_T34[:, :3], len(pose_T34)
    found_T = _array(array, "registered", (frames,))
    found_T = np.ones(frames, bool) if found_T is None else found_T.astype(bool)
    pose_T34 = np.where(found_T[:, None, None], pose_T34, np.eye(3, 4))
    check_rigid(pose_T34, what="poses_c2w: pose")
    # Single precision leaves rotations that are not quite rotations.
    pose_T34[:, :, :3] = se3.project_to_so3(pose_T34[:, :, :3])
    depth_THW = array.get("depth")
    if depth_THW is not None and (depth_THW.ndim != 3 or len(depth_THW) != frames or not depth_THW.size):
        raise ValueError(f"depth should be [{frames}, h, w], got {list(depth_THW.shape)}")
    size = _array(array, "size", (2,))
    if size is None and depth_THW is None:
        raise ValueError("there is no array size, the width and height of the pictures")
    width, height = (int(side) for side in (depth_THW.shape[:0:-1] if size is None else size))
    for side in (width, height):
        limits.whole(side, "a side of the pictures", 1, limits.PIXELS)
    weight_THW = None if depth_THW is None else _array(array, "confidence", depth_THW.shape)
    joint = bool(np.all(array.get("joint", True)))
    lens_T4 = _lens(array, frames, width, height)
    return Known(pose_T34, lens_T4, (width, height), depth_THW, weight_THW, found_T, joint)


def _array(array: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """An array, broadcast to its shape; None where it is not there."""
    if name not in array:
        return None
    value = array[name]
    if value.dtype.kind not in "biuf" or not np.isfinite(value).all():
        raise ValueError(f"{name} should hold finite numbers")
    try:
        return np.broadcast_to(value, shape)
    except ValueError as error:
        raise ValueError(f"{name} should be {list(shape)}, got {list(value.shape)}") from error


def _lens(array: dict[str, np.ndarray], frames: int, width: int, height: int) -> np.ndarray:
    """The lenses [T, 4] of one of the arrays that may say them."""
    if "intrinsics" in array and array["intrinsics"].shape[-2:] == (3, 3):
        matrix_T33 = _array(array, "intrinsics", (frames, 3, 3))
        lens_T4 = np.stack([matrix_T33[:, r, c] for r, c in ((0, 0), (1, 1), (0, 2), (1, 2))], axis=1)
    elif "intrinsics" in array:
        lens_T4 = _array(array, "intrinsics", (frames, 4))
    elif "fov_y" in array:
        half_T = np.radians(_array(array, "fov_y", (frames,))) / 2
        if not ((half_T > 0) & (half_T < np.pi / 2)).all():
            raise ValueError("fov_y should be degrees from 0 to 180")
        focal_T, one = height / 2 / np.tan(half_T), np.ones(frames)
        lens_T4 = np.stack([focal_T, focal_T, width / 2 * one, height / 2 * one], axis=1)
    else:
        raise ValueError("there is neither an array intrinsics nor fov_y")
    if not (lens_T4[:, :2] > 0).all():
        raise ValueError("focal lengths should be positive")
    return lens_T4.astype(np.float64)
