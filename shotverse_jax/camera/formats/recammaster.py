"""camera_extrinsics.json of ReCamMaster and SynCamMaster: `frame0 … frameN`, each with cameras cam01, cam02, …

Each camera is a text of four bracketed rows: the camera's forward, right and up axis and its position, in Unreal's
world (left-handed, x forward, y right, z up). Unit: centimetres. Lens, size and time are not stored.
Conversion: (x, y, z) of Unreal → (y, -z, x) / 100, which mirrors the left-handed world into a right-handed one, y
down; camera axes become right, -up, forward. A camera at Unreal's origin without rotation reads as the identity.
(ReCamMaster's own loader keeps the world left-handed, determinant -1; motions between frames, which it uses, are the
same.) The cameras of a file are alternative takes of one scene; the reader takes the first, a named one, or all as
shots.
"""

import json
import re
from pathlib import Path

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import timing
from shotverse_jax.camera.trajectory import Trajectory

FROM_UNREAL = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
ROWS = re.compile(r"\s*" + r"\s*".join([r"\[([^\[\]]*)\]"] * 4) + r"\s*")


@common.reader
def read(path: Path, *, camera: str | None = None) -> common.Reading:
    """Reads the camera named `camera` ("cam05"; None is the first), or with "all" every camera as a shot of its own."""
    doc = common.load_json(path)
    if not isinstance(doc, dict) or not doc or not all(re.fullmatch(r"frame\d{1,9}", key) for key in doc):
        raise ValueError("expected a JSON object with frame0, frame1, …")
    # Frames count by number: sorted as words, frame10 would come before frame2.
    numbers = sorted((int(key.removeprefix("frame")), key) for key in doc)
    frames = [doc[key] for _, key in numbers]
    for (_, key), frame in zip(numbers, frames, strict=True):
        if not isinstance(frame, dict) or not frame:
            raise ValueError(f"{key} holds no cameras")
    known = sorted(set().union(*frames), key=timing.natural)
    if camera not in (None, "all", *known):
        raise ValueError(f"no camera '{camera}'; the file has {', '.join(known)}")
    chosen = known if camera == "all" else [camera or known[0]]
    # A camera that a frame does not name is lost there.
    poses = [
        _pose(frame[name], f"{key} {name}") if name in frame else np.full((3, 4), np.nan)
        for name in chosen
        for (_, key), frame in zip(numbers, frames, strict=True)
    ]
    # The cameras of a file are shots of one clock; each begins a step after the one before it.
    number_N = np.array([number for number, _ in numbers]) - numbers[0][0]
    step = int(np.gcd.reduce(number_N)) or 1
    notes = [f"{chosen[0]} of {', '.join(known)} was read (option camera)"] if camera is None and len(known) > 1 else []
    return common.Reading(
        pose_T34=np.stack(poses),
        shot_T=np.repeat(np.arange(len(chosen)), len(frames)),
        number_T=np.concatenate([number_N + k * (number_N[-1] + step) for k in range(len(chosen))]),
        captions=tuple(chosen),
        notes=notes,
    )


def _pose(value, what: str) -> np.ndarray:
    """'[forward 0] [right 0] [up 0] [position 1]' → OpenCV camera-to-world [3, 4] in the mirrored world."""
    match = ROWS.fullmatch(value) if isinstance(value, str) else None
    rows = [row.split() for row in match.groups()] if match else []
    if [len(row) for row in rows] != [4, 4, 4, 4]:
        raise ValueError(f"{what}: expected a text of four bracketed rows of 4 numbers")
    matrix_44 = np.array([[common.number(token, what) for token in row] for row in rows])
    if np.abs(matrix_44[:, 3] - [0, 0, 0, 1]).max() > 1e-6:
        raise ValueError(f"{what}: the rows should end in 0, 0, 0, 1")
    # The file's vectors are rows, so the change of axes is transposed and acts from the right.
    forward, right, up, position = matrix_44[:, :3] @ FROM_UNREAL.T
    return np.stack([right, -up, forward, position / 100], axis=-1)


def write(trajectory: Trajectory, path: Path, *, frames: int | None = None) -> None:
    """Writes each shot as one camera; `frames` resamples every shot to that many (ReCamMaster's loader expects 81)."""
    shots = [trajectory.pose_T34[start:end] for start, end in trajectory.spans]
    if frames is not None:
        shots = [se3.resample(pose_T34, np.linspace(0, len(pose_T34) - 1, frames)) for pose_T34 in shots]
    if len({len(pose_T34) for pose_T34 in shots}) > 1:
        raise ValueError(
            f"the cameras of this format share one clock, but the shots have {[len(p) for p in shots]} frames; "
            "give the option frames (81 for ReCamMaster)"
        )
    doc = {
        f"frame{t}": {f"cam{k + 1:02d}": _text(pose_T34[t]) for k, pose_T34 in enumerate(shots)}
        for t in range(len(shots[0]))
    }
    path.write_text(json.dumps(doc, indent=4) + "\n", encoding="utf-8")


def _text(pose_34: np.ndarray) -> str:
    right, down, forward, position = (FROM_UNREAL.T @ pose_34).T
    rows = [*forward, 0], [*right, 0], [*-down, 0], [*(100 * position), 1]
    return "".join(f"[{common.join(row)}] " for row in rows)


FORMAT = common.Format(
    name="recammaster",
    suffixes=("camera_extrinsics.json",),
    description="ReCamMaster / SynCamMaster camera_extrinsics.json",
    convention="Unreal axes as rows (forward, right, up, position), left-handed z-up world, cm; no lens or time",
    keeps=frozenset({"poses", "cuts"}),
    read=read,
    write=write,
)
