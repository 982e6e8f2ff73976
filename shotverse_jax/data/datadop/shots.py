"""The files of DataDoP, read and written.

A data set is <split>/<video>/<shot>_… with a list <split>_valid.txt beside the splits; or <video>/<shot>_… alone.
`PARTS` are the files of a shot. Conventions are those of `camera/formats/transforms.py` and `monst3r.py`.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from shotverse_jax.camera.formats import read_trajectory, write_trajectory
from shotverse_jax.camera.motion_tags import FRAMES
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.files import read_json, reading, replacing, write_json
from shotverse_jax.inputs.clip import read_depth, read_image
from shotverse_jax.text_files import decode

PARTS = {
    "caption": "_caption.json",
    "rgb": "_rgb.png",
    "depth": "_depth.npy",
    "intrinsics": "_intrinsics.txt",
    "traj": "_traj.txt",
    "transforms": "_transforms_cleaning.json",
    "plot": "_traj_cleaning.png",
}
"""The files of a shot, by the endings of their names."""
NEEDED = tuple(part for part in PARTS if part != "plot")
"""Without all of these GenDoP's loader leaves a shot out, also where it reads captions alone."""
CAPTIONS = {"movement": "Movement", "detailed": "Detailed Interaction", "concise": "Concise Interaction"}
"""Short names of a shot's three captions, and their keys in a caption file."""


@dataclasses.dataclass(frozen=True)
class ShotFiles:
    """The files of one shot.

    Attributes:
        name: <video>/<shot>, as the lists have it.
        stem: the path of its files without their endings.
    """

    name: str
    stem: Path

    def path(self, part: str) -> Path:
        """The path of a part, a key of `PARTS`, whether it is there or not."""
        return Path(f"{self.stem}{PARTS[part]}")

    def has(self, part: str) -> bool:
        """Whether a part is there."""
        return self.path(part).is_file()


def root_of(folder: str | Path, split: str | None) -> Path:
    """The folder in which the videos of a split have theirs: <folder>/<split>, or the folder itself without splits."""
    folder = Path(folder)
    return folder / split if split and (folder / split).is_dir() else folder


def list_shots(
    folder: str | Path, split: str | None = "test", part: str = "transforms", listed: bool = True
) -> list[ShotFiles]:
    """Lists the shots of a folder laid out as DataDoP's, by name; an empty list for any other folder.

    Args:
        folder: the data set.
        split: name of the part to read; None for a folder without splits. Where <split>_valid.txt exists, it names the
            shots, in its order.
        part: of which file a shot is known where there is no such list.
        listed: whether that list is asked; default true.

    Raises:
        ValueError: the list cannot be read, or names a shot that is no <video>/<shot>.
    """
    folder, root, ending = Path(folder), root_of(folder, split), PARTS[part]
    place = folder / f"{split}_valid.txt"
    if split and listed and place.is_file():
        try:
            names = decode(place.read_bytes()).text.split()
        except (OSError, ValueError) as error:
            raise ValueError(f"{place} cannot be read: {error}") from error
        # The name becomes a path of results: it must not lead out of them.
        if wrong := [name for name in names if Path(name).is_absolute() or {"..", "."} & set(Path(name).parts)]:
            raise ValueError(f"{place}: {wrong[0]!r} is no <video>/<shot>")
    else:
        names = [str(path.relative_to(root)).removesuffix(ending) for path in sorted(root.rglob(f"*{ending}"))]
    return [ShotFiles(name.replace("\\", "/"), root / name) for name in names]


def read_captions(path: str | Path) -> dict[str, str]:
    """Returns the captions of a caption file by their keys.

    Raises:
        ValueError: the file cannot be read, or a caption is no text.
    """
    captions = read_json(path)
    if wrong := [key for key, value in captions.items() if not isinstance(value, str)]:
        raise ValueError(f"{path}: the caption {wrong[0]!r} is no text")
    return captions


def read_path(shot: ShotFiles) -> Trajectory:
    """Returns the path that MonST3R gave: the poses of _traj.txt with the size and lens of _intrinsics.txt.

    Its rate is not stored; 6 frames per second are taken, about those at which DataDoP's frames were taken.

    Raises:
        ValueError: a file cannot be read, or the first lens is none.
    """
    lens_4, width, height = read_intrinsics(shot.path("intrinsics"))
    trajectory = read_trajectory(shot.path("traj"), "monst3r", fps=6.0)
    return dataclasses.replace(trajectory, intrinsics_T4=lens_4, width=width, height=height)


def read_intrinsics(path: str | Path) -> tuple[np.ndarray, int, int]:
    """Returns fx, fy, cx, cy of the first row of an _intrinsics.txt, and the width and height that they imply.

    A row is a 3x3 matrix; the image is twice as large as the whole part of its principal point, as the original has it.

    Raises:
        ValueError: the file has no such row, or it is no lens.
    """
    with reading(path, "rows of 9 numbers, a 3x3 matrix each"):
        first = decode(Path(path).read_bytes()).text.strip().split("\n")[0].split()
        if len(first) != 9:
            raise ValueError(f"{path}: a row has 9 numbers, a 3x3 matrix, the first one has {len(first)}")
        matrix = np.array(first, np.float64).reshape(3, 3)
        lens_4 = matrix[[0, 1, 0, 1], [0, 1, 2, 2]]
        if not (np.isfinite(lens_4).all() and (lens_4 >= [1e-6, 1e-6, 1, 1]).all() and lens_4.max() < 1e6):
            raise ValueError(f"{path}: the focal lengths and the principal point {lens_4.tolist()} are no lens")
    return lens_4, 2 * int(lens_4[2]), 2 * int(lens_4[3])


def write_shot(
    shot: ShotFiles,
    *,
    captions: dict[str, str] | None = None,
    image_HWC: np.ndarray | None = None,
    depth_HW: np.ndarray | None = None,
    path: Trajectory | None = None,
    cleaned: Trajectory | None = None,
) -> None:
    """Writes the files of a shot, each whole or not at all; parts that are None are left as they are.

    Args:
        shot: where.
        captions: of `CAPTIONS`, by their keys in the file.
        image_HWC: the first frame, uint8.
        depth_HW: its depth, in the unit of the path.
        path: the path as it was reconstructed, for _traj.txt and _intrinsics.txt: a row for each of its poses.
        cleaned: the path of 120 poses.

    Raises:
        ValueError: a file cannot be written, or the clean path has another number of poses.
    """
    if cleaned is not None and len(cleaned) != FRAMES:
        raise ValueError(f"DataDoP's shots have {FRAMES} poses, {shot.name} has {len(cleaned)}")
    if captions is not None:
        write_json(shot.path("caption"), captions, indent=4)
    if image_HWC is not None:
        with replacing(shot.path("rgb")) as place:
            Image.fromarray(image_HWC).save(place)
    if depth_HW is not None:
        with replacing(shot.path("depth")) as place:
            np.save(place, np.asarray(depth_HW, np.float32))
    if path is not None:
        fx, fy, cx, cy = path.intrinsics_T4.T
        zero, one = np.zeros_like(fx), np.ones_like(fx)
        rows_T9 = np.stack([fx, zero, cx, zero, fy, cy, zero, zero, one], axis=1)
        with replacing(shot.path("intrinsics")) as place:
            np.savetxt(place, rows_T9, fmt="%.6f")
        write_trajectory(path, shot.path("traj"), "monst3r")
    if cleaned is not None:
        write_trajectory(cleaned, shot.path("transforms"), "nerfstudio", monst3r_im_id=True)


def write_list(folder: str | Path, split: str | None, names: Sequence[str]) -> Path:
    """Writes <split>_valid.txt of a data set and returns its path. Raises ValueError where it cannot be written."""
    path = Path(folder) / (f"{split}_valid.txt" if split else "DataDoP_valid.txt")
    with replacing(path) as place:
        place.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return path


def problems(shot: ShotFiles) -> list[str]:
    """Returns what is wrong with the files of a shot, a sentence each; nothing where GenDoP can read all of it."""
    missing = [PARTS[part] for part in NEEDED if not shot.has(part)]
    found = [f"it has no {', '.join(missing)}"] if missing else []
    sizes = {}
    readers = {
        "caption": lambda path: _check_captions(read_captions(path)),
        "rgb": lambda path: sizes.setdefault("rgb", read_image(path).shape[:2]),
        "depth": lambda path: sizes.setdefault("depth", read_depth(path).shape),
        "intrinsics": read_intrinsics,
        "traj": lambda path: read_trajectory(path, "monst3r"),
        "transforms": lambda path: _check_frames(read_trajectory(path, "nerfstudio")),
    }
    for part, read in readers.items():
        if shot.has(part):
            try:
                read(shot.path(part))
            except ValueError as error:
                found.append(str(error))
    if len(set(sizes.values())) > 1:
        found.append(f"its picture is {sizes['rgb']} and its depth {sizes['depth']} high and wide")
    return found


def _check_captions(captions: dict[str, str]) -> None:
    if missing := [key for key in CAPTIONS.values() if not captions.get(key, "").strip()]:
        raise ValueError(f"it has no caption {', '.join(missing)}")


def _check_frames(trajectory: Trajectory) -> None:
    if len(trajectory) != FRAMES:
        raise ValueError(f"it has {len(trajectory)} poses and not {FRAMES}")
