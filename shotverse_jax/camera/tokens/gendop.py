"""GenDoP's pose tokens: one shot ↔ 30 poses of ten integers, for its released checkpoints.

A pose is a quaternion (w x y z), a translation, fx / width, fy / height and log10 of the scale. Poses have OpenGL
camera axes and are relative to the first camera; translations are divided by the largest one (GenDoP
`core/provider.py`, `core/utils.py`). A value is mapped to 0..256, both ends included, rounded down to a bin, and read
back at the bin's lower edge. Three properties of the original are kept because checkpoints learned them: rounding down;
the 30 poses are every fourth of 120 frames, so the last three frames are never seen; playback spreads 120 frames over
29 intervals.
"""

import dataclasses
from typing import Literal

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.tokens.shotverse import BOS, EOS, FIRST_BIN
from shotverse_jax.camera.trajectory import Trajectory

LEVELS = 256
"""The highest bin; bins are 0..256, so there are 257 of them."""
POSE_VALUES = 10
NUM_POSES = 30
FRAMES = 120
PredScale = Literal["none", "exp", "pow10"]
SEQUENCE_LENGTH = 1 + NUM_POSES * POSE_VALUES + 1

# Ranges of the ten values (GenDoP core/utils.py). Focal lengths reach to ten image sizes, as its code has it; its paper
# divides by half an image size.
_LOW = np.asarray([-1.0] * 7 + [0.0, 0.0, -2.0])
_SPAN = np.asarray([2.0] * 7 + [10.0, 10.0, 4.0])


@dataclasses.dataclass(frozen=True)
class GenDoPTokens:
    """A parsed sequence.

    Attributes:
        pose_T34: [30, 3, 4] OpenCV poses, relative to the first camera; the longest translation is 1.
        fx, fy: focal lengths divided by image width and height.
        log_scale: log10 of the scale of the translations.
    """

    pose_T34: np.ndarray
    fx: float
    fy: float
    log_scale: float


class GenDoPTokenizer:
    """Encodes and decodes single shots as GenDoP does; it has the methods of `camera.tokens.shotverse.PoseTokenizer`.

    Attributes:
        pred_scale: how the scale of decoded translations is computed from the sequence's log10 of it. "pow10" (default)
            is the inverse. "none" leaves the longest translation at 1, as GenDoP's prediction files do. "exp" is the
            natural exponential, with which GenDoP's pictures were drawn.

    Raises:
        ValueError: another `pred_scale`.
    """

    def __init__(self, pred_scale: PredScale = "pow10"):
        if pred_scale not in ("none", "exp", "pow10"):
            raise ValueError(f'pred_scale must be "none", "exp" or "pow10", got {pred_scale!r}')
        self.pred_scale = pred_scale

    def encode(self, trajectory: Trajectory) -> np.ndarray:
        """Encodes one shot as int32 ids [302], BOS … EOS.

        A shot of other than 120 frames is resampled over its whole length. Values beyond the bins are clipped, as in
        the original: a scale outside 0.01..100, a focal length above ten image sizes.

        Raises:
            ValueError: the trajectory has more than one shot.
        """
        if trajectory.num_shots != 1:
            raise ValueError(f"GenDoP's tokens hold one shot, got {trajectory.num_shots}; encode each shot alone")
        pose_T34 = trajectory.pose_T34
        if len(pose_T34) != FRAMES:
            pose_T34 = se3.resample(pose_T34, np.linspace(0.0, len(pose_T34) - 1.0, FRAMES))
        pose_T34 = _to_opengl(se3.relative(pose_T34[0], pose_T34[:: FRAMES // NUM_POSES]))
        scale = np.linalg.norm(pose_T34[:, :, 3], axis=1).max() + 1e-5  # a camera that stands still has no scale
        # The principal point has no token: GenDoP takes the centre of the image.
        fx, fy = trajectory.intrinsics_T4[0, :2] / (trajectory.width, trajectory.height)
        # Lens and scale are the same in the whole shot, but GenDoP writes them into every pose.
        shot = np.broadcast_to([fx, fy, np.log10(scale)], (NUM_POSES, 3))
        quaternion = se3.rotation_to_quaternion(pose_T34[:, :, :3])
        values = np.concatenate([quaternion, pose_T34[:, :, 3] / scale, shot], axis=1)
        # Single precision as in the original: a rotation of less than about 7e-4 rad has w = 1, the topmost bin.
        place = ((values - _LOW) / _SPAN).astype(np.float32) * LEVELS
        bins = np.floor(np.clip(place, 0, LEVELS)).astype(np.int32)
        return np.concatenate([[BOS], FIRST_BIN + bins.reshape(-1), [EOS]]).astype(np.int32)

    def parse(self, ids: np.ndarray) -> GenDoPTokens:
        """Reads ids [302]; anything after EOS is ignored. Translations are not scaled yet.

        Raises:
            ValueError: the sequence has another length, a special id among the bins, or a quaternion of zeros. GenDoP
                would fall back to a static camera.
        """
        ids = np.asarray(ids)
        ends = np.flatnonzero(ids == EOS)
        if not len(ends) or ids[0] != BOS or ends[0] != SEQUENCE_LENGTH - 1:
            raise ValueError(f"a GenDoP sequence is BOS, {NUM_POSES * POSE_VALUES} pose values and EOS")
        bins = ids[1 : ends[0]] - FIRST_BIN
        wrong = np.flatnonzero((bins < 0) | (bins > LEVELS))
        if len(wrong):
            raise ValueError(f"token {int(wrong[0]) + 1} has id {int(ids[wrong[0] + 1])}, which is not a pose value")
        values = bins.reshape(NUM_POSES, POSE_VALUES) / LEVELS * _SPAN + _LOW
        if not values[:, :4].any(1).all():
            raise ValueError(f"the quaternion of pose {int(np.argmin(values[:, :4].any(1)))} is zero")
        pose_T34 = _to_opengl(se3.make(se3.quaternion_to_rotation(values[:, :4]), values[:, 4:7]))
        # The ten values repeat lens and scale in every pose; the first pose's are used, as GenDoP does.
        return GenDoPTokens(pose_T34, *(float(value) for value in values[0, 7:]))

    def decode(
        self, ids: np.ndarray, spans: list[tuple[int, int]] | None = None, *, first_camera: bool = True, **fields
    ) -> Trajectory:
        """Decodes ids [302] to a trajectory of one shot.

        Args:
            ids: the sequence; anything after EOS is ignored.
            spans: one (start, end exclusive) of frames; None (default) means GenDoP's 120 frames.
            first_camera: whether the world is moved to the first camera (default). A sequence that a network wrote need
                not begin at the identity; GenDoP's prediction files keep its own world.
            **fields: other fields of `Trajectory`. The image is 512x512 by default; focal lengths are those of the
                sequence unless `intrinsics_T4` is given.

        Raises:
            ValueError: as `parse`, or there is more than one span.
        """
        spans = [(0, FRAMES)] if spans is None else spans
        if len(spans) != 1:
            raise ValueError(f"GenDoP's tokens hold one shot, asked for {len(spans)}")
        tokens = self.parse(ids)
        scale = {"none": 1.0, "exp": np.exp(tokens.log_scale), "pow10": 10.0**tokens.log_scale}[self.pred_scale]
        frames = spans[0][1] - spans[0][0]
        # GenDoP divides by the number of frames and not by one less, so the last pose is never quite reached.
        pose_T34 = se3.resample(tokens.pose_T34, np.arange(frames) / frames * (NUM_POSES - 1))
        pose_T34[:, :, 3] *= scale
        fields = {"width": 512, "height": 512, **fields}
        width, height = fields["width"], fields["height"]
        fields.setdefault("intrinsics_T4", [tokens.fx * width, tokens.fy * height, width / 2, height / 2])
        shot_T = np.zeros(frames, np.int32)
        path = Trajectory(pose_T34=pose_T34, shot_T=shot_T, scale=float(scale), **fields)
        return path.from_first_camera() if first_camera else path


def _to_opengl(pose_T34: np.ndarray) -> np.ndarray:
    """Poses relative to an OpenCV camera ↔ the same relative to an OpenGL camera: both sides change axes."""
    return se3.flip_yz(pose_T34) * np.asarray([[1.0], [-1.0], [-1.0]])
