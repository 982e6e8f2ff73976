"""ShotVerse's pose tokens: a multi-shot trajectory ↔ one flat sequence of integers.

Layout: BOS, scale, [stage pose], poses of shot 1, SEP, poses of shot 2, …, EOS. A pose is 12 tokens: translation x y z,
then the rotation row by row (ShotVerse §3.1). A value in [-1, 1] falls into one of `bins` equal cells and is read back
at the cell's centre.

`PoseTokenConfig.origin` chooses the world (first camera or stage) and `PoseTokenConfig.path` what later poses of a shot
are relative to (the world, the shot's first pose, or the pose before). After both choices, all translations are divided
by one scale, so the geometry between shots survives. The scale is the length of the longest translation, rounded up to
a token; that token, the first after BOS, is a bin of log10 of the scale, from 1e-2 to 1e2.
"""

import dataclasses
import itertools

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import PoseTokenConfig

# These ids are GenDoP's, whose tokenizer takes them from here.
PAD, BOS, EOS, FIRST_BIN = 0, 1, 2, 3
POSE_VALUES = 12


def separator(bins: int) -> int:
    """Returns the id of SEP, the token between two shots. It is the first id after the bins."""
    return FIRST_BIN + bins


def through_end(ids_N: np.ndarray) -> np.ndarray:
    """Returns a sequence up to its first EOS, which must be there, without the padding behind it."""
    return ids_N[: int(np.argmax(ids_N == EOS)) + 1]


def header_length(config: PoseTokenConfig) -> int:
    """Returns the number of tokens between BOS and the first pose: the scale and, with origin "header", the stage."""
    return 1 + (POSE_VALUES if config.origin == "header" else 0)


def sequence_length(config: PoseTokenConfig, counts: list[int]) -> int:
    """Returns the length of a whole sequence, BOS and EOS included, for shots of `counts` poses."""
    return 1 + header_length(config) + POSE_VALUES * sum(counts) + len(counts)


@dataclasses.dataclass(frozen=True)
class PoseTokens:
    """A parsed sequence.

    Attributes:
        scale: world units per unit of the tokens.
        stage_34: [3, 4] pose of the stage in the world; None when the tokens do not hold it.
        shots: one [n, 3, 4] array of poses per shot, in world units and in the world.
    """

    scale: float
    stage_34: np.ndarray | None
    shots: tuple[np.ndarray, ...]


class PoseTokenizer:
    """Encodes trajectories for the planner and decodes the sequences it writes.

    Attributes:
        config: layout of the tokens.
        sep: id of the token between two shots.
    """

    def __init__(self, config: PoseTokenConfig):
        self.config = config
        self.sep = separator(config.bins)

    def pose_counts(self, spans: list[tuple[int, int]]) -> list[int]:
        """Returns the number of poses of each shot, given the shots' (start, end exclusive) frames."""
        return [len(self.pose_frames(start, end)) for start, end in spans]

    def pose_frames(self, start: int, end: int) -> np.ndarray:
        """Returns the frames, with fractions, whose poses stand for a shot of frames [start, end).

        With `config.poses` "every" these are the multiples of `config.every` inside the shot; with every = 4 that is
        the last pixel frame of each latent frame. A shot without a multiple gets its first frame. With "count",
        `config.count` poses are spread evenly from the first frame to the last.
        """
        if self.config.poses == "count":
            return np.linspace(start, end - 1, self.config.count)
        frames = np.arange(-(-start // self.config.every) * self.config.every, end, self.config.every, dtype=float)
        return frames if len(frames) else np.array([float(start)])

    def encode(self, trajectory: Trajectory) -> np.ndarray:
        """Encodes a trajectory as int32 ids [N], BOS … EOS.

        Raises:
            ValueError: the tokens need the stage pose and the trajectory has none.
        """
        if self.config.origin != "none" and trajectory.stage_34 is None:
            raise ValueError("these tokens need the stage pose, but this trajectory has none")
        if self.config.origin == "world":
            path = trajectory.moved(se3.inverse(trajectory.stage_34))
        else:
            path = trajectory.from_first_camera()
        shots = [se3.resample(path.pose_T34, self.pose_frames(*span)) for span in path.spans]
        # The first pose of a shot stays in the world: it alone says where the shot is.
        if self.config.path != "world":
            # Relative to the first pose of the shot, or each to the pose before.
            origin = slice(1) if self.config.path == "shot" else slice(-1)
            shots = [np.concatenate([s[:1], se3.compose(se3.inverse(s[origin]), s[1:])]) for s in shots]
        # The scale is measured on the translations that are written, not on those of the world: steps are much shorter
        # than the path, and a scale of the whole path would leave them a few bins only.
        reach = [np.abs(np.linalg.norm(np.concatenate(shots)[:, :, 3], axis=-1)).max()]
        if self.config.origin == "header":
            reach.append(np.linalg.norm(path.stage_34[:, 3]))
        scale_bin = self._scale_bin(max(reach))
        # Translations are divided by the scale that will be read back, not by the exact one: its rounding then costs
        # nothing.
        scale = self._scale(scale_bin)
        pieces = [[BOS, FIRST_BIN + scale_bin]]
        if self.config.origin == "header":
            pieces.append(self._encode_poses(path.stage_34[None], scale))
        for index, shot in enumerate(shots):
            if index:
                pieces.append([self.sep])
            pieces.append(self._encode_poses(shot, scale, later=1))
        return np.concatenate([*pieces, [EOS]]).astype(np.int32)

    def parse(self, ids: np.ndarray) -> PoseTokens:
        """Reads ids [N], BOS … EOS; anything after EOS is ignored. Rotations are projected to SO(3).

        Raises:
            ValueError: the sequence breaks the layout; the message names the first position that does.
        """
        ids = np.asarray(ids)
        ends = np.flatnonzero(ids == EOS)
        if not len(ends) or ids[0] != BOS:
            raise ValueError("a pose sequence must begin with BOS and hold an EOS")
        body = ids[1 : ends[0]]
        header = header_length(self.config)
        breaks = np.flatnonzero(body == self.sep)
        bounds = list(zip([header, *(breaks + 1)], [*breaks, len(body)], strict=True))
        for start, end in bounds:
            if end <= start or (end - start) % POSE_VALUES:
                raise ValueError(f"the shot at token {start + 1} has {max(end - start, 0)} tokens, not poses of 12")
        bins = body - FIRST_BIN  # meaningless at SEP, which the bounds leave out
        wrong = np.flatnonzero(((bins < 0) | (bins >= self.config.bins)) & (body != self.sep))
        if len(wrong):
            raise ValueError(f"token {int(wrong[0]) + 1} has id {int(body[wrong[0]])}, which is not a pose value")
        scale = self._scale(bins[0])
        # With the origin "world" the stage is the world itself, so it needs no tokens.
        stage = {"none": None, "world": se3.identity()}.get(self.config.origin)
        if self.config.origin == "header":
            stage = self._decode_poses(bins[1:header], scale)[0]
        shots = [self._decode_poses(bins[a:b], scale, later=1) for a, b in bounds]
        if self.config.path == "shot":
            shots = [np.concatenate([shot[:1], se3.compose(shot[0], shot[1:])]) for shot in shots]
        elif self.config.path == "step":
            shots = [np.stack(list(itertools.accumulate(shot, se3.compose))) for shot in shots]
        return PoseTokens(scale, stage, tuple(shots))

    def decode(self, ids: np.ndarray, spans: list[tuple[int, int]], **fields) -> Trajectory:
        """Decodes ids [N] to a trajectory whose world is the first camera.

        Poses between the sampled ones are interpolated on SE(3).

        Args:
            ids: the sequence.
            spans: (start, end exclusive) frames of every shot.
            **fields: the other fields of `Trajectory` (intrinsics_T4, width, height, fps, captions, …).

        Raises:
            ValueError: as `parse`, or the sequence has another number of shots or poses than the spans need.
        """
        tokens = self.parse(ids)
        counts = [len(shot) for shot in tokens.shots]
        if counts != self.pose_counts(spans):
            raise ValueError(f"expected shots of {self.pose_counts(spans)} poses, the sequence has {counts}")
        frames = []
        for (start, end), pose in zip(spans, tokens.shots, strict=True):
            at = self.pose_frames(start, end)
            # np.interp clamps: frames of a shot outside its sampled poses get the nearest of these, and none of another
            # shot.
            frames.append(se3.resample(pose, np.interp(np.arange(start, end), at, np.arange(len(at)))))
        lengths = [end - start for start, end in spans]
        return Trajectory(
            pose_T34=np.concatenate(frames),
            shot_T=np.repeat(np.arange(len(spans)), lengths),
            stage_34=tokens.stage_34,
            scale=tokens.scale,
            **fields,
        ).from_first_camera()

    def _scale_bin(self, reach):
        """Bin of the smallest scale that `reach` does not exceed, so that no translation leaves [-1, 1]."""
        # 1e-5 gives a scale to a camera that never moves. A bin stands for its centre, hence the half below.
        cell = (np.log10(reach + 1e-5) + 2) / 4 * self.config.bins
        return int(np.clip(np.ceil(cell - 0.5), 0, self.config.bins - 1))

    def _scale(self, index):
        return float(10.0 ** (2 * (self._centre(index) + 1) - 2))

    def _bin(self, value):
        return np.clip(np.floor((value + 1) / 2 * self.config.bins), 0, self.config.bins - 1).astype(int)

    def _centre(self, index):
        return -1 + (index + 0.5) * 2 / self.config.bins

    def _encode_poses(self, pose_T34, scale, later=0):
        values = np.concatenate([pose_T34[:, :, 3] / scale, pose_T34[:, :, :3].reshape(-1, 9)], axis=1)
        values[later:, :3] += self._shift(later)
        return FIRST_BIN + self._bin(values).reshape(-1)

    def _decode_poses(self, bins, scale, later=0):
        value = self._centre(bins.reshape(-1, POSE_VALUES))
        value[later:, :3] -= self._shift(later)
        # Nine values that were rounded one by one are no rotation, so the nearest one is taken.
        return se3.make(se3.project_to_so3(value[:, 3:].reshape(-1, 3, 3)), value[:, :3] * scale)

    def _shift(self, later):
        """Half a cell, added to translations that are relative to another pose, else 0.

        A zero would otherwise be the edge between two cells; moved by half a cell it is a centre and survives exactly,
        so a camera at rest stays at rest.
        """
        return 1 / self.config.bins if self.config.path != "world" and later else 0.0
