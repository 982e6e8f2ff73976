"""Whether the cameras of a shot can be believed: numbers, and the gates that they must pass."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from shotverse_jax.calibration.align import Alignment
from shotverse_jax.calibration.reconstruction import Agreement, Footage, Reconstruction

ZOOM = 0.05
"""A focal length that changes by more than this share within a shot is a zoom."""


@dataclasses.dataclass(frozen=True)
class Quality:
    """What was measured of one shot. A number that could not be measured is nan, and passes its gate.

    Attributes:
        registered: share of the shot's frames that its reconstruction registered.
        rotation_deg, rotation_deg_max: angle between the anchors of the aligned shot and of the common world, median
            and largest.
        center: distance between them, median, in sizes of the scene.
        ratio_iqr: distance between the quartiles of the depth ratios over their median.
        static: share of the pixels that do not move by themselves.
        confidence: mean weight of the shot's points.
        explained: share of the matches between the shot's pictures that its own cameras explain.
        explained_across: the same of the matches with pictures of other shots, by the cameras of the common world.
        zoom: largest by smallest focal length of the shot, less 1.
        scale_method: where the scale is from (`Alignment.method`).
        failed: names of the gates that the shot did not pass.
        lens_off: by how much the focal length that fits best differs from the given one (`Reconstruction.lens_off`).
    """

    registered: float
    rotation_deg: float
    rotation_deg_max: float
    center: float
    ratio_iqr: float
    static: float
    confidence: float
    explained: float
    explained_across: float
    zoom: float
    scale_method: str
    failed: tuple[str, ...] = ()
    lens_off: float = math.nan

    @property
    def passed(self) -> bool:
        """Whether the shot passed all gates."""
        return not self.failed


@dataclasses.dataclass(frozen=True)
class Gate:
    """A bound of one number of `Quality`.

    Attributes:
        field: the number.
        least, most: its bounds.
        means: what is wrong with a shot that does not pass, the end of a sentence that begins with "the shot".
    """

    field: str
    means: str
    least: float = -math.inf
    most: float = math.inf

    def passes(self, quality: Quality) -> bool:
        """Whether a shot is within the bounds, or was not measured."""
        value = getattr(quality, self.field)
        return math.isnan(value) or self.least <= value <= self.most


GATES = {
    "registered": Gate("registered", "has too many frames whose camera was not found", least=0.8),
    "rotation": Gate("rotation_deg", "turns otherwise in the common world than by itself", most=3.0),
    "centre": Gate("center", "moves otherwise in the common world than by itself", most=0.05),
    "depth ratio": Gate("ratio_iqr", "has depths that are not those of the common world times one factor", most=0.15),
    "static": Gate("static", "is mostly filled by what moves by itself", least=0.25),
    "confidence": Gate("confidence", "has depths with little confidence", least=0.3),
    "matches": Gate("explained", "has cameras that do not explain what its pictures have in common", least=0.9),
    "matches across": Gate(
        "explained_across", "has cameras that do not explain what it has in common with other shots", least=0.7
    ),
    "lens": Gate("lens_off", "fits another lens better than the one that was given", most=0.1),
}
"""The gates by name. Those of `matches` see patterns that repeat: their false matches contradict each other."""


def measure(
    footage: Footage,
    frames: np.ndarray,
    local: Reconstruction,
    alignment: Alignment | None,
    agreements: Sequence[Agreement],
) -> Quality:
    """Returns the quality of a shot, with the gates that it failed.

    Args:
        footage: the film.
        frames: the frames of the shot.
        local: its reconstruction by itself.
        alignment: how it was brought into the common world; None where it was not.
        agreements: that of the shot's cameras, and that of the cameras of the common world.
    """
    own, across = agreements
    inside = [np.isin(side, frames) for side in across[:2]]
    nan = float("nan")
    rotation_N, center_N = (alignment.rotation_deg_N, alignment.center_N) if alignment else (np.array([nan]),) * 2
    focal_N = local.lens_N4[local.found_N, 0]
    quality = Quality(
        registered=float(local.found_N.mean()),
        rotation_deg=float(np.median(rotation_N)),
        rotation_deg_max=float(rotation_N.max()),
        center=float(np.median(center_N)),
        ratio_iqr=alignment.ratio_iqr if alignment else nan,
        static=1.0 if footage.static_THW is None else float(np.mean(footage.static_THW[frames])),
        confidence=float(local.points.weight_M.mean()) if len(local.points) else nan,
        explained=own.mean(),
        explained_across=across.mean(inside[0] != inside[1]),
        lens_off=local.lens_off,
        zoom=float(focal_N.max() / focal_N.min() - 1) if len(focal_N) else nan,
        scale_method=alignment.method if alignment else "none",
    )
    return dataclasses.replace(quality, failed=tuple(name for name, gate in GATES.items() if not gate.passes(quality)))
