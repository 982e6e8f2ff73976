"""Training batches of a captioner: clips with their captions, of the stage or of a folder.

Batch `step` is a pure function of (seed, step).

Array axes: B samples; F pairs of frames; S patches of a frame; P values of a patch; T text tokens; N tokens of an
answer; 3 rows of positions.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import Qwen3VLConfig
from shotverse_jax.data.records import shuffled
from shotverse_jax.data.steps import FieldsOnly, StepSource
from shotverse_jax.data.view_targets import MIRROR, view_targets
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.grammar.truth import shot_truth
from shotverse_jax.inputs.chat import Chat, Picture, frames_to_take, pair_times
from shotverse_jax.inputs.qwen3_vl import arrange, pack, prepare_video
from shotverse_jax.inputs.tokenizer import load_text_tokenizer
from shotverse_jax.stage.preview import stage_poses
from shotverse_jax.stage.raycast import primitives, render
from shotverse_jax.stage.scene import Scene
from shotverse_jax.text_files import decode
from shotverse_jax.views.video import SUFFIXES, probe_video, read_video

_POOL = 64  # clips that are kept, so that their variants need not be neighbours in a run
_VARIANTS = 4  # as it is, mirrored, backwards, both
_AVERTED = 0.2  # share of the shots whose cameras look past the subject


class Clip(NamedTuple):
    """Frames and what is said of them.

    Attributes:
        frames_THWC: uint8.
        seconds_T: their times.
        caption: what is said.
        view_FY: what the cameras do between each two frames (`data.view_targets.view_targets`), where that is known.
    """

    frames_THWC: np.ndarray
    seconds_T: np.ndarray
    caption: str
    view_FY: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class StageClips(FieldsOnly):
    """Shots of the stage without end, with the words of `grammar.truth`.

    Every shot is rendered once and comes four times: as it is, mirrored, backwards, and both. In a part of the shots
    the cameras look past the subject, as those of a plan that went wrong.

    Attributes:
        split: "train" or "test".
        frames, height, width: size of the clips.
        variants: whether shots come four times; without, each comes once, as it is.
        view: whether clips say what the cameras do; default False.
    """

    split: str
    frames: int
    height: int
    width: int
    variants: bool = True
    view: bool = False

    def pick(self, seed: int, places: Sequence[int]) -> list[Clip]:
        """Returns one clip for every place of the run's samples, counted over all steps."""
        return [self._clip(seed, place) for place in places]

    def _clip(self, seed: int, place: int) -> Clip:
        if not self.variants:
            return self._rendered(seed, place, 0)
        pool, inside = divmod(place, _POOL * _VARIANTS)
        variant, number = divmod(inside, _POOL)
        # The variants of neighbouring shots begin with another one each, so that a batch has all of them.
        return self._rendered(seed, pool * _POOL + number, (variant + number) % _VARIANTS)

    def _rendered(self, seed: int, number: int, variant: int) -> Clip:
        shot, scene, frames_THWC = self._cache(seed, number)
        mirrored, backwards = variant % 2 == 1, variant >= 2
        if backwards:
            shot = dataclasses.replace(
                shot,
                pose_T34=shot.pose_T34[::-1],
                intrinsics_T4=shot.intrinsics_T4[::-1],
                stage_time_T=shot.stage_time_T[::-1],
            )
            frames_THWC = frames_THWC[::-1]
        at = taken(shot, self.frames)
        caption, view_FY = shot_truth(shot, scene).caption, view_targets(shot, scene, at) if self.view else None
        if mirrored:
            frames_THWC, caption = frames_THWC[:, :, ::-1], _mirrored(caption)
            view_FY = None if view_FY is None else MIRROR * view_FY
        return Clip(frames_THWC, at / shot.fps, caption, view_FY)

    @functools.cached_property
    def _cache(self):
        return functools.lru_cache(2 * _POOL)(self._render)

    def _render(self, seed: int, number: int) -> tuple[Trajectory, Scene, np.ndarray]:
        rng = np.random.default_rng((seed, number, 0 if self.split == "train" else 1))
        example = sample_example(int(rng.integers(2**62)), self.split)
        shot, scene = stage_shot(example.trajectory, example.scene, int(rng.integers(example.trajectory.num_shots)))
        if self.split == "train" and rng.random() < _AVERTED:
            shot = averted(shot, rng)
        return shot, scene, clip_frames(shot, scene, self.frames, self.height, self.width)

    def captions(self, count: int) -> Iterator[str]:
        """Yields the captions of `count` shots, nothing rendered."""
        for number in range(count):
            example = sample_example(number, self.split)
            shot, scene = stage_shot(example.trajectory, example.scene, number % example.trajectory.num_shots)
            caption = shot_truth(shot, scene).caption
            yield caption if number % 2 else _mirrored(caption)


@dataclasses.dataclass(frozen=True)
class FolderClips(FieldsOnly):
    """Clips with captions of a folder: NAME.mp4 (or another kind of video) with NAME.txt beside it.

    A caption is the whole text, with single blanks. Videos are read as they are needed.

    Attributes:
        folder: the folder; folders below it are read too.
        config: the network, which says how many frames are taken.
        height: height that frames are reduced to, if they are higher.

    Raises:
        ValueError: when the clips are first listed, if there are none, or a video has no caption.
    """

    folder: str
    config: Qwen3VLConfig
    height: int

    @functools.cached_property
    def all(self) -> list[tuple[Path, str]]:
        """Every video with its caption."""
        videos = sorted(path for path in Path(self.folder).rglob("*") if path.suffix.lower() in SUFFIXES)
        if not videos:
            raise ValueError(f"{self.folder} has no videos; put NAME.mp4 and NAME.txt with its caption there")
        found = []
        for video in videos:
            text = video.with_suffix(".txt")
            caption = " ".join(decode(text.read_bytes()).text.split()) if text.is_file() else ""
            if not caption:
                raise ValueError(f"{video} has no caption; write it to {text.name} beside it")
            found.append((video, caption))
        return found

    def pick(self, seed: int, places: Sequence[int]) -> list[Clip]:
        """Returns one clip for every place of the run's samples; each comes once per epoch, in a shuffled order."""
        return [self._clip(*self.all[shuffled(place, len(self.all), seed)]) for place in places]

    def _clip(self, video: Path, caption: str) -> Clip:
        info = probe_video(video)
        at = frames_to_take(info.frames, info.fps, self.config)
        height = min(info.height, self.height)
        frames_THWC = read_video(video, at, max(1, round(info.width * height / info.height)), height)
        return Clip(frames_THWC, at / info.fps, caption)

    def captions(self, count: int) -> Iterator[str]:
        """Yields the first `count` captions."""
        yield from (caption for _, caption in self.all[:count])


def stage_shot(trajectory: Trajectory, scene: Scene, index: int) -> tuple[Trajectory, Scene]:
    """Returns one shot as `grammar.truth.shot_truth` reads it, and the scene without what is in its cameras' way."""
    pose_T34 = stage_poses(trajectory)
    on_stage = dataclasses.replace(
        trajectory, pose_T34=pose_T34, stage_34=None, stage_time_T=trajectory.stage_seconds_T
    )
    return on_stage.shot(index), scene.clear_views(pose_T34[:, :, 3])


def averted(shot: Trajectory, rng: np.random.Generator) -> Trajectory:
    """Returns the shot filmed by cameras that are turned aside by up to 70 degrees, and up or down by up to 25."""
    pan, tilt = np.radians(rng.uniform(15, 70) * rng.choice((-1, 1))), np.radians(rng.uniform(-25, 25))
    turn = se3.so3_exp(np.array([0.0, pan, 0.0])) @ se3.so3_exp(np.array([tilt, 0.0, 0.0]))
    rotation_T33 = shot.pose_T34[:, :, :3] @ turn
    return dataclasses.replace(shot, pose_T34=np.concatenate([rotation_T33, shot.pose_T34[:, :, 3:]], axis=2))


def taken(shot: Trajectory, frames: int) -> np.ndarray:
    """Returns the numbers of the frames of a shot that are filmed, evenly spaced."""
    return np.linspace(0, len(shot) - 1, frames).round().astype(int)


def clip_frames(shot: Trajectory, scene: Scene, frames: int, height: int, width: int) -> np.ndarray:
    """Returns the frames of a shot whose poses are in the stage's frame, uint8 [frames, height, width, 3]."""
    at = taken(shot, frames)
    lens_T4 = shot.intrinsics_T4 * np.tile([width / shot.width, height / shot.height], 2)
    return np.asarray(
        render(primitives(scene, shot.stage_time_T[at]), shot.pose_T34[at], lens_T4[at], width, height).color_THW3
    )


def _mirrored(caption: str) -> str:
    return caption.replace("left", "\0").replace("right", "left").replace("\0", "right")


@dataclasses.dataclass(frozen=True)
class CaptionerSource(StepSource):
    """Random access over steps: `source[step]` → (None, this host's slice of the global batch).

    A batch has pixels_BFSP float32, size_BF2 int32, ids_BT int32, real_BT bool, feature_BT int32 (counted over the
    sample's own frames), positions_B3T int32, places_BN int32 (where an answer's tokens are predicted) and targets_BN
    int32, -1 where there is no more of an answer; and view_BFY float32 where the clips have it.

    Attributes:
        config: the network that is trained.
        tokenizer_file: tokenizer.json of its folder.
        clips: where clips come from.
        length: tokens T that texts are padded to.
        answer: tokens N of an answer.
        patches: patches S that frames are padded to.
        pairs: pairs of frames F that clips are padded to.
        seed: seed of the run.
        global_batch: samples per step, over all hosts.
        num_steps: steps of the run.
        host, num_hosts: this process and the number of processes; default 0 of 1.

    Raises:
        ValueError: the batch does not divide over the hosts; or, when it is read, a clip or caption that is too long.
    """

    config: Qwen3VLConfig
    tokenizer_file: str
    clips: StageClips | FolderClips
    length: int
    answer: int
    patches: int
    pairs: int
    seed: int
    global_batch: int
    num_steps: int
    host: int = 0
    num_hosts: int = 1

    @functools.cached_property
    def _chat(self) -> Chat:
        return Chat(load_text_tokenizer(self.tokenizer_file), self.config)

    def __getitem__(self, step: int) -> tuple[None, dict[str, np.ndarray]]:
        samples = [self._sample(clip) for clip in self.clips.pick(self.seed, self.samples(step))]
        return None, {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}

    def _sample(self, clip: Clip) -> dict[str, np.ndarray]:
        config, chat = self.config, self._chat
        picture = Picture(
            *prepare_video(clip.frames_THWC, config.vision, config.video_pixels), pair_times(clip.seconds_T, config)
        )
        question = chat.ask(picture, config.prompt)
        answer = chat.answer(clip.caption)
        ids, first = [*question.ids, *answer], len(question.ids)
        if len(ids) > self.length or len(answer) > self.answer:
            raise ValueError(
                f"a caption of {len(answer)} tokens after {first} does not fit into answer_length={self.answer}, "
                f"text_length={self.length}; raise them"
            )
        ids_T = np.full(self.length, chat.pad, np.int32)
        ids_T[: len(ids)] = ids
        real_T = np.arange(self.length) < len(ids)
        pixels_FSP, size_F2 = pack(picture.rows_NP, [picture.grid], config.vision, self.patches, self.pairs)
        places = arrange(ids_T[None], [picture.grid], config, self.patches, real_T[None])
        targets_N = np.full(self.answer, -1, np.int32)
        targets_N[: len(answer)] = answer
        view = {} if clip.view_FY is None else {"view_BFY": clip.view_FY}
        return view | {
            "pixels_BFSP": pixels_FSP,
            "size_BF2": size_F2,
            "ids_BT": ids_T,
            "real_BT": real_T,
            "feature_BT": places.feature_BT[0],
            "positions_B3T": places.positions_3BT[:, 0],
            # The token before an answer predicts its first one.
            "places_BN": np.minimum(first - 1 + np.arange(self.answer), self.length - 1).astype(np.int32),
            "targets_BN": targets_N,
        }
