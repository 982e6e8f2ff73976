"""Training batches of CameraCLIP: clips of the stage, or of a folder, with texts and what is true of them.

Batch `step` is a pure function of (seed, step).

Array axes: B samples; T frames; S text tokens; K kinds of facts (`cinematic.facts`); F pairs of neighbouring frames;
Y values of the camera's motion.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.cinematic.clips import StageClip, describe, stage_clip
from shotverse_jax.cinematic.facts import Facts, numbers
from shotverse_jax.cinematic.phrases import CLASSES, MIRRORED, OPPOSITES
from shotverse_jax.data.cinematic2k import ClipFile, read_clips
from shotverse_jax.data.records import shuffled
from shotverse_jax.data.steps import FieldsOnly, StepSource
from shotverse_jax.inputs.camera_clip import spread
from shotverse_jax.inputs.clip import load_clip_tokenizer, tokenize
from shotverse_jax.stage.focus import focused
from shotverse_jax.stage.raycast import primitives, render
from shotverse_jax.views.video import probe_video, read_video

PAIRS = tuple((name, other) for name, other in OPPOSITES.items() if name < other)
"""Classes that are each other played backwards."""
SINGLE = tuple(name for name in CLASSES if name not in OPPOSITES)
ROUND = 2 * len(PAIRS) + len(SINGLE)
"""Clips in which every class comes once."""
SOURCES = 4
"""Stages of a round, so that some of its clips show the same people."""
_POOL = 16  # rounds that are kept, so that the two times that they come need not be neighbours in a run
TURN, MOVE, ZOOM, FOCUS = 0.05, 0.08, 0.1, 0.004
"""The units of the motion between two frames: radians, shares of the distance to the subject, the logarithm of the
focal length, and the radius of blur as a share of the width."""
VALUES = 8
"""3 of the turn, 3 of the move, 1 of the zoom and 1 of the focus."""
MOST = 4.0
"""Values are cut off here."""
_MIRROR = np.array([1, -1, -1, -1, 1, 1, 1, 1], np.float32)


class Sample(NamedTuple):
    """One clip of a batch.

    Attributes:
        frames_THWC: uint8; None where they were not read.
        caption: the text.
        facts: what is true of the clip.
        said: what the text says.
        name: the class.
        motion_FY: what the camera does between neighbouring frames (`motion`), where it is known.
    """

    frames_THWC: np.ndarray | None
    caption: str
    facts: Facts
    said: Facts
    name: str
    motion_FY: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class StageSamples(FieldsOnly):
    """Clips of the stage without end, every class as often.

    A clip of a class with a direction is followed by itself, played backwards, as a clip of the opposite class: nothing
    but the order of the frames tells the two apart. Every clip is rendered once and comes twice, as it is and mirrored.

    Attributes:
        split: "train", "val" or "test".
        frames, height, width: size of the clips.
        phrases: share of the texts that are a phrase of the class alone.
        variants: whether clips are mirrored, too; without, each comes once, as it is.
    """

    split: str
    frames: int
    height: int
    width: int
    phrases: float = 0.0
    variants: bool = True

    def pick(self, seed: int, places: Sequence[int]) -> list[Sample]:
        """Returns one sample for every place of the run's samples, counted over all steps."""
        return [self._sample(seed, place) for place in places]

    def _sample(self, seed: int, place: int) -> Sample:
        number, inside = divmod(place, ROUND)
        mirrored = False
        if self.variants:
            pool, visit = divmod(number, 2 * _POOL)
            number, second = pool * _POOL + visit % _POOL, visit // _POOL
            mirrored = (number + second) % 2 == 1  # a batch has some of both
        paired = inside < 2 * len(PAIRS)
        item = inside // 2 if paired else inside - len(PAIRS)
        # Which of the two directions was rendered alternates, so that neither looks less natural.
        name = PAIRS[item][number % 2] if paired else SINGLE[item - len(PAIRS)]
        backwards = paired and inside % 2 == 1
        clip, frames_THWC, path = self._cache(name, seed, number, number * SOURCES + item % SOURCES)
        facts, name = dict(clip.facts), OPPOSITES[name] if backwards else name
        if "movement" in facts and backwards:
            facts["movement"] = OPPOSITES[facts["movement"]]
        if mirrored:
            name = MIRRORED.get(name, name)
            facts |= {"movement": MIRRORED.get(facts["movement"], facts["movement"])} if "movement" in facts else {}
        rng = np.random.default_rng((seed, place, 2))
        caption, said = describe(rng, name, facts, self.phrases)
        step = -1 if backwards else 1
        motion_FY = motion(*(x if x is None else x[::step] for x in path), clip.distance)
        if mirrored:
            frames_THWC, motion_FY = frames_THWC[:, :, ::-1], motion_FY * _MIRROR
        return Sample(frames_THWC[::step], caption, facts, said, name, motion_FY)

    @functools.cached_property
    def _cache(self):
        return functools.lru_cache(2 * _POOL * (len(PAIRS) + len(SINGLE)))(self._render)

    def _render(self, name: str, seed: int, number: int, source: int):
        # The numbers of sources of other seeds are others.
        clip = stage_clip(name, seed * 10_000_000 + source, self.split, self.height, self.width)
        at = spread(len(clip.trajectory), self.frames)
        return clip, clip_frames(clip, at), _path(clip.trajectory, at)

    def captions(self, count: int) -> Iterator[str]:
        """Yields the captions of `count` clips, nothing rendered."""
        names = list(CLASSES)
        for number in range(count):
            yield stage_clip(names[number % len(names)], number, self.split).caption


def clip_frames(clip: StageClip, at_N: np.ndarray) -> np.ndarray:
    """Returns some frames of a clip of the stage, uint8 [N, height, width, 3]."""
    path = clip.trajectory
    prims = primitives(clip.scene, path.stage_seconds_T[at_N])
    seen = render(prims, path.pose_T34[at_N], path.intrinsics_T4[at_N], path.width, path.height)
    return focused(seen.color_THW3, seen.depth_THW, path, at_N)


def _path(path: Trajectory, at_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(poses, logarithms of focal lengths, blurs of the far distance) of some frames."""
    blur_T = np.zeros(len(path))
    if path.focus_T2 is not None:
        blur_T = path.lens_radius_T * path.intrinsics_T4[:, 0] / path.width / path.focus_T2[:, 0]
    return path.pose_T34[at_N], np.log(path.intrinsics_T4[at_N, 0]), blur_T[at_N]


def motion(pose_T34: np.ndarray, zoom_T: np.ndarray, blur_T: np.ndarray, distance: float) -> np.ndarray:
    """Returns what a camera does between neighbouring frames, [T-1, VALUES] float32 in units of about 1.

    Args:
        pose_T34: the poses.
        zoom_T: logarithms of the focal lengths.
        blur_T: radii of the discs that the focus makes of what is far, as shares of the width.
        distance: to the subject.
    """
    step_F34 = se3.relative(pose_T34[:-1], pose_T34[1:])
    rows = (
        se3.so3_log(step_F34[..., :3]) / TURN,
        step_F34[..., 3] / (MOVE * distance),
        np.diff(zoom_T)[:, None] / ZOOM,
        np.diff(blur_T)[:, None] / FOCUS,
    )
    return np.concatenate(rows, axis=1).clip(-MOST, MOST).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class FolderSamples(FieldsOnly):
    """Clips of a folder of Cinematic2K's form. Videos are read as they are needed.

    Attributes:
        folder: the data set.
        split: "train", "val" or "test".
        frames, height, width: size of the clips; frames are resized until they cover it, and cropped.
        phrases: share of the texts that are a phrase of the class alone, where the class is one of `CLASSES`.
        targets: whether texts with the same "caption" are right for a clip, or those of clips of its "class".

    Raises:
        ValueError: when the clips are first listed, if the folder cannot be used.
    """

    folder: str
    split: str
    frames: int
    height: int
    width: int
    phrases: float = 0.0
    targets: Literal["caption", "class"] = "caption"

    @functools.cached_property
    def all(self) -> list[ClipFile]:
        """Every clip of the split."""
        return read_clips(self.folder, self.split)

    def pick(self, seed: int, places: Sequence[int]) -> list[Sample]:
        """Returns one sample for every place of the run's samples; each comes once per epoch, in a shuffled order."""
        return [self._sample(shuffled(place, len(self.all), seed), (seed, place)) for place in places]

    def _sample(self, index: int, key: tuple[int, int]) -> Sample:
        path = self.all[index].path
        at = spread(probe_video(path).frames, self.frames)
        return self.worded(index, key)._replace(frames_THWC=read_video(path, at, self.width, self.height))

    def worded(self, index: int, key: tuple[int, int] = (0, 0)) -> Sample:
        """Returns clip `index` without its frames; `key` decides whether its text is a phrase."""
        clip, rng = self.all[index], np.random.default_rng(key)
        caption, group = clip.caption, CLASSES[clip.name].group if clip.name in CLASSES else None
        facts = {"text": clip.name if self.targets == "class" else " ".join(caption.lower().split())}
        said = dict(facts)
        if group is not None:
            facts[group] = clip.name
            if rng.random() < self.phrases:
                words = CLASSES[clip.name].phrases
                caption, said = words[int(rng.integers(len(words)))], {group: clip.name}
        return Sample(None, caption, facts, said, clip.name)

    def captions(self, count: int) -> Iterator[str]:
        """Yields the first `count` captions."""
        yield from (clip.caption for clip in self.all[:count])


@dataclasses.dataclass(frozen=True)
class CameraClipSource(StepSource):
    """Random access over steps: `source[step]` → (None, this host's slice of the global batch).

    A batch has `frames_BTHWC` uint8, `ids_BS` int32 and `real_BS` bool of the texts, `facts_BK` and `said_BK` int32
    (`cinematic.facts.numbers`), and with `probe` `motion_BFY` float32.

    Attributes:
        tokenizer_file: tokenizer.json of the text tower.
        length: tokens S that texts are cut or padded to.
        clips: where clips come from.
        probe: whether batches have what the cameras do; clips must know it.
        seed: seed of the run.
        global_batch: samples per step, over all hosts.
        num_steps: steps of the run.
        host, num_hosts: this process and the number of processes; default 0 of 1.

    Raises:
        ValueError: the batch does not divide over the hosts; or, when it is read, a video that cannot be read.
    """

    tokenizer_file: str
    length: int
    clips: StageSamples | FolderSamples
    probe: bool
    seed: int
    global_batch: int
    num_steps: int
    host: int = 0
    num_hosts: int = 1

    @functools.cached_property
    def _tokenizer(self):
        return load_clip_tokenizer(self.tokenizer_file)

    def __getitem__(self, step: int) -> tuple[None, dict[str, np.ndarray]]:
        samples = self.clips.pick(self.seed, self.samples(step))
        ids_BS, real_BS = tokenize(self._tokenizer, [sample.caption for sample in samples], self.length)
        batch = {
            "frames_BTHWC": np.stack([sample.frames_THWC for sample in samples]),
            "ids_BS": ids_BS,
            "real_BS": real_BS,
            "facts_BK": np.stack([numbers(sample.facts) for sample in samples]),
            "said_BK": np.stack([numbers(sample.said) for sample in samples]),
        }
        return None, batch | ({"motion_BFY": np.stack([s.motion_FY for s in samples])} if self.probe else {})
