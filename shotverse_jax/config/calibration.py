"""Calibration of edited films: what finds the shots, what moves in them, and the cameras."""

import dataclasses
from typing import Annotated, Literal

from shotverse_jax import limits
from shotverse_jax.config.ranges import Checked, Frames, Index, Range, Rate, Scale, Share, Side, Weight

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


@dataclasses.dataclass(frozen=True)
class BenchConfig(Checked):
    """How edited films become a data set of scenes; docs/bench.md says more. The defaults are ShotVerse-Bench's.

    Attributes:
        frames: of a scene, 4t+1.
        width, height: of a scene in pixels.
        fps: frames per second of a scene.
        proportion: scenes of 2, 3 and 4 shots, relative to each other.
        least: seconds that a shot of a scene lasts at least.
        test: share of the scenes that are for testing.
        depth: the median distance of what a scene shows, to which reconstructions without a unit of length are scaled;
            0 leaves them as they are. Cameras that are read from a file keep their unit.
        captions: "template" writes captions of the motion tags; or the name or folder of a captioner, or the address of
            an endpoint, which says what is seen besides.
        captions_model: the name of the model at an endpoint.
        records: what the ArrayRecord files hold: "cameras" and captions, or "video" too.
        calibration: how cameras are found, where the list of films says nothing else.
    """

    frames: Frames = 249
    width: Side = 843
    height: Side = 480
    fps: Rate = 16.0
    proportion: tuple[Index, Index, Index] = (6, 3, 1)
    least: Scale = 1.0
    test: Share = 1 / 11
    depth: Weight = 5.0
    captions: str = "template"
    captions_model: str = ""
    records: Literal["cameras", "video"] = "cameras"
    calibration: CalibrationConfig = CalibrationConfig()

    def __post_init__(self):
        super().__post_init__()
        if self.frames % 4 != 1 or self.frames < 17:
            raise ValueError(f"a scene has 4t+1 frames, at least 17, so that four shots have room; got {self.frames}")
        if not any(self.proportion):
            raise ValueError("the proportion of scenes of 2, 3 and 4 shots must not be 0:0:0")
