"""The one in-memory form of a multi-shot camera trajectory."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from shotverse_jax import limits
from shotverse_jax.camera import se3

RIGID_TOLERANCE = 1e-3
"""Largest |R Rᵀ - I| entry accepted in a pose; files carry float32 text, so exact orthonormality is not asked."""
EVEN = 0.05
"""Largest part of a frame by which recorded times may differ from frame / fps where frames count as evenly spaced."""
LEAST_FPS = 8.0
"""Slowest rate that shows a motion; paths of fewer poses a second are key frames."""
KEY_FRAME_FPS = 16.0
"""Rate at which key frames are resampled where no other is asked for."""
FILM_BACK_MM = 36.0
"""Width of the sensor in millimetres for which focal lengths and f-numbers are named."""


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """A camera path over one or more shots, all in one world frame.

    Poses are camera-to-world with OpenCV axes (x right, y down, z forward); lengths are world units, metres where the
    source knows them. Frame t belongs to shot `shot_T[t]`; shots are contiguous and numbered from 0.

    Attributes:
        pose_T34: [T, 3, 4] float64 camera-to-world poses [R | t].
        intrinsics_T4: [T, 4] float64 fx, fy, cx, cy in pixels of `width` x `height`; [4] is repeated over the frames.
        width, height: image size in pixels.
        shot_T: [T] int32, non-decreasing from 0 in steps of at most 1.
        fps: frames per second of playback; default 16.
        scale: world units per normalised unit of the plan that made the path; 1 (default) without a normalisation.
        captions: one per shot, "" where unknown; an empty tuple (default) becomes one "" per shot.
        global_caption: caption of the whole scene; default "".
        stage_34: pose of the stage in the world: origin on the floor below the main subject, y axis along gravity
            (down), z axis where the subject faces. None (default) when unknown.
        focus_T2: [T, 2] float64 focus of a thin lens: distance of what is sharp along the optical axis, world units,
            and the f-number of the aperture, for a focal length in millimetres on a sensor of `FILM_BACK_MM`; [2] is
            repeated over the frames. An f-number of 0 is a pinhole, with which everything is sharp; the distance may be
            0 then. None (default) when all frames are a pinhole's; f-numbers of 0 everywhere become None.
        time_T: [T] float64 seconds at which the source recorded each pose, from any start; they never run backwards.
            None (default) means t / fps.
        stage_time_T: [T] float64 seconds of the stage that each frame shows, where they are not those of `time_T`: a
            film that is `retimed` shows the stage at the times of its source. None (default) when they are the same.
        notes: sentences about what the reader of a file assumed, mended or left out; none by default. Changes of the
            path keep them.

    Raises:
        ValueError: shapes do not fit, values are not finite or outside the ranges of `limits`, a pose is a reflection
            or not rigid, shots are not contiguous and numbered from 0, a shot has pinholes and other lenses, or time
            runs backwards.
    """

    pose_T34: np.ndarray
    intrinsics_T4: np.ndarray
    width: int
    height: int
    shot_T: np.ndarray
    fps: float = 16.0
    scale: float = 1.0
    captions: tuple[str, ...] = ()
    global_caption: str = ""
    stage_34: np.ndarray | None = None
    focus_T2: np.ndarray | None = None
    time_T: np.ndarray | None = None
    stage_time_T: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        set_ = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731  the dataclass is frozen
        set_("pose_T34", np.asarray(self.pose_T34, np.float64))
        frames = len(self.pose_T34)
        set_("intrinsics_T4", np.broadcast_to(np.asarray(self.intrinsics_T4, np.float64), (frames, 4)).copy())
        set_("shot_T", np.asarray(self.shot_T, np.int32))
        for name in ("stage_34", "time_T", "stage_time_T"):
            if getattr(self, name) is not None:
                set_(name, np.asarray(getattr(self, name), np.float64))
        if self.focus_T2 is not None:
            focus_T2 = np.broadcast_to(np.asarray(self.focus_T2, np.float64), (frames, 2)).copy()
            set_("focus_T2", focus_T2 if focus_T2[:, 1].any() else None)
        if not self.captions:
            set_("captions", ("",) * (int(self.shot_T[-1]) + 1 if len(self.shot_T) else 0))
        self._validate()

    def _validate(self):
        frames = len(self.pose_T34)
        if frames == 0 or self.pose_T34.shape != (frames, 3, 4):
            raise ValueError(f"a trajectory needs poses of shape [T, 3, 4] with T > 0, got {self.pose_T34.shape}")
        check_rigid(self.pose_T34)
        if self.stage_34 is not None:
            check_rigid(self.stage_34[None], what="the stage pose")
        if self.shot_T.shape != (frames,) or self.shot_T[0] != 0 or not np.isin(np.diff(self.shot_T), (0, 1)).all():
            raise ValueError("shots must be contiguous and numbered from 0, one number per frame")
        if len(self.captions) != self.num_shots:
            raise ValueError(f"{self.num_shots} shots but {len(self.captions)} captions")
        for time_T in (self.time_T, self.stage_time_T):
            if time_T is not None and (time_T.shape != (frames,) or not np.isfinite(time_T).all()):
                raise ValueError("the recorded times must be one finite number of seconds per frame")
        if self.time_T is not None and (np.diff(self.time_T) < 0).any():
            raise ValueError(f"time runs backwards at pose {int(np.argmax(np.diff(self.time_T) < 0)) + 1}")
        if self.focus_T2 is not None:
            self._check_focus()
        limits.finite(self.scale, "the scale", *limits.SCALE)
        limits.finite(self.fps, "fps of a trajectory", *limits.RATES)
        for name in ("width", "height"):
            limits.whole(getattr(self, name), f"the {name} of the image", 1, limits.PIXELS)
        least, most = limits.LENS
        focal_T2, center_T2 = np.split(self.intrinsics_T4 / ([self.width, self.height] * 2), 2, axis=1)
        if not ((least <= focal_T2) & (focal_T2 <= most)).all():
            raise ValueError(f"focal lengths must be positive, from {least:g} to {most:g} sides of the image")
        if not (np.abs(center_T2) <= most).all():
            raise ValueError(f"the principal point must be at most {most:g} sides of the image away")

    def _check_focus(self):
        distance_T, f_number_T = self.focus_T2.T
        for start, end in self.spans:
            open_T = f_number_T[start:end] != 0
            if open_T.any() and not open_T.all():
                raise ValueError("the f-numbers of a shot are all 0, for a pinhole, or all positive")
            if open_T.any():
                limits.within(f_number_T[start:end], "f-numbers", *limits.F_NUMBERS)
                limits.within(distance_T[start:end], "focus distances", *limits.FOCUS)
        limits.within(distance_T, "focus distances", 0.0, limits.FOCUS[1])

    def __len__(self):
        return len(self.pose_T34)

    @property
    def num_shots(self) -> int:
        """Number of shots."""
        return int(self.shot_T[-1]) + 1

    @property
    def spans(self) -> list[tuple[int, int]]:
        """(start, end) frame of each shot, end exclusive."""
        edges = np.flatnonzero(np.diff(self.shot_T)) + 1
        return list(zip([0, *edges.tolist()], [*edges.tolist(), len(self)], strict=True))

    @property
    def focal_mm_T(self) -> np.ndarray:
        """[T] focal length in millimetres on a sensor `FILM_BACK_MM` wide."""
        return FILM_BACK_MM * self.intrinsics_T4[:, 0] / self.width

    @property
    def zoom(self) -> float:
        """Largest ratio of two focal lengths of one shot; 1 where no shot zooms."""
        shots = [self.intrinsics_T4[start:end, 0] for start, end in self.spans]
        return max(float(focal_T.max() / focal_T.min()) for focal_T in shots)

    @property
    def lens_radius_T(self) -> np.ndarray:
        """[T] radius of the aperture in metres: half the focal length over the f-number; 0 for a pinhole."""
        if self.focus_T2 is None:
            return np.zeros(len(self))
        f_number_T = self.focus_T2[:, 1]
        return np.where(f_number_T > 0, self.focal_mm_T / 2000 / np.where(f_number_T > 0, f_number_T, 1.0), 0.0)

    @property
    def seconds_T(self) -> np.ndarray:
        """[T] seconds from the first frame to each, by the recorded times where there are some, else frame / fps."""
        return np.arange(len(self)) / self.fps if self.time_T is None else self.time_T - self.time_T[0]

    @property
    def stage_seconds_T(self) -> np.ndarray:
        """[T] seconds that have passed on the stage since the first frame."""
        return self.seconds_T if self.stage_time_T is None else self.stage_time_T - self.stage_time_T[0]

    @property
    def even(self) -> bool:
        """Whether every frame is shown at frame / fps, up to `EVEN` of a frame."""
        return bool((np.abs(self.seconds_T * self.fps - np.arange(len(self))) < EVEN).all())

    def shot(self, index: int) -> "Trajectory":
        """Returns shot `index` alone, still in the common world frame."""
        start, end = self.spans[index]
        cut = slice(start, end)
        return dataclasses.replace(
            self,
            pose_T34=self.pose_T34[cut],
            intrinsics_T4=self.intrinsics_T4[cut],
            shot_T=np.zeros(end - start, np.int32),
            captions=(self.captions[index],),
            focus_T2=None if self.focus_T2 is None else self.focus_T2[cut],
            time_T=None if self.time_T is None else self.time_T[cut],
            stage_time_T=None if self.stage_time_T is None else self.stage_time_T[cut],
        )

    def moved(self, pose_34: np.ndarray) -> "Trajectory":
        """Returns the path in another world: every pose, and the stage, is multiplied by `pose_34` from the left."""
        stage = None if self.stage_34 is None else se3.compose(pose_34, self.stage_34)
        return dataclasses.replace(self, pose_T34=se3.compose(pose_34, self.pose_T34), stage_34=stage)

    def from_first_camera(self) -> "Trajectory":
        """Returns the path with the first camera as the world frame."""
        return self.moved(se3.inverse(self.pose_T34[0]))

    def evenly(self, fps: float | None = None) -> "Trajectory":
        """Returns the path with a frame every 1 / fps seconds, for what plays frames at one rate.

        Every pose keeps its time and every shot its length, to a frame; a note says so. A path that has that rate
        already is returned as it is.

        Args:
            fps: frames per second; None (default) keeps the path's own, or takes `KEY_FRAME_FPS` where the path has
                fewer than `LEAST_FPS` poses a second and they are not evenly spaced.

        Raises:
            ValueError: the rate is outside `limits.RATES`, or makes more than a million frames.
        """
        if fps is None:
            fps = self.fps if self.even or self.fps >= LEAST_FPS else KEY_FRAME_FPS
        limits.finite(fps, "fps of a trajectory", *limits.RATES)
        if self.even and abs(fps - self.fps) < 1e-6 * fps:
            return self
        seconds_T = self.seconds_T
        # Evenly spaced frames last 1 / fps each, the last one too. Key frames end with the last of them.
        frames = len(self) / self.fps * fps if self.even else seconds_T[-1] * fps + 1
        if not frames < limits.POSES:
            raise ValueError(f"{seconds_T[-1]:.3g} s at {fps:g} frames per second are more than a million frames")
        edges = [*(round(seconds_T[start] * fps) for start, _ in self.spans), max(round(frames), 1)]
        # Every shot keeps one frame at least, however short it is.
        for k in range(1, len(edges)):
            edges[k] = max(edges[k], edges[k - 1] + 1)
        frame_T = np.arange(edges[-1])
        place_T = np.concatenate(
            [
                np.interp(frame_T[first:last] / fps, seconds_T[start:end], np.arange(start, end))
                for first, last, (start, end) in zip(edges, edges[1:], self.spans, strict=False)
            ]
        )
        note = f"{len(self)} poses over {seconds_T[-1]:.6g} s were resampled to {edges[-1]} frames at {fps:g} fps"
        return dataclasses.replace(
            self._sampled(place_T, np.diff(edges)),
            fps=float(fps),
            time_T=None,
            stage_time_T=None if self.stage_time_T is None else self._at(self.stage_time_T, place_T),
            notes=(*self.notes, note),
        )

    def retimed(self, spans: Sequence[tuple[int, int]], fps: float) -> "Trajectory":
        """Returns the same shots over other frames: each shot's whole path, sampled evenly in time, first to last pose.

        Positions, intrinsics and focus are interpolated linearly, rotations along the geodesic. `stage_time_T` of the
        result are the seconds at which this trajectory had the sampled poses: subjects on the stage then stand where
        they stood when the camera was there.

        Args:
            spans: (start, end exclusive) of every shot in the new film, contiguous from 0 (`Layout.spans`). A shot of
                one frame gets its first pose.
            fps: frames per second of the new film.

        Raises:
            ValueError: there is not one span per shot, or the spans are empty or not contiguous from 0.
        """
        spans = [(int(start), int(end)) for start, end in spans]
        if len(spans) != self.num_shots:
            raise ValueError(f"{self.num_shots} shots but {len(spans)} spans; give one (start, end) per shot")
        ends = [0, *(end for _, end in spans)]
        if any(start != before or end <= start for (start, end), before in zip(spans, ends, strict=False)):
            raise ValueError(f"the spans {spans} must follow each other from frame 0, and none may be empty")
        frames = [end - start for start, end in spans]
        # Each shot is sampled from its own first to its own last pose, so no new pose is interpolated across a cut.
        place_T = np.concatenate([self._places(*span, count) for span, count in zip(self.spans, frames, strict=True)])
        return dataclasses.replace(
            self._sampled(place_T, frames), fps=fps, time_T=None, stage_time_T=self._at(self.stage_seconds_T, place_T)
        )

    def _places(self, start: int, end: int, count: int) -> np.ndarray:
        """Indices, with fractions, of `count` poses that are evenly spaced in time from pose `start` to `end` - 1."""
        if self.even or self.seconds_T[end - 1] == self.seconds_T[start]:
            return np.linspace(start, end - 1, count)
        times = np.linspace(self.seconds_T[start], self.seconds_T[end - 1], count)
        return np.interp(times, self.seconds_T[start:end], np.arange(start, end))

    def _at(self, value_T: np.ndarray, place_T: np.ndarray) -> np.ndarray:
        """A value of every frame at indices with fractions."""
        return np.interp(place_T, np.arange(len(self)), value_T)

    def _columns_at(self, values: np.ndarray, place_T: np.ndarray) -> np.ndarray:
        return np.stack([self._at(column, place_T) for column in values.T], axis=1)

    def _sampled(self, place_T: np.ndarray, frames: Sequence[int]) -> "Trajectory":
        """The path at indices with fractions, which give each shot its number of `frames`; times are not changed."""
        return dataclasses.replace(
            self,
            pose_T34=se3.resample(self.pose_T34, place_T),
            intrinsics_T4=self._columns_at(self.intrinsics_T4, place_T),
            focus_T2=None if self.focus_T2 is None else self._columns_at(self.focus_T2, place_T),
            shot_T=np.repeat(np.arange(self.num_shots), frames),
            time_T=None,
            stage_time_T=None,
        )

    def resized(self, width: int, height: int) -> "Trajectory":
        """Returns the path for images of `width` x `height` pixels.

        The horizontal field of view stays, pixels become square, and the principal point keeps its relative place.
        Another aspect ratio shows more or less above and below.

        Raises:
            ValueError: the size is outside the range of `limits`.
        """
        for name, side in (("width", width), ("height", height)):
            limits.whole(side, f"the {name} of the image", 1, limits.PIXELS)
        focal_T, _, cx_T, cy_T = self.intrinsics_T4.T
        across, down = width / self.width, height / self.height
        # Both focal lengths come from the horizontal one: this makes the pixels square where the source's were not.
        lens_T4 = np.stack([focal_T * across, focal_T * across, cx_T * across, cy_T * down], axis=1)
        return dataclasses.replace(self, intrinsics_T4=lens_T4, width=width, height=height)


def check_rigid(pose_T34: np.ndarray, what: str = "pose") -> None:
    """Checks that poses [T, 3, 4] are finite and consist of a rotation and a translation.

    Args:
        pose_T34: the poses.
        what: the word for a pose in error messages; default "pose".

    Raises:
        ValueError: names the first pose that is not finite, not rigid within `RIGID_TOLERANCE`, or a reflection.
    """
    bad = ~np.isfinite(pose_T34).all((1, 2))
    if bad.any():
        raise ValueError(f"{what} {int(np.argmax(bad))} holds NaN or infinity")
    far = np.abs(pose_T34[:, :, 3]).max(1)
    if far.max() > limits.DISTANCE:
        raise ValueError(f"{what} {int(np.argmax(far))} is {far.max():.3g} units away, more than {limits.DISTANCE:g}")
    r = pose_T34[:, :, :3]
    error = np.abs(r @ r.swapaxes(1, 2) - np.eye(3)).max((1, 2))
    if not error.max() <= RIGID_TOLERANCE:  # also when huge entries overflow to NaN
        worst = int(np.argmax(error))
        raise ValueError(f"{what} {worst} is not rigid: its rotation is off by {error[worst]:.3g}")
    # A reflection is orthonormal too, so it passes the test above.
    mirrored = np.linalg.det(r) < 0
    if mirrored.any():
        raise ValueError(f"{what} {int(np.argmax(mirrored))} is a reflection (determinant -1), not a rotation")
