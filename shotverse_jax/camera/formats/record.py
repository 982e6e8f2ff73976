"""The two records of a format: `Format`, what it can, and `Reading`, what one file says."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from shotverse_jax.camera.trajectory import FILM_BACK_MM as FILM_BACK_MM
from shotverse_jax.camera.trajectory import Trajectory

WIDTH, HEIGHT, FPS = 832, 480, 16.0


@dataclasses.dataclass(kw_only=True)
class Reading:
    """What a camera file says, as it says it. `reading.finish` makes a trajectory of it by the user's options.

    A reader fills in what its file holds and leaves the rest: defaults, units, damaged and lost poses, sizes and the
    notes about them are the same for every format, and are decided in one place.

    Attributes:
        pose_T34: [T, 3, 4] matrices with OpenCV camera axes, camera-to-world unless `world_to_camera`. They need not be
            exact rotations; a pose with NaN or infinity is lost. Left out where there are quaternions.
        position_T3, quaternion_T4: translations [T, 3] and quaternions [T, 4] of such poses, in the file's order.
        quaternion_order: "wxyz" or "xyzw", as the format is usually written; default "xyzw".
        world_to_camera: whether the poses are world-to-camera; default False.
        up: axis of the file's world that its format says is up ("y", "-z", …); None (default) when it does not say.
        lens_T4: [T, 4] fx, fy, cx, cy in pixels, or [4] for all frames; NaN where the file does not say (default).
        relative: whether `lens_T4` are fractions of the image's width (fx, cx) and height (fy, cy); default False.
        lens_kind: "pinhole" (default), or what else the lens is, with its name in the file: "fisheye (OPENCV_FISHEYE)".
        distorted: whether the file has a distortion of the lens, which is left out; default False.
        size_T2: [T, 2] width and height of the images in pixels, or [2] for all; None (default) if unknown.
        usual_size: size that is assumed when nothing says it; default 832x480.
        time_T: [T] time stamps; None (default) without.
        time_unit: "seconds" (default), "milliseconds", "microseconds" or "nanoseconds", as the format is written.
        number_T: [T] number of every frame in its video (`timing.frame_numbers`), rising; None (default) without.
        fps: the file's rate; None (default) without.
        shot_T: [T] shot numbers; None (default) for one shot.
        captions, global_caption, scale, stage_34, focus_T2, stage_time_T: as in `Trajectory`.
        notes: sentences about what the reader assumed or left out.
    """

    pose_T34: np.ndarray | None = None
    position_T3: np.ndarray | None = None
    quaternion_T4: np.ndarray | None = None
    quaternion_order: str = "xyzw"
    world_to_camera: bool = False
    up: str | None = None
    lens_T4: np.ndarray | Sequence[float] = (np.nan,) * 4
    relative: bool = False
    lens_kind: str = "pinhole"
    distorted: bool = False
    size_T2: np.ndarray | Sequence[int] | None = None
    usual_size: tuple[int, int] = (WIDTH, HEIGHT)
    time_T: np.ndarray | None = None
    time_unit: str = "seconds"
    number_T: np.ndarray | None = None
    fps: float | None = None
    shot_T: np.ndarray | None = None
    captions: tuple[str, ...] = ()
    global_caption: str = ""
    scale: float = 1.0
    stage_34: np.ndarray | None = None
    focus_T2: np.ndarray | None = None
    stage_time_T: np.ndarray | None = None
    notes: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self):
        frames = len(self)
        if frames == 0:
            raise ValueError("the file holds no poses")
        self.lens_T4 = np.broadcast_to(np.asarray(self.lens_T4, np.float64), (frames, 4)).copy()
        if self.size_T2 is not None:
            self.size_T2 = np.broadcast_to(np.asarray(self.size_T2, np.float64), (frames, 2)).copy()
        if self.shot_T is None:
            self.shot_T = np.zeros(frames, np.int32)

    def __len__(self):
        return len(self.quaternion_T4 if self.pose_T34 is None else self.pose_T34)


FEATURES: dict[str, Callable[[Trajectory], bool]] = {
    "cuts": lambda t: t.num_shots > 1,
    "captions": lambda t: any((t.global_caption, *t.captions)),
    "stage": lambda t: t.stage_34 is not None,
    "size": lambda t: True,
    "lens": lambda t: True,
    "zoom": lambda t: any(np.ptp(t.intrinsics_T4[start:end], axis=0).any() for start, end in t.spans),
    "focus": lambda t: t.focus_T2 is not None,
    "principal point": lambda t: not np.allclose(t.intrinsics_T4[:, 2:], [t.width / 2, t.height / 2]),
    "pixel aspect": lambda t: not np.allclose(t.intrinsics_T4[:, 0], t.intrinsics_T4[:, 1]),
    "rate": lambda t: True,
    "times": lambda t: not t.even,
    "poses": lambda t: True,
}
"""What a trajectory may have that a format may not hold → whether a trajectory has it. "times" are uneven ones."""
EVERYTHING = frozenset(FEATURES)


def whole_characters(text: str) -> str:
    """Returns a text without halves of characters, which JSON may have: the sign of an unknown one stands for them."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


@dataclasses.dataclass(frozen=True)
class Format:
    """One trajectory file format.

    Attributes:
        name: the name by which users choose it.
        suffixes: endings of file names that mean this format, e.g. ".csv" or "camera_path.json"; the usual one first.
        description: one line for a help text.
        convention: axes, matrix direction, unit and missing values, in one or two sentences.
        keeps: the `FEATURES` that a written file holds. `write_trajectory` says in a note which others a path loses.
        steady: whether the programs that read the format play one frame after the other at one rate. A path with uneven
            times is then resampled before it is written. False (default) for lists of poses, of which each may be that
            of an image, and for formats with times.
        rate: function of frames per second that returns the rate to which a path is resampled, where the programs that
            read the format do not have its own, else None; None (default) where every rate will do.
        words: function that returns a text as the format holds it; default: every text as it is, but for halves of
            characters, which no file in UTF-8 can hold.
        read: function of (path, **options) that returns a `Reading`; None when the format is only written.
        write: function of (trajectory, path, **options); None when the format is only read.
        folder: True when the format is a folder of files; default False.
    """

    name: str
    suffixes: tuple[str, ...]
    description: str
    convention: str
    keeps: frozenset[str] = frozenset()
    read: Callable[..., Reading] | None = None
    write: Callable[..., None] | None = None
    folder: bool = False
    steady: bool = False
    rate: Callable[[float], float | None] | None = None
    words: Callable[[str], str] = whole_characters

    @property
    def extension(self) -> str:
        """The end of a new file's name: ".json", ".glb", …; "" for folders."""
        return Path(self.suffixes[0]).suffix or self.suffixes[0] if self.suffixes else ""
