"""Cameras and points of frames by Pi3: all frames at once, or a chunk at a time."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from shotverse_jax import weights
from shotverse_jax.camera.pointmap import focal_of, sure_points
from shotverse_jax.config import Execution, Pi3Config
from shotverse_jax.infer.execution import choose
from shotverse_jax.inputs.pi3 import prepare
from shotverse_jax.models.pi3 import Pi3
from shotverse_jax.parallel.mesh import BATCH, together
from shotverse_jax.parallel.sequence import Ulysses

CHUNK, OVERLAP = 16, 6
"""Frames of a chunk, and frames that it has in common with the next one; Pi3's authors chose them."""


class PointMaps(NamedTuple):
    """What Pi3 sees in T frames. World and unit of length are those of this one run, and mean nothing outside.

    Attributes:
        pose_T34: float64, camera-to-world, OpenCV axes. The first camera is not the origin.
        local_THWC: float32, the point of every pixel in its camera.
        points_THWC: float32, the same points in the world.
        confidence_THW: float32, between 0 and 1.
        focal_T2: float64, fx and fy in pixels of the maps, by least squares; NaN for a frame without points.
    """

    pose_T34: np.ndarray
    local_THWC: np.ndarray
    points_THWC: np.ndarray
    confidence_THW: np.ndarray
    focal_T2: np.ndarray

    def intrinsics(self, width: int, height: int) -> np.ndarray:
        """Returns fx, fy, cx, cy of every frame, [T, 4], in pixels of pictures of a size, such as the film's own."""
        scale_2 = np.array([width, height]) / self.confidence_THW.shape[:0:-1]
        center_T2 = np.broadcast_to([width / 2, height / 2], self.focal_T2.shape)
        return np.concatenate([self.focal_T2 * scale_2, center_T2], axis=1)

    def sure(self, **limits: float) -> np.ndarray:
        """Returns which points are confident and at no edge, bool [T, H, W]; limits: those of `sure_points`."""
        return sure_points(self.local_THWC, self.confidence_THW, **limits)


@dataclasses.dataclass(frozen=True, eq=False)
class Reconstructor:
    """A Pi3 that is ready; `load` makes one.

    Attributes:
        config: the network.
        params: its weights.
        execution: how it runs.
        mesh: the devices that frames are split over; None for one device.
    """

    config: Pi3Config
    params: dict
    execution: Execution = Execution()
    mesh: Mesh | None = None

    @classmethod
    def load(cls, name_or_folder: str | Path = "pi3", **place: Any) -> "Reconstructor":
        """Returns a Pi3 by its folder or name, "pi3" being what `shotverse get pi3` fetched.

        Args:
            name_or_folder: the name or the folder.
            place: mesh, dtype and attention (`infer.execution.choose`). A mesh splits frames over data and fsdp.

        Raises:
            ValueError: there is no such network, or it cannot run that way.
        """
        execution, mesh = choose(**place)
        # As straight code the published network compiles in 22 s instead of 3 on a CPU, and takes 4 GB beside its
        # weights for two frames instead of 0.1.
        execution = dataclasses.replace(execution, unroll=False)
        if mesh is not None and mesh.shape["sequence"] > 1:
            raise ValueError("Pi3 splits frames over data and fsdp, and heads over tensor; give a mesh with sequence=1")
        if mesh is not None and mesh.size > 1:
            # Frames of one scene see one another, so it matters where they are even if nothing but frames is split.
            execution = dataclasses.replace(execution, spread=execution.spread or Ulysses(mesh))
        config, params, _ = weights.load("pi3", name_or_folder, mesh=mesh, dtype=execution.dtype)
        return cls(config, params, execution, mesh)

    def __call__(self, frames: Sequence[np.ndarray]) -> PointMaps:
        """Returns cameras and points of frames that show one scene, in any order.

        frames: uint8 RGB pictures [height, width, 3] of any size. They are resized to the first one's, to at most
            `config.pixels` pixels, and so are the maps.

        Raises:
            ValueError: no frame, or pictures of another form.
        """
        return self._run(prepare(frames, self.config))

    def by_chunks(
        self, frames: Sequence[np.ndarray], size: int = CHUNK, overlap: int = OVERLAP
    ) -> Iterator[tuple[range, PointMaps]]:
        """Yields the frames of each chunk, by their numbers, and what is seen in it, in its own world and unit.

        Memory is that of a chunk. Frames that two chunks have in common tell how these fit together.

        Raises:
            ValueError: as `__call__` and `chunks`.
        """
        frames_THWC, parts = prepare(frames, self.config), chunks(len(frames), size, overlap)
        for part in parts:
            yield part, self._run(frames_THWC[part.start : part.stop])

    def _run(self, frames_THWC: np.ndarray) -> PointMaps:
        count, devices = len(frames_THWC), 1
        if self.mesh is not None:
            devices = math.prod(self.mesh.shape[axis] for axis in BATCH)
        missing, count_B = -count % devices, None
        if missing:  # frames divide over the devices; those that are added are seen by no other
            frames_THWC = np.concatenate([frames_THWC, frames_THWC[:1].repeat(missing, axis=0)])
            count_B = np.array([count], np.int32)
        given = frames_THWC[None]
        if self.mesh is not None:
            given = jax.device_put(given, NamedSharding(self.mesh, PartitionSpec(None, BATCH)))
        seen = _see(Pi3(self.config, self.execution), self.params, given, count_B)
        pose, local, points, confidence = (np.asarray(x)[0, :count] for x in together(seen))
        focal_T2 = focal_of(local, confidence)
        return PointMaps(pose[:, :3].astype(np.float64), local, points, confidence, focal_T2)


def _see_frames(network: Pi3, params: dict, frames_BTHWC: jax.Array, count_B: jax.Array | None) -> tuple:
    found = network.apply({"params": params}, frames_BTHWC.astype(jnp.float32) / 255, count_B)
    return found.pose_BT44, found.local_BTHWC, found.points_BTHWC, jax.nn.sigmoid(found.logit_BTHW)


_see = jax.jit(_see_frames, static_argnums=0)


def chunks(count: int, size: int = CHUNK, overlap: int = OVERLAP) -> list[range]:
    """Returns the chunks of `count` frames, in order, each as a range; neighbours have `overlap` frames in common.

    All have `size` frames, so that one program serves all: the last one begins earlier where it would be shorter. A
    film of at most `size` frames is one chunk.

    Raises:
        ValueError: no frame, or an overlap that is not less than the size.
    """
    if count < 1 or not 0 <= overlap < size:
        raise ValueError(f"chunks of {size} frames that overlap by {overlap}, of {count} frames, cannot be made")
    if count <= size:
        return [range(count)]
    starts = [*range(0, count - size, size - overlap), count - size]
    return [range(start, start + size) for start in starts]
