"""Calibration of edited films: what finds the shots, what moves in them, and the cameras."""

import dataclasses
from typing import Annotated, Literal

from shotverse_jax import limits
from shotverse_jax.config.ranges import Checked, Frames, Range

LongSide = Annotated[int, Range(32, limits.SIDE)]


@dataclasses.dataclass(frozen=True)
class CalibrationConfig(Checked):
    """How the cameras of an edited film are found; docs/calibration.md says more.

    Attributes:
        cuts: a detector of `calibration.detectors.DETECTORS`; "none" for one shot; first frames of the second and later
            shots with commas between them; or a file of `shotverse cuts --json`.
        masks: "none"; "motion"; "saliency"; "sam2", "sam2:WORDS" or "sam2:BOXES.json"; "text"; "file:DIR"; or
            "stage:TRAJECTORY"; several with + between them.
        fill: "zero" makes masked pixels black, as ShotVerse does; "none" makes them weigh nothing.
        reconstruct: "colmap"; "pi3" or "pi3:FOLDER"; "file:CAMERAS"; or "stage:TRAJECTORY".
        lens: "estimated"; "35mm", a focal length on a sensor 36 mm wide, with commas one for each shot; or
            "FX,FY,CX,CY" in pixels of the film.
        size: longer side in pixels to which frames are reduced for the masks and the reconstruction.
        frames: at most so many frames of the film are reconstructed, every second, third, … of a longer one.
        method: how shots are aligned (`calibration.align`).
    """

    cuts: str = "difference"
    masks: str = "none"
    fill: Literal["none", "zero"] = "none"
    reconstruct: str = "colmap"
    lens: str = "estimated"
    size: LongSide = 640
    frames: Frames = 300
    method: Literal["robust", "paper", "points"] = "robust"
