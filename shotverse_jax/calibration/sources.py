"""What the settings of a calibration name: shots, masks, lenses and what reconstructs."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shotverse_jax import limits
from shotverse_jax.calibration import shots as detection
from shotverse_jax.calibration.detectors import DETECTORS
from shotverse_jax.calibration.known import Known, read_cameras
from shotverse_jax.calibration.masks import MASKERS, Masker, Together, load_masker, same_proportions
from shotverse_jax.calibration.reconstruction import Footage, Provider
from shotverse_jax.calibration.shots import Progress, Shots
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.trajectory import FILM_BACK_MM, Trajectory
from shotverse_jax.files import read_json
from shotverse_jax.stage.preview import SKY, described_scene, frame_at, stage_poses

MASKS = (
    "none",
    "motion",
    "saliency",
    "sam2",
    "sam2:WORDS",
    "sam2:BOXES.json",
    "text",
    "file:DIR",
    "stage:TRAJECTORY",
)
RECONSTRUCTIONS = ("colmap", "pi3", "pi3:FOLDER", "file:CAMERAS", "stage:TRAJECTORY")
"""What the settings take, as a user writes them."""


def named(text: str, known: tuple[str, ...], what: str) -> tuple[str, str]:
    """Returns the name and the file of a setting such as "file:DIR"; the file is "" where there is none.

    Raises:
        ValueError: it is none of the `known` ones.
    """
    name, colon, file = text.partition(":")
    forms = {form.partition(":")[0] + ":" * (":" in form) for form in known}
    if name + colon not in forms or (colon and not file):
        raise ValueError(f"{what} are {', '.join(known)}; got {limits.shown(text)}")
    return name, file


def named_file(text: str) -> str:
    """Returns the file or folder that a setting names, "" for none; weights of a network and words are none."""
    name, _, file = text.partition(":")
    return "" if name == "pi3" or (name == "sam2" and not file.lower().endswith(".json")) else file


def mask_parts(masks: str) -> list[str]:
    """Returns the single settings of masks such as "motion+text"; names of files may have a + too."""
    return re.split(rf"\+(?={'|'.join(MASKERS)})", masks)


def find(video: Path, cuts: str, progress: Progress) -> Shots:
    """Returns the shots of a film by the setting `cuts`.

    Raises:
        ValueError: the video cannot be read; or `cuts` names no detector and no file of cuts, or cuts that it has not.
    """
    if cuts in DETECTORS:
        return detection.find_shots(video, cuts, progress)
    if cuts == "none":
        return detection.known_shots(video, [])
    if Path(cuts).suffix.lower() == ".json":
        value = read_json(cuts).get("cuts")
        if not isinstance(value, list) or not all(isinstance(cut, int) for cut in value):
            raise ValueError(f"{cuts} has no list of frames that is named cuts, as shotverse cuts --json writes it")
        return detection.known_shots(video, value)
    try:
        return detection.known_shots(video, [int(part) for part in cuts.split(",")])
    except ValueError as error:
        if "invalid literal" not in str(error):
            raise
        raise ValueError(
            f"cuts are {', '.join(DETECTORS)}, none, a file of shotverse cuts --json, or frames like 30,76; "
            f"got {limits.shown(cuts)}"
        ) from error


def masker(masks: str) -> Masker | None:
    """Returns who finds the masks by the setting `masks`, several with + between them; None for none.

    Raises:
        ValueError: one of them is unknown, or what it needs is not installed or not there.
    """
    if masks == "none":
        return None
    found = [_masker(*named(part, MASKS, "masks")) for part in mask_parts(masks)]
    return found[0] if len(found) == 1 else Together(found)


def _masker(name: str, file: str) -> Masker:
    if name == "none":
        raise ValueError("masks are none alone, or others with + between them")
    if name == "stage":
        return load_masker(name, read_trajectory(file))
    return load_masker(name, *([file] if file else []))


def lenses(lens: str, shots: Shots) -> np.ndarray | None:
    """Returns the lenses [K, 4] of the shots in pixels of the film's whole frames; None where they are estimated.

    Raises:
        ValueError: the setting is no lens, or there is another number of them than of shots.
    """
    if lens == "estimated":
        return None
    info, count = shots.info, len(shots.spans)
    parts = [part.strip() for part in lens.split(",")]
    try:
        millimetres = all(part.endswith("mm") for part in parts)
        values = [float(part.removesuffix("mm")) for part in parts]
    except ValueError:
        millimetres, values = False, []
    if not (millimetres or len(values) == 4) or not all(np.isfinite(values)) or min(values) <= 0:
        raise ValueError(
            f'a lens is "estimated", millimetres on a sensor of 36 mm like 35mm, with commas one for each shot, or '
            f"FX,FY,CX,CY in pixels of the film; got {limits.shown(lens)}"
        )
    if not millimetres:
        return np.tile(values, (count, 1))
    if len(values) not in (1, count):
        raise ValueError(f"{lens} has {len(values)} lenses and the film {count} shots; give one, or one for each")
    focal_K = np.broadcast_to(np.array(values) * info.width / FILM_BACK_MM, (count,))
    center = [np.full(count, side / 2) for side in (info.width, info.height)]
    return np.stack([focal_K, focal_K, *center], axis=1)


@contextlib.contextmanager
def provided(reconstruct: str, footage: Footage, number_N: np.ndarray) -> Iterator[Provider]:
    """Yields the provider by the setting `reconstruct`.

    number_N: the number in the film of every frame of the footage.

    Raises:
        ValueError: it is none, or what it needs is not installed or not there, or does not fit the film.
    """
    name, file = named(reconstruct, RECONSTRUCTIONS, "reconstructions")
    if name == "colmap":
        from shotverse_jax.calibration import colmap

        with colmap.opened(footage) as provider:
            yield provider
    elif name == "pi3":
        from shotverse_jax.calibration.pi3 import Pi3
        from shotverse_jax.infer.pi3 import Reconstructor

        yield Pi3(footage, Reconstructor.load(file or "pi3"))
    else:
        known = read_cameras(file) if name == "file" else _on_stage(read_trajectory(file), footage.size, number_N)
        yield _picked(known, footage.size, number_N, file) if name == "file" else known


def _picked(known: Known, size: tuple[int, int], number_N: np.ndarray, file: str) -> Known:
    """Known cameras of the film's frames as those of some frames at another size."""
    if number_N[-1] >= len(known):
        raise ValueError(f"{file} has cameras of {len(known)} frames, and the film has frame {number_N[-1]}")
    if not same_proportions(known.size, size):
        width, height = known.size
        raise ValueError(f"{file} is of pictures of {width}x{height}; the film has other proportions")
    pick = lambda array_T: None if array_T is None else array_T[number_N]  # noqa: E731
    return dataclasses.replace(
        known,
        pose_T34=known.pose_T34[number_N],
        lens_T4=known.lens_T4[number_N] * np.tile(np.array(size) / known.size, 2),
        size=size,
        depth_THW=pick(known.depth_THW),
        weight_THW=pick(known.weight_THW),
        found_T=pick(known.found_T),
    )


def _on_stage(film: Trajectory, size: tuple[int, int], number_N: np.ndarray) -> Known:
    """The exact cameras and depths of some frames of a film of the stage."""
    if number_N[-1] >= len(film):
        raise ValueError(f"the trajectory has {len(film)} frames, and the film has frame {number_N[-1]}")
    scene = described_scene(film)
    depth_NHW = np.stack([frame_at(int(t), film, scene, *size)[1] for t in number_N])
    lens_N4 = film.intrinsics_T4[number_N] * np.tile(np.array(size) / [film.width, film.height], 2)
    return Known(stage_poses(film)[number_N], lens_N4, size, np.where(depth_NHW < SKY, depth_NHW, 0))
