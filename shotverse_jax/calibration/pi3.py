"""Reconstruction by Pi3: frames in chunks, each in its own world and unit, brought together by the frames they share.

A shot is seen chunk after chunk. Neighbouring chunks have frames in common, whose pixels have a depth in both, so
`align.align` finds the similarity between them as it does for shots. Key frames of several shots are seen at once.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from shotverse_jax.calibration.align import IDENTITY, align
from shotverse_jax.calibration.quality import ZOOM
from shotverse_jax.calibration.reconstruction import Footage, Points, Provider, Reconstruction
from shotverse_jax.infer.pi3 import PointMaps, Reconstructor

SMOOTH = 5
"""Frames over which the focal length of a zoom is the median."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pi3(Provider):
    """The provider `pi3`.

    Attributes:
        footage: the film. Lenses that it knows are kept; others are those of Pi3's points. Pixels that are not static
            weigh nothing.
        network: what sees the frames.
    """

    footage: Footage
    network: Reconstructor

    def reconstruct(self, frames: np.ndarray) -> Reconstruction:
        """Returns the reconstruction of some frames, ascending, chunk by chunk."""
        frames = np.asarray(frames, np.int64)
        parts = self.network.by_chunks([self.footage.frame_THWC[t] for t in frames])
        return self._one_lens(_stitched([self._part(frames[part.start : part.stop], maps) for part, maps in parts]))

    def joint(self, shots: Sequence[Reconstruction], keys: Sequence[np.ndarray]) -> Reconstruction:
        """Returns the key frames of all shots, which are seen at once: chunks of different shots share no frames."""
        frames = np.sort(np.concatenate(keys))
        made = self._part(frames, self.network([self.footage.frame_THWC[t] for t in frames]))
        lens_N4 = np.concatenate([shot.lens_N4[shot.place(own)] for shot, own in zip(shots, keys, strict=True)])
        return dataclasses.replace(made, lens_N4=lens_N4)

    def _part(self, frames: np.ndarray, maps: PointMaps) -> Reconstruction:
        """What one run of the network says of some frames."""
        high, wide = maps.confidence_THW.shape[1:]
        weight_NHW = np.where(maps.sure(), maps.confidence_THW, 0)
        if self.footage.static_THW is not None:
            weight_NHW = weight_NHW * _resized(self.footage.static_THW[frames], high, wide)
        width, height = self.footage.size
        points = Points.of_depth(frames, maps.local_THWC[..., 2], weight_NHW)
        points = dataclasses.replace(points, pixel_M2=points.pixel_M2 * [width / wide, height / high])
        lens_N4 = maps.intrinsics(width, height)
        found_N = np.isfinite(lens_N4).all(1) & (lens_N4[:, :2] > 0).all(1)
        lens_N4 = np.where(found_N[:, None], lens_N4, [width, width, width / 2, height / 2])
        if self.footage.lens_T4 is not None:
            lens_N4, found_N = self.footage.lens_T4[frames], np.ones(len(frames), bool)
        pose_N34 = np.where(found_N[:, None, None], maps.pose_T34, np.eye(3, 4))
        return Reconstruction(
            frames, pose_N34, lens_N4, found_N, points[found_N[np.searchsorted(frames, points.frame_M)]]
        )

    def _one_lens(self, made: Reconstruction) -> Reconstruction:
        """The same with one focal length, unless it zooms: that of a single frame has noise."""
        focal_N2 = made.lens_N4[made.found_N, :2]
        if self.footage.lens_T4 is not None or not len(focal_N2):
            return made
        near = np.clip(np.arange(len(focal_N2))[:, None] + np.arange(SMOOTH) - SMOOTH // 2, 0, len(focal_N2) - 1)
        smooth_N2 = np.median(focal_N2[near], axis=1)
        if smooth_N2[:, 0].max() < (1 + ZOOM) * smooth_N2[:, 0].min():
            smooth_N2 = np.broadcast_to(np.median(focal_N2, axis=0), focal_N2.shape)
        lens_N4 = made.lens_N4.copy()
        lens_N4[made.found_N, :2] = smooth_N2
        return dataclasses.replace(made, lens_N4=lens_N4)


def _stitched(parts: Sequence[Reconstruction]) -> Reconstruction:
    """Parts that each share frames with the next one, in the world of the first."""
    moved, before, fit = [parts[0]], parts[0], IDENTITY
    for part in parts[1:]:
        common = np.intersect1d(before.frame_N, part.frame_N)
        if len(before.found(part.found(common))):
            fit = fit.after(align(part, before, common).similarity)
            found_N = part.found_N
        else:  # nothing says where this and the rest is
            found_N = np.zeros_like(part.found_N)
        before, new_N = dataclasses.replace(part, found_N=found_N), part.frame_N > moved[-1].frame_N[-1]
        points = dataclasses.replace(part.points, depth_M=part.points.depth_M * fit.scale)
        kept_N = new_N & found_N
        moved.append(
            Reconstruction(
                part.frame_N[new_N],
                fit.poses(part.pose_N34[new_N]),
                part.lens_N4[new_N],
                found_N[new_N],
                points[np.isin(points.frame_M, part.frame_N[kept_N])],
            )
        )
    fields = ("frame_N", "pose_N34", "lens_N4", "found_N")
    together = [np.concatenate([getattr(part, name) for part in moved]) for name in fields]
    return Reconstruction(*together, Points.together([part.points for part in moved]))


def _resized(static_NHW: np.ndarray, high: int, wide: int) -> np.ndarray:
    """Masks at another size, by the nearest pixel."""
    height, width = static_NHW.shape[1:]
    rows, columns = (np.arange(high) * height // high, np.arange(wide) * width // wide)
    return static_NHW[:, rows][:, :, columns]
