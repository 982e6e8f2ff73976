"""GenDoP's pose tokens: one shot ↔ 30 poses of ten integers, and VERTIGO's form of them around the subject.

A pose is a quaternion (w x y z), a translation, fx / width, fy / height and log10 of the scale, with OpenGL camera
axes (GenDoP `core/provider.py`, `core/utils.py`; VERTIGO's files of the same names). `GenDoPTokenConfig.world` says in
which world:

- "first_frame": relative to the first camera; translations are divided by the largest one, which is the scale.
- "origin_global": the origin is a point of the main subject, y is up, and on the stage the subject faces -z.
  Translations are those from the first camera's position, per axis (t - mean) / scale with the statistics of a data
  set. The scale that is written is 1. Every pose has its own lens. The first camera's position itself, the anchor, is
  in three tokens before the poses, or predicted by the network, or not known (`GenDoPTokenConfig.anchor`).

A value is mapped to 0..256, both ends included, and rounded down to a bin. Three properties of the original are kept
because checkpoints learned them: rounding down; the 30 poses are every fourth of 120 frames, so the last three frames
are never seen; playback spreads 120 frames over 29 intervals.
"""

import dataclasses
from typing import Literal, NamedTuple

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.tokens.shotverse import BOS, EOS, FIRST_BIN
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import GenDoPTokenConfig

LEVELS = 256
"""The highest bin; bins are 0..256, so there are 257 of them."""
POSE_VALUES = 10
NUM_POSES = 30
FRAMES = 120
ANCHOR_VALUES = 3
PredScale = Literal["none", "exp", "pow10"]

# Ranges of the ten values (GenDoP core/utils.py). Focal lengths reach to ten image sizes, as its code has it; its paper
# divides by half an image size.
_LOW = np.asarray([-1.0] * 7 + [0.0, 0.0, -2.0])
_SPAN = np.asarray([2.0] * 7 + [10.0, 10.0, 4.0])
_OPENGL = np.diag([1.0, -1.0, -1.0])


def header_length(config: GenDoPTokenConfig) -> int:
    """Returns the number of tokens between BOS and the first pose: those of the anchor."""
    return ANCHOR_VALUES if config.anchor == "tokens" else 0


def value_count(config: GenDoPTokenConfig) -> int:
    """Returns the number of tokens between BOS and EOS; all of them are values."""
    return header_length(config) + NUM_POSES * POSE_VALUES


def sequence_length(config: GenDoPTokenConfig) -> int:
    """Returns the length of a whole sequence, BOS and EOS included."""
    return 1 + value_count(config) + 1


@dataclasses.dataclass(frozen=True)
class GenDoPTokens:
    """A parsed sequence.

    Attributes:
        pose_T34: [30, 3, 4] OpenCV poses. In the world "first_frame" they are relative to the first camera, and the
            longest translation is 1. In "origin_global" the origin is the first camera's position, the axes are those
            of the world but y points down, and lengths are the world's.
        lens_T2: [30, 2] focal lengths divided by image width and height.
        log_scale: log10 of the scale of the translations.
        anchor_3: [3] position of the first camera as (position - mean) / scale of the config, from its three tokens;
            None where there are none.
    """

    pose_T34: np.ndarray
    lens_T2: np.ndarray
    log_scale: float
    anchor_3: np.ndarray | None


class FirstView(NamedTuple):
    """How the first camera sees the subject, in the world of "origin_global"; float32.

    Attributes:
        anchor_3: its position, as `GenDoPTokens.anchor_3`.
        rotation_33: its rotation, camera-to-world, OpenGL axes.
        lens_4: fx, fy, cx, cy divided by image width and height.
    """

    anchor_3: np.ndarray
    rotation_33: np.ndarray
    lens_4: np.ndarray


class GenDoPTokenizer:
    """Encodes and decodes single shots; it has the methods of `camera.tokens.shotverse.PoseTokenizer`.

    Attributes:
        config: the form of the tokens, that of the network which reads or wrote them.
        pred_scale: how the scale of decoded translations is computed from the sequence's log10 of it. "pow10" (default)
            is the inverse. "none" leaves the longest translation at 1, as GenDoP's prediction files do. "exp" is the
            natural exponential, with which GenDoP's pictures were drawn. The world "origin_global" has no scale, and
            all three are the same there.

    Raises:
        ValueError: another `pred_scale`.
    """

    def __init__(self, config: GenDoPTokenConfig, pred_scale: PredScale = "pow10"):
        if pred_scale not in ("none", "exp", "pow10"):
            raise ValueError(f'pred_scale must be "none", "exp" or "pow10", got {pred_scale!r}')
        self.config = config
        self.pred_scale = pred_scale

    def encode(self, trajectory: Trajectory) -> np.ndarray:
        """Encodes one shot as int32 ids [N], BOS … EOS; N is `sequence_length`.

        A shot of other than 120 frames is resampled over its whole length. Values beyond the bins are clipped, as in
        the original: a scale outside 0.01..100, a focal length above ten image sizes, a translation or an anchor beyond
        mean ± scale.

        Raises:
            ValueError: the trajectory has more than one shot, or the world is that of a stage and it has none.
        """
        pose_T34, lens_T4 = self._poses(trajectory)
        place_T3, header, scale = pose_T34[:, :, 3], [], 1.0
        if self.config.world == "first_frame":
            scale = np.linalg.norm(place_T3, axis=1).max() + 1e-5  # a camera that stands still has no scale
            place_T3 = place_T3 / scale
            # Lens and scale are the same in the whole shot, but GenDoP writes them into every pose.
            lens_T4 = np.broadcast_to(lens_T4[0], lens_T4.shape)
        else:
            if self.config.anchor == "tokens":
                header = _bins(self._anchor(place_T3[0]), _LOW[4:7], _SPAN[4:7])
            place_T3 = (place_T3 - place_T3[0] - self.config.translation_mean) / self.config.translation_scale
        # The principal point has no token: GenDoP takes the centre of the image.
        scale_T1 = np.full((NUM_POSES, 1), np.log10(scale))
        quaternion = se3.rotation_to_quaternion(pose_T34[:, :, :3])
        values = np.concatenate([quaternion, place_T3, lens_T4[:, :2], scale_T1], axis=1)
        bins = np.concatenate([header, _bins(values, _LOW, _SPAN).reshape(-1)])
        return np.concatenate([[BOS], FIRST_BIN + bins, [EOS]]).astype(np.int32)

    def places(self, trajectory: Trajectory) -> np.ndarray:
        """Returns the positions of one shot's 30 poses in the world, [30, 3]. Raises ValueError as `encode`."""
        return self._poses(trajectory)[0][:, :, 3]

    def first_view(self, trajectory: Trajectory) -> FirstView:
        """Returns how the first camera of one shot sees the subject. Raises ValueError as `encode`."""
        pose_T34, lens_T4 = self._poses(trajectory)
        view = self._anchor(pose_T34[0, :, 3]), pose_T34[0, :, :3], lens_T4[0]
        return FirstView(*(part.astype(np.float32) for part in view))

    def parse(self, ids: np.ndarray) -> GenDoPTokens:
        """Reads ids [N]; anything after EOS is ignored. Translations of "first_frame" are not scaled yet.

        Raises:
            ValueError: the sequence has another length, a special id among the bins, or a quaternion of zeros. GenDoP
                would fall back to a static camera.
        """
        ids, header = np.asarray(ids), header_length(self.config)
        ends = np.flatnonzero(ids == EOS)
        if not len(ends) or ids[0] != BOS or ends[0] != sequence_length(self.config) - 1:
            anchor = f"{header} values of the anchor, " if header else ""
            raise ValueError(f"a GenDoP sequence is BOS, {anchor}{NUM_POSES * POSE_VALUES} pose values and EOS")
        bins = ids[1 : ends[0]] - FIRST_BIN
        wrong = np.flatnonzero((bins < 0) | (bins > LEVELS))
        if len(wrong):
            raise ValueError(f"token {int(wrong[0]) + 1} has id {int(ids[wrong[0] + 1])}, which is not a pose value")
        values = self._values(bins[header:].reshape(NUM_POSES, POSE_VALUES), _LOW, _SPAN)
        if not values[:, :4].any(1).all():
            raise ValueError(f"the quaternion of pose {int(np.argmin(values[:, :4].any(1)))} is zero")
        place_T3 = values[:, 4:7]
        if self.config.world == "origin_global":
            place_T3 = place_T3 * self.config.translation_scale + self.config.translation_mean
        pose_T34 = _to_opengl(se3.make(se3.quaternion_to_rotation(values[:, :4]), place_T3))
        anchor_3 = self._values(bins[:header], _LOW[4:7], _SPAN[4:7]) if header else None
        # All poses repeat the scale; the first pose's is used, as GenDoP does.
        return GenDoPTokens(pose_T34, values[:, 7:9], float(values[0, 9]), anchor_3)

    def decode(
        self,
        ids: np.ndarray,
        spans: list[tuple[int, int]] | None = None,
        *,
        anchor_3: np.ndarray | None = None,
        first_camera: bool = True,
        **fields,
    ) -> Trajectory:
        """Decodes ids [N] to a trajectory of one shot.

        In the world "origin_global" it knows its stage, unless the first camera's position is not known.

        Args:
            ids: the sequence; anything after EOS is ignored.
            spans: one (start, end exclusive) of frames; None (default) means GenDoP's 120 frames.
            anchor_3: the first camera's position as a network's anchor head predicts it, in the form of
                `GenDoPTokens.anchor_3`; the sequence's own where it has one. None (default): it is not known.
            first_camera: whether the world is moved to the first camera (default). A sequence that a network wrote need
                not begin at the identity; GenDoP's prediction files keep its own world. That of "origin_global" keeps
                its origin and has y down, as every world here.
            **fields: other fields of `Trajectory`. The image is 512x512 by default; focal lengths are those of the
                sequence unless `intrinsics_T4` is given.

        Raises:
            ValueError: as `parse`, or there is more than one span.
        """
        spans = [(0, FRAMES)] if spans is None else spans
        if len(spans) != 1:
            raise ValueError(f"GenDoP's tokens hold one shot, asked for {len(spans)}")
        tokens = self.parse(ids)
        frames = spans[0][1] - spans[0][0]
        # GenDoP divides by the number of frames and not by one less, so the last pose is never quite reached.
        place_T = np.arange(frames) / frames * (NUM_POSES - 1)
        pose_T34 = se3.resample(tokens.pose_T34, place_T)
        fields = {"width": 512, "height": 512, **fields}
        if self.config.world == "first_frame":
            scale = {"none": 1.0, "exp": np.exp(tokens.log_scale), "pow10": 10.0**tokens.log_scale}[self.pred_scale]
            pose_T34[:, :, 3] *= scale
            focal_T2 = tokens.lens_T2[:1]
            fields["scale"] = float(scale)
        else:
            anchor_3 = anchor_3 if tokens.anchor_3 is None else tokens.anchor_3
            if anchor_3 is not None:
                start_3 = np.asarray(anchor_3, np.float64) * self.config.anchor_scale + self.config.anchor_mean
                pose_T34[:, :, 3] += _OPENGL @ start_3
                fields["stage_34"] = se3.inverse(self._origin_34)
            focal_T2 = np.stack(
                [np.interp(place_T, np.arange(NUM_POSES), lens_T) for lens_T in tokens.lens_T2.T], axis=1
            )
        if "intrinsics_T4" not in fields:
            size_2 = np.asarray([fields["width"], fields["height"]])
            center_T2 = np.broadcast_to(size_2 / 2, (frames, 2))
            fields["intrinsics_T4"] = np.concatenate(
                [np.broadcast_to(focal_T2 * size_2, (frames, 2)), center_T2], axis=1
            )
        path = Trajectory(pose_T34=pose_T34, shot_T=np.zeros(frames, np.int32), **fields)
        return path.from_first_camera() if first_camera else path

    @property
    def _origin_34(self) -> np.ndarray:
        """The world of "origin_global", with y down, on the stage."""
        return se3.make(np.eye(3), np.array([0.0, -self.config.origin_height, 0.0]))

    def _poses(self, trajectory: Trajectory) -> tuple[np.ndarray, np.ndarray]:
        """The 30 poses of a shot in the world of the tokens, OpenGL axes, and their lenses as in `FirstView`."""
        if trajectory.num_shots != 1:
            raise ValueError(f"GenDoP's tokens hold one shot, got {trajectory.num_shots}; encode each shot alone")
        pose_T34, lens_T4 = trajectory.pose_T34, trajectory.intrinsics_T4
        if len(pose_T34) != FRAMES:
            place_T = np.linspace(0.0, len(pose_T34) - 1.0, FRAMES)
            pose_T34 = se3.resample(pose_T34, place_T)
            lens_T4 = np.stack([np.interp(place_T, np.arange(len(lens_T4)), x_T) for x_T in lens_T4.T], axis=1)
        pose_T34, lens_T4 = pose_T34[:: FRAMES // NUM_POSES], lens_T4[:: FRAMES // NUM_POSES]
        world_34 = pose_T34[0] if self.config.world == "first_frame" else self._world(trajectory)
        return _to_opengl(se3.relative(world_34, pose_T34)), lens_T4 / ([trajectory.width, trajectory.height] * 2)

    def _world(self, trajectory: Trajectory) -> np.ndarray:
        """The world of "origin_global", with y down, in that of a trajectory."""
        if trajectory.stage_34 is not None:
            return se3.compose(trajectory.stage_34, self._origin_34)
        if self.config.without_stage == "refused":
            raise ValueError(
                "these tokens need to know where the subject is, the stage pose, but this trajectory has none"
            )
        return se3.make(_OPENGL, np.zeros(3))

    def _anchor(self, place_3: np.ndarray) -> np.ndarray:
        return (place_3 - self.config.anchor_mean) / self.config.anchor_scale

    def _values(self, bins: np.ndarray, low: np.ndarray, span: np.ndarray) -> np.ndarray:
        """The values for which bins stand."""
        if self.config.bins == "centre":
            # The highest bin is the upper end of the range alone, and has no width.
            bins = np.minimum(bins + 0.5, LEVELS)
        return bins / LEVELS * span + low


def _bins(values: np.ndarray, low: np.ndarray, span: np.ndarray) -> np.ndarray:
    # Single precision as in the original: a rotation of less than about 7e-4 rad has w = 1, the topmost bin.
    place = ((values - low) / span).astype(np.float32) * LEVELS
    return np.floor(np.clip(place, 0, LEVELS)).astype(np.int32)


def _to_opengl(pose_T34: np.ndarray) -> np.ndarray:
    """Poses relative to an OpenCV camera ↔ the same relative to an OpenGL camera: both sides change axes."""
    return se3.flip_yz(pose_T34) * np.asarray([[1.0], [-1.0], [-1.0]])
