"""Prompt files of ShotDirector: a JSON object of films, each with the captions and the cameras of two shots.

A film has `prompt` (one caption a shot, then the scene's), `extrinsic` (a 3x4 world-to-camera matrix a shot, OpenCV
camera axes: x right, y down, z forward; the world is the first shot's camera), `intrinsic` (a 3x3 matrix a shot, fx and
fy in pixels of `width` x `height`). Unit: arbitrary (a reconstruction's scale). Conversion: inverse of the matrix. A
shot has one pose: it stands still. ShotDirector puts the principal point into the middle of the picture whatever the
matrix says, and so does the reader. Without `width` and `height` the matrix is that of 832 x 480.
Sources: UknowSth/ShotDirector, generate.py, evaluation/eval_prompts.py, wan/text2video.py.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.trajectory import Trajectory

SIZE = {"width": 832, "height": 480}
FRAMES = 81
"""Frames of a film of ShotDirector."""


@common.reader
def read(path: Path, *, film: str | None = None, frames: int = FRAMES) -> common.Reading:
    """Reads one film: its shots stand still for as long as ShotDirector shows them.

    Args:
        path: the file.
        film: name of the film in the file; default the first.
        frames: of the whole film, 4n+1; default 81.
    """
    doc = common.load_json(path)
    if not isinstance(doc, dict) or not doc or not all(isinstance(entry, dict) for entry in doc.values()):
        raise ValueError("expected a JSON object of films with 'prompt', 'extrinsic' and 'intrinsic'")
    name = next(iter(doc)) if film is None else film
    if name not in doc:
        raise ValueError(f"no film '{name}'; the file has {', '.join(doc)[:200]}")
    notes = ["a shot of ShotDirector has one camera, so the shots stand still"]
    if film is None and len(doc) > 1:
        notes.append(
            f"the first of {len(doc)} films was read; the option film=NAME reads another: {', '.join(doc)[:200]}"
        )
    entry = doc[name]
    shots = _count(entry.get("extrinsic"))
    w2c_K34 = common.numbers(entry.get("extrinsic"), (shots, 3, 4), "'extrinsic'")
    k_K33 = common.numbers(entry.get("intrinsic"), (shots, 3, 3), "'intrinsic'")
    size = [common.pixels(entry.get(side, default), f"'{side}'") for side, default in SIZE.items()]
    captions, scene = _captions(entry.get("prompt"), shots)
    shot_T = np.repeat(np.arange(shots), lengths(shots, frames))
    lens = np.stack([k_K33[:, 0, 0], k_K33[:, 1, 1], *np.broadcast_to(np.array(size)[:, None] / 2, (2, shots))], 1)
    return common.Reading(
        pose_T34=w2c_K34[shot_T],
        world_to_camera=True,
        lens_T4=lens[shot_T],
        size_T2=size,
        shot_T=shot_T,
        captions=captions,
        global_caption=scene,
        notes=notes,
    )


def _count(value: Any) -> int:
    if not isinstance(value, list) or not value:
        raise ValueError("'extrinsic' should be a list of 3x4 matrices, one a shot")
    return len(value)


def _captions(value: Any, shots: int) -> tuple[tuple[str, ...], str]:
    """(one caption a shot, the scene's) of the list `prompt`."""
    if not isinstance(value, list) or len(value) != shots + 1 or not all(isinstance(text, str) for text in value):
        raise ValueError(f"'prompt' should be {shots + 1} texts, one a shot and one of the scene")
    return tuple(value[:-1]), value[-1]


def lengths(shots: int, frames: int) -> list[int]:
    """Returns the frames of each shot: the latents, of four frames but the first, are dealt out evenly."""
    latents = (frames - 1) // 4 + 1
    if frames % 4 != 1 or latents < shots:
        raise ValueError(f"the option frames should be 4n+1, with {shots} latents at least, got {frames}")
    counts = [len(part) for part in np.array_split(np.arange(latents), shots)]
    return [4 * count - 3 * (k == 0) for k, count in enumerate(counts)]


def write(trajectory: Trajectory, path: Path, *, film: str = "1") -> None:
    """Writes one film named `film`: the first camera of each shot, in the world of the first."""
    first = [start for start, _ in trajectory.spans]
    lens_K4 = trajectory.intrinsics_T4[first]
    k_K33 = np.zeros((len(first), 3, 3))
    k_K33[:, [0, 1, 0, 1], [0, 1, 2, 2]] = lens_K4
    k_K33[:, 2, 2] = 1
    entry = {
        "prompt": [*trajectory.captions, trajectory.global_caption],
        "extrinsic": (se3.inverse(trajectory.from_first_camera().pose_T34[first]) + 0.0).tolist(),
        "intrinsic": k_K33.tolist(),
        "width": int(trajectory.width),
        "height": int(trajectory.height),
    }
    text = json.dumps({film: entry}, indent=4, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


FORMAT = common.Format(
    name="shotdirector",
    suffixes=("shotdirector.json",),
    description="prompt file of ShotDirector: captions and one camera a shot",
    convention="world-to-camera 3x4, OpenCV camera axes, relative to the first; intrinsics in pixels; one pose a shot",
    keeps=frozenset({"cuts", "captions", "size", "lens", "pixel aspect"}),
    read=read,
    write=write,
)
