"""RealEstate10K text files, as read by CameraCtrl, CamI2V, MotionCtrl's training and many others.

Line 1 is the source's URL. Each further line has 19 numbers: time stamp in microseconds; fx fy cx cy divided by image
width or height; two zeros; the 3x4 world-to-camera matrix, row-major.
Axes: OpenCV camera axes (x right, y down, z forward). Unit: arbitrary (a reconstruction's scale). Pixels: corner (0,
0), a centred camera has cx = cy = 0.5. Conversion: inverse of the matrix; intrinsics times the image size, which the
file does not store (`width`, `height`). Cuts are not stored.

Some published camera files (CamI2V's "look", "orbit" and "pan up") hold reflections: their world is left-handed. They
are refused unless `mirror_world` is set, which mirrors that world's x axis; the motion between frames stays the same.
"""

from pathlib import Path

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.trajectory import Trajectory

MEANING = "time, fx, fy, cx, cy, 0, 0, world-to-camera 3x4"


@common.reader
def read(
    path: Path, *, width: int = 1280, height: int = 720, fps: float | None = None, mirror_world: bool = False
) -> Trajectory:
    """Reads one clip.

    Args:
        path: the file.
        width, height: size of the image in pixels, which the file does not store; default 1280 x 720.
        fps: overrules the rate of the time stamps (16 where all stamps are equal).
        mirror_world: accept a left-handed world and mirror it; default False.
    """
    lines = common.data_lines(common.read_text(path), comments=False)
    if len(lines[0][1].split()) == 19:
        raise ValueError("line 1 should be the source's URL, got a line of 19 numbers")
    rows = common.number_rows(lines[1:], 19, MEANING)
    w2c_T34 = rows[:, 7:].reshape(-1, 3, 4)
    # Only a whole film of reflections is a left-handed world. A single one is a damaged pose, which is refused below.
    if (np.linalg.det(w2c_T34[:, :, :3]) < -0.5).all():
        if not mirror_world:
            raise ValueError(
                "every pose is a reflection (determinant -1): the file's world is left-handed; "
                "read it with the option mirror_world=True"
            )
        # Column 0 of a world-to-camera matrix belongs to the world's x axis; the camera's axes are its rows and stay.
        w2c_T34 = w2c_T34 * [-1.0, 1.0, 1.0, 1.0]
    rate, time_T = common.timing(rows[:, 0] / 1e6, fps)
    return Trajectory(
        pose_T34=se3.inverse(common.clean_poses(w2c_T34)),
        intrinsics_T4=rows[:, 1:5] * [width, height, width, height],
        width=width,
        height=height,
        shot_T=np.zeros(len(rows), np.int32),
        fps=rate,
        time_T=time_T,
    )


def write(trajectory: Trajectory, path: Path, *, url: str = "https://example.invalid/shotverse") -> None:
    """Writes the film as one clip; `url` is the first line."""
    # The reader takes a first line of 19 words for a pose without a URL before it.
    if not url.strip() or "\n" in url or len(url.split()) == 19:
        raise ValueError(f"the first line should be one URL, got {url!r}")
    size = [trajectory.width, trajectory.height, trajectory.width, trajectory.height]
    k_T4 = trajectory.intrinsics_T4 / size
    w2c_T12 = se3.inverse(trajectory.pose_T34).reshape(-1, 12)
    rows = [
        f"{round(time * 1e6)} {common.join(k)} 0 0 {common.join(w2c)}"
        for time, k, w2c in zip(common.times(trajectory), k_T4, w2c_T12, strict=True)
    ]
    path.write_text("\n".join([url.strip(), *rows]) + "\n", encoding="utf-8")


FORMAT = common.Format(
    name="realestate10k",
    suffixes=(".txt",),
    description="RealEstate10K / CameraCtrl text: URL line, then 19 numbers a frame",
    convention="world-to-camera 3x4, OpenCV camera axes, intrinsics divided by image size, microseconds; no cuts",
    read=read,
    write=write,
)
