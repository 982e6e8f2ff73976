"""RealEstate10K text files, as read by CameraCtrl, CamI2V, MotionCtrl's training and many others.

Line 1 is the source's URL. Each further line has 19 numbers: time stamp in microseconds; fx fy cx cy divided by image
width or height; two zeros; the 3x4 world-to-camera matrix, row-major. Scripts write such files with an empty line, a
caption or nothing in place of the URL, and without the time stamp (18 numbers, as the camera files of VideoX-Fun).
Axes: OpenCV camera axes (x right, y down, z forward). Unit: arbitrary (a reconstruction's scale). Pixels: corner (0,
0), a centred camera has cx = cy = 0.5. Conversion: inverse of the matrix; intrinsics times the image size, which the
file does not store (`width`, `height`). Cuts are not stored.

Some published camera files (CamI2V's "look", "orbit" and "pan up") hold reflections: their world is left-handed. They
are read with the option `mirror_world`.
"""

from pathlib import Path

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import _tables as tables
from shotverse_jax.camera.trajectory import Trajectory

MEANING = "time, fx, fy, cx, cy, 0, 0, world-to-camera 3x4"


@common.reader
def read(path: Path) -> common.Reading:
    """Reads one clip."""
    table = tables.read_table(common.read_text(path))
    if len(table.heading) > 1:
        raise ValueError(f"expected a URL and lines of 19 numbers ({MEANING}), got '{table.heading[1][:40]}'")
    caption = [line for line in table.heading if "://" not in line]
    timed = table.columns != 18
    rows = (
        table.numbers(19, MEANING, pose=slice(7, 19))
        if timed
        else table.numbers(18, MEANING.removeprefix("time, "), pose=slice(6, 18))
    )
    return common.Reading(
        pose_T34=rows[:, -12:].reshape(-1, 3, 4),
        world_to_camera=True,
        lens_T4=rows[:, -18:-14],
        relative=True,
        usual_size=(1280, 720),
        time_T=rows[:, 0] if timed else None,
        time_unit="microseconds",
        notes=[f"the first line is no URL and was left out: '{line[:80]}'" for line in caption],
    )


def write(trajectory: Trajectory, path: Path, *, url: str = "https://example.invalid/shotverse") -> None:
    """Writes the film as one clip; `url` is the first line."""
    # The reader takes a first line of numbers for a pose without a URL before it.
    if not url.strip() or "\n" in url or tables.is_row(url):
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
    keeps=common.EVERYTHING - {"cuts", "captions", "stage", "size", "focus"},
    read=read,
    write=write,
)
