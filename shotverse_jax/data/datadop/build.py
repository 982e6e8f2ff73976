"""Shots of DataDoP from MonST3R's results: what GenDoP's `dataset/scripts/Dataset_DataDoP.py basic` does.

MonST3R leaves for every clip a folder with frame_0000.png …, frame_depth_0000.npy …, pred_traj.txt and
pred_intrinsics.txt; GenDoP's batch script calls the clip's folder NULL.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from shotverse_jax.camera.cleaning import Cleaned, clean
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.data.datadop.shots import ShotFiles, read_intrinsics, read_path, write_shot
from shotverse_jax.files import reading
from shotverse_jax.inputs.clip import read_depth, read_image
from shotverse_jax.text_files import decode

POSES, LENSES = "pred_traj.txt", "pred_intrinsics.txt"
LOOKED_AT, BLACK = 15, 50
"""Frames of a clip's beginning that are left out while they are black, and the grey below which a pixel is black."""

LEAST_RANGE = 0.02
"""Range of positions, in MonST3R's unit, below which a camera stands still; such clips are left out (Filtering.py)."""


def find_clips(folder: str | Path) -> list[tuple[str, Path]]:
    """Lists (name, folder) of MonST3R's results below a folder, by name; a level "NULL" is no part of the name.

    Raises:
        ValueError: there are none.
    """
    folder = Path(folder)
    found = []
    for path in sorted(folder.rglob(POSES)):
        place = path.parent
        name = place.parent if place.name == "NULL" else place
        # A single clip has the name of its own folder.
        found.append((name.relative_to(folder).as_posix() if name != folder else folder.resolve().name, place))
    if not found:
        raise ValueError(f"{folder} holds no results of MonST3R: expected <video>/<shot>/NULL/{POSES}")
    return found


def build_shot(clip: Path, shot: ShotFiles, whole: bool = False) -> tuple[str, ...]:
    """Makes the files of a shot, but its captions, of a clip's results; returns sentences about what was left out.

    Args:
        clip: the folder of MonST3R's results.
        shot: where the files go.
        whole: as `camera.cleaning.clean` takes it.

    Raises:
        ValueError: a file cannot be read, the clip is too short, or its camera stands still.
    """
    first = first_frame(clip)
    image_HWC = read_image(clip / f"frame_{first:04d}.png")
    depth_HW = read_depth(clip / f"frame_depth_{first:04d}.npy")
    poses = read_trajectory(clip / POSES, "monst3r", fps=6.0)
    lens_T4 = _lenses(clip / LENSES)
    if len(lens_T4) != len(poses):
        raise ValueError(f"{clip}: {len(poses)} poses and {len(lens_T4)} lenses")
    if first >= len(poses):
        raise ValueError(f"{clip}: frame {first} is the first that is not black, and there are {len(poses)} poses")
    _, width, height = read_intrinsics(clip / LENSES)
    path = Trajectory(poses.pose_T34[first:], lens_T4[first:], width, height, poses.shot_T[first:], fps=poses.fps)
    position_T3 = poses.pose_T34[:, :, 3]
    if (reach := np.ptp(position_T3, axis=0).max()) < LEAST_RANGE:
        raise ValueError(
            f"{clip}: the camera stands still: its positions differ by {reach:.3g}, less than {LEAST_RANGE}"
        )
    cleaned = clean(path, whole)
    write_shot(shot, image_HWC=image_HWC, depth_HW=depth_HW, path=path, cleaned=cleaned.trajectory)
    skipped = (f"{first} black frames at the beginning were left out",) if first else ()
    return *skipped, *cleaned.notes


def clean_shot(shot: ShotFiles, whole: bool = False) -> Cleaned:
    """Returns the clean path of a shot's _traj.txt and _intrinsics.txt. Raises ValueError where there is none."""
    return clean(read_path(shot), whole)


def first_frame(clip: Path) -> int:
    """Returns the number of the first frame that is shown: the one after the last black one among the first 15.

    Raises:
        ValueError: the clip has fewer frames.
    """
    frames = sorted(clip.glob("frame_[0-9]*.png"))
    if len(frames) < LOOKED_AT:
        raise ValueError(f"{clip}: {len(frames)} frames; a shot has at least {LOOKED_AT}")
    first = 0
    for path in frames[:LOOKED_AT]:
        with reading(path, "a picture"), Image.open(path) as picture:
            if max(picture.convert("L").getextrema()) < BLACK:
                first = int(path.stem.rsplit("_", 1)[1]) + 1
    return first


def _lenses(path: Path) -> np.ndarray:
    """fx, fy, cx, cy [T, 4] of all rows of an intrinsics file."""
    with reading(path, "rows of 9 numbers, a 3x3 matrix each"):
        rows = [line.split() for line in decode(path.read_bytes()).text.split("\n") if line.strip()]
        if not rows or {len(row) for row in rows} != {9}:
            raise ValueError(f"{path}: every row should have 9 numbers, a 3x3 matrix")
        matrix_T33 = np.array(rows, np.float64).reshape(-1, 3, 3)
    return matrix_T33[:, [0, 1, 0, 1], [0, 1, 2, 2]]
