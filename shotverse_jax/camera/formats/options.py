"""The options of reading that have the same names in every format: what a file does not tell, or tells wrongly."""

import dataclasses

import numpy as np

from shotverse_jax import limits
from shotverse_jax.camera.trajectory import RIGID_TOLERANCE

UP = {
    "x": np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    "y": np.diag([1.0, -1.0, -1.0]),
    "z": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),
    "-x": np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    "-y": np.eye(3),
    "-z": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]),
}
"""World axis of a file that points up → the rotation [3, 3] of its world into one with y down."""

CHOICES = {
    "quaternion": ("wxyz", "xyzw"),
    "up": tuple(UP),
    "lens": ("refuse", "pinhole"),
    "lost": ("refuse", "skip", "interpolate"),
}

RANGES = {
    "width": (1, limits.PIXELS),
    "height": (1, limits.PIXELS),
    "focal": (1e-6, 1e12),
    "fov": (0.001, 179.999),
    "fps": limits.RATES,
    "tolerance": (1e-9, 1.0),
}
"""The smallest and the largest value of the options that are numbers; whole ones are whole numbers."""


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """What the user says about a camera file. None means: as the file says, else as its format is usually written.

    Attributes:
        quaternion: order of the four numbers of a quaternion, "wxyz" or "xyzw", in formats that hold quaternions.
        up: axis of the file's world that points up: "x", "y", "z", "-x", "-y" or "-z". The world is turned so that it
            is y down. None leaves the world as it is, where the format does not say.
        width, height: size of the image in pixels. A file's own size is brought to it.
        focal: focal length in pixels, in place of the file's.
        fov: horizontal field of view in degrees, in place of the file's focal lengths.
        fps: frames per second, in place of the file's rate and recorded times.
        mirror_world: whether a left-handed world, in which every pose is a reflection, is mirrored; default False.
        lens: "pinhole" reads the pinhole part of a fisheye or panoramic lens; "refuse" (default) refuses such lenses.
        lost: what becomes of poses that are not known, and of frames that the numbering leaves out: "skip" leaves them
            out and keeps the times of the others, "interpolate" fills them in, "refuse" refuses the file. None refuses
            unknown poses, and keeps the times around missing frames.
        tolerance: largest |R Rᵀ - I| of a matrix, and distance of a quaternion's norm from 1, that is mended.
    """

    quaternion: str | None = None
    up: str | None = None
    width: int | None = None
    height: int | None = None
    focal: float | None = None
    fov: float | None = None
    fps: float | None = None
    mirror_world: bool = False
    lens: str = "refuse"
    lost: str | None = None
    tolerance: float = RIGID_TOLERANCE

    def __post_init__(self):
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value in choices):
                raise ValueError(f"the option {name} should be one of {', '.join(choices)}, got {value!r}")
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is not None and type(most) is int:
                # A size may come as 512.0 from programs that have no whole numbers.
                number = int(value) if isinstance(value, float) and value.is_integer() else value
                object.__setattr__(self, name, limits.whole(number, f"the option {name}", least, most))
            elif value is not None:
                object.__setattr__(self, name, limits.finite(value, f"the option {name}", least, most))
        for name in ("lens", "tolerance"):
            if getattr(self, name) is None:
                raise ValueError(f"the option {name} needs a value")
        if self.focal is not None and self.fov is not None:
            raise ValueError("the options focal and fov say the same; give one of them")
        if not isinstance(self.mirror_world, bool):
            raise ValueError(f"the option mirror_world should be true or false, got {self.mirror_world!r}")


NAMES = tuple(field.name for field in dataclasses.fields(ReadOptions))
