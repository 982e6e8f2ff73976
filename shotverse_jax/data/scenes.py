"""Scenes of people's own: videos with screenplays and camera paths, as the records that `launch/encode.py` writes.

They come as a table (CSV or JSONL), as a folder of files that belong together, or as DataDoP's folder; see
docs/data.md. What a video becomes: frames at another rate and size, cut to the length asked for, its cuts at frames
4t+1 (at most two frames beside a cut are shown twice or left out, so that no latent frame sees two shots), and the
camera's pose at every latent frame (0, 4, 8, …).
"""

import csv
import dataclasses
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import FORMATS, read_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.screenplay import (
    LATENT_STRIDE,
    Layout,
    Screenplay,
    Shot,
    layout_from_cuts,
    parse_text,
    read_screenplay,
    snap,
    to_text,
)
from shotverse_jax.screenplay.play import MANY_SHOTS_FRAMES, ONE_SHOT_FRAMES
from shotverse_jax.views.video import SUFFIXES, VideoInfo, probe_video, read_video

CAPTIONS = {"movement": "Movement", "detailed": "Detailed Interaction", "concise": "Concise Interaction"}
CHANGES = ("resized and cropped", "resized", "resampled", "cut short", "cuts moved", "shots left out")
"""How the notices begin that say what was done to a video."""
_POSES, _CAPTION = "_transforms_cleaning.json", "_caption.json"  # of a DataDoP shot
STAGE, FIRST_CAMERA = "stage", "first camera"
_TOLERANCE = 0.1  # seconds by which a path may be longer or shorter than its video


@dataclasses.dataclass(frozen=True)
class Scene:
    """Where the parts of a scene are; what is missing is found out when it is read.

    Attributes:
        name: what it is called in messages.
        screenplay: a file, or a HoloCine prompt.
        trajectory: a file of any format that is read.
        video: None for a scene that only a planner learns from.
        cuts: first frames of shots 1..K-1 in the video (without one: poses of the path); None where other parts say.
        caption: key of a DataDoP caption file, which `screenplay` then is.
    """

    name: str
    screenplay: str
    trajectory: str
    video: Path | None = None
    cuts: tuple[int, ...] | None = None
    caption: str | None = None


def find_scenes(source: str | Path, split: str = "train", caption: str = "concise") -> list[Scene]:
    """The scenes of a table (.csv, .jsonl), of a folder of scenes or of DataDoP's folder, always in the same order.

    split: which part of DataDoP's folder, where it has `train` and `test`. caption: which of a DataDoP shot's
    captions, of `CAPTIONS`; GenDoP's "motion" is movement, its "directorial" concise.

    Raises:
        ValueError: nothing there, or a table without the columns `screenplay` and `trajectory`.
    """
    source = Path(source)
    if caption not in CAPTIONS:
        raise ValueError(f"DataDoP's captions are {', '.join(CAPTIONS)}; got {caption!r}")
    if source.is_file():
        scenes = _table(source)
    elif source.is_dir():
        scenes = _datadop(source, split, CAPTIONS[caption]) or _folder(source)
    else:
        raise ValueError(f"{source}: no such file or folder; give a table (.csv, .jsonl) or a folder of scenes")
    if not scenes:
        raise ValueError(f"{source} holds no scenes: expected videos with a screenplay and a camera path of one name")
    return scenes


# ---------------------------------------------------------------------------------------------------- finding


def _table(path: Path) -> list[Scene]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            rows = list(csv.DictReader(text.splitlines(keepends=True)))
        elif path.suffix.lower() in (".jsonl", ".ndjson"):
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            raise ValueError("a table of scenes ends in .csv or .jsonl")
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from error
    scenes = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not {"screenplay", "trajectory"} <= row.keys():
            raise ValueError(f"{path}, row {number}: expected the columns video, screenplay, trajectory and maybe cuts")
        value = {key: (cell or "") for key, cell in row.items() if key in ("video", "screenplay", "trajectory")}
        screenplay = str(value["screenplay"])
        if "[global caption]" not in screenplay.lower():
            screenplay = str(path.parent / screenplay)
        name = f"row {number}, {value.get('video') or value['trajectory']}"
        video = path.parent / value["video"] if value.get("video") else None
        scenes.append(
            Scene(name, screenplay, str(path.parent / value["trajectory"]), video, _cuts(row.get("cuts"), name))
        )
    return scenes


def _cuts(cell, name: str) -> tuple[int, ...] | None:
    """Frame numbers of a cell: a list, or numbers separated by anything but digits."""
    if cell is None or cell == "":
        return None
    cuts = cell if isinstance(cell, list) else re.findall(r"-?[\d.]+", str(cell))
    try:
        return tuple(int(cut) for cut in cuts)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: cuts are frame numbers, as in '97 180'; got {str(cell)[:60]!r}") from error


def _datadop(folder: Path, split: str, caption: str) -> list[Scene]:
    """Shots of DataDoP's layout: <split>/<video>/<shot>_transforms_cleaning.json, listed in <split>_valid.txt."""
    listed = folder / f"{split}_valid.txt"
    root = folder / split if (folder / split).is_dir() else folder
    if listed.is_file():
        stems = [root / line for line in listed.read_text(encoding="utf-8").split()]
    else:
        stems = [Path(str(path).removesuffix(_POSES)) for path in sorted(root.rglob(f"*{_POSES}"))]
    videos = [next((v for end in SUFFIXES if (v := Path(f"{stem}{end}")).is_file()), None) for stem in stems]
    return [
        Scene(str(stem.relative_to(root)), f"{stem}{_CAPTION}", f"{stem}{_POSES}", video, caption=caption)
        for stem, video in zip(stems, videos, strict=True)
    ]


def _folder(folder: Path) -> list[Scene]:
    """Files of one name ("a.mp4", "a.yaml", "a.trajectory.json"), and subfolders with one scene each."""
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    files, folders = [p for p in entries if p.is_file()], [p for p in entries if p.is_dir()]
    stems = sorted({p.stem for p in files if p.suffix.lower() in SUFFIXES}, key=len, reverse=True)
    groups: dict[str, list[Path]] = {}
    for path in files:
        stem = next((s for s in stems if path.name.startswith(s + ".")), path.name.split(".")[0])
        groups.setdefault(stem, []).append(path)
    scenes = [_group(folder / stem, paths) for stem, paths in sorted(groups.items())]
    for sub in folders:
        inside = [path for path in sorted(sub.iterdir()) if not path.name.startswith(".")]
        alone = sum(path.suffix.lower() in SUFFIXES for path in inside) < 2 and not any(p.is_dir() for p in inside)
        scenes += [_group(sub, inside)] if alone else _folder(sub)
    return [scene for scene in scenes if scene is not None]


def _group(place: Path, paths: list[Path]) -> Scene | None:
    """The scene that some files are; None when there is no more than one of its parts."""
    kinds: dict[str, list[Path]] = {"video": [], "screenplay": [], "trajectory": []}
    for path in paths:
        if (kind := _kind(path)) is not None:
            kinds[kind].append(path)
    if sum(map(bool, kinds.values())) < 2:
        return None
    first = {kind: str(found[0]) if len(found) == 1 else "" for kind, found in kinds.items()}
    doubt = [f"{len(found)} {kind} files" for kind, found in kinds.items() if len(found) > 1]
    name = f"{place} ({' and '.join(doubt)}, keep one)" if doubt else str(place)
    return Scene(name, first["screenplay"], first["trajectory"], Path(first["video"]) if kinds["video"] else None)


def _kind(path: Path) -> str | None:
    """Which part of a scene a file is: "video", "screenplay" or "trajectory", by its suffix or its content."""
    suffix, name = path.suffix.lower(), path.name.lower()
    if suffix in SUFFIXES:
        return "video"
    if suffix in (".yaml", ".yml", ".holocine") or name.endswith(".holocine.txt"):
        return "screenplay"
    if suffix == ".json":
        try:
            doc = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return "trajectory"  # its reader says what is wrong
        told = isinstance(doc, dict) and "shots" in doc and not isinstance(doc.get("frames"), list)
        return "screenplay" if told else "trajectory"
    if suffix == ".txt":
        return "trajectory" if _ends_in_numbers(path) else "screenplay"
    known = tuple(end for form in FORMATS.values() if form.read for end in form.suffixes if end)
    return "trajectory" if name.endswith(known) else None


def _ends_in_numbers(path: Path) -> bool:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.split() for line in reversed(lines) if line.strip()), ["nothing"])
    try:
        return bool([float(word) for word in last])
    except ValueError:
        return False


# ---------------------------------------------------------------------------------------------------- reading


@dataclasses.dataclass(frozen=True)
class SceneRecords:
    """`source[i]` is the record of scene i; a scene that cannot be used raises ValueError saying why.

    Attributes:
        frames: of every film, 4t+1; None without videos: 249, or 81 for a single shot, as screenplays have.
        height, width, fps: of every film.
        videos: whether records have `video`; without, a path is told in `frames` frames whole, whatever its pace.

    Raises:
        ValueError: a number of frames that is not 4t+1.
    """

    scenes: Sequence[Scene]
    frames: int | None = None
    height: int = 480
    width: int = 832
    fps: float = 16.0
    videos: bool = True

    def __post_init__(self):
        if self.frames is None and self.videos:
            raise ValueError("say how many frames the films shall have, 4t+1")
        if self.frames is not None and (self.frames < 5 or self.frames != snap(self.frames)):
            raise ValueError(f"a film has 4t+1 frames, at least 5; got {self.frames}")

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> dict[str, np.ndarray | str]:
        """With videos: video [F, H, W, 3] uint8; without: path_F34, the pose at every frame, float32. Of the latent
        frames, 0, 4, 8, …: pose_T34 float32 and shot_T int32; intrinsics [4] float32 of the first, pixels. Texts:
        prompt (HoloCine's), name, changes (what was done to the video, "" for nothing) and world: "stage" where the
        path knows its stage, else "first camera"."""
        scene = self.scenes[index]
        try:
            return self._read(scene)
        except ValueError as error:
            raise ValueError(f"{scene.name}: {error}") from error

    def _read(self, scene: Scene) -> dict[str, np.ndarray | str]:
        if not scene.trajectory or not scene.screenplay:
            raise ValueError(f"no {'camera path' if scene.screenplay else 'screenplay'} beside it")
        play, trajectory = _screenplay(scene), read_trajectory(scene.trajectory)
        if scene.video is None and self.videos:
            raise ValueError("no video; without one a scene can only teach a planner (--no_video)")
        if scene.video is not None and (self.videos or scene.cuts):
            info = probe_video(scene.video)
        else:
            info = VideoInfo(len(trajectory), trajectory.fps, trajectory.width, trajectory.height)
        place = _place(trajectory, info, spread=scene.caption is not None)
        cut_F = self._source_cuts(scene, play, trajectory, info, place)
        timeline = self._timeline(info, cut_F, len(play.shots))
        source_F = np.round(timeline.source_F).astype(int) if self.videos else timeline.source_F
        edges = _pose_edges(trajectory, place, cut_F)
        place_F = place(source_F)
        for (start, end), first, last in zip(timeline.layout.spans, edges[:-1], edges[1:], strict=False):
            place_F[start:end] = np.clip(place_F[start:end], first, last - 1)
        record = _camera(trajectory, place_F, info, (self.width, self.height))
        if self.videos:
            del record["path_F34"]
            record["video"] = read_video(scene.video, source_F, self.width, self.height)
        play = Screenplay(play.caption, [Shot(shot.caption) for shot in play.shots[: len(timeline.layout.spans)]])
        return record | {
            "shot_T": timeline.layout.latent_index_T,
            "prompt": to_text(play, "holocine"),
            "name": scene.name,
            "changes": "; ".join(timeline.changes),
        }

    def _source_cuts(self, scene: Scene, play: Screenplay, trajectory: Trajectory, info: VideoInfo, place) -> list[int]:
        """First frame, in the video, of every shot but the first: as told, as the path has it, or by the durations."""
        count, told = len(play.shots), scene.cuts
        if trajectory.num_shots not in (1, count):
            raise ValueError(f"the screenplay has {count} shots and the camera path {trajectory.num_shots}")
        if told is None and trajectory.num_shots > 1:
            at_F = place(np.arange(info.frames))
            told = [int(np.searchsorted(at_F, start - 1e-6)) for start, _ in trajectory.spans[1:]]
        if told is None and any(shot.duration for shot in play.shots):
            layout = play.layout()
            seconds, length = layout.num_frames / play.fps, info.frames / info.fps
            if self.videos and abs(seconds - length) > 0.5:
                raise ValueError(f"the durations add up to {seconds:.2f} s, and the video has {length:.2f} s")
            told = [round(cut / layout.num_frames * info.frames) for cut in layout.cuts]
        told = list(told or ())
        if len(told) != count - 1:
            raise ValueError(
                f"the screenplay has {count} shots, and {len(told) or 'no'} cuts are known; give cuts, durations or a "
                "path with shots"
            )
        edges = [0, *told, info.frames]
        if any(end <= start for start, end in zip(edges, edges[1:], strict=False)):
            raise ValueError(f"the cuts {told} do not rise from 1 to {info.frames - 1}")
        return told

    def _timeline(self, info: VideoInfo, cut_F: list[int], shots: int) -> "Timeline":
        if not self.videos:
            if info.frames < 2:
                raise ValueError("a camera path of a single pose")
            frames = self.frames or (MANY_SHOTS_FRAMES if shots > 1 else ONE_SHOT_FRAMES)
            return _whole(frames, info.frames, cut_F)
        rate = info.fps / self.fps
        if round((self.frames - 1) * rate) > info.frames - 1:
            seconds, needed = info.frames / info.fps, self.frames / self.fps
            raise ValueError(f"the video is too short: {seconds:.2f} s, and the films have {needed:.2f} s")
        changes = []
        if (info.width, info.height) != (self.width, self.height):
            cropped = info.width * self.height != info.height * self.width
            size = f"{info.width}x{info.height} to {self.width}x{self.height}"
            changes.append(f"{'resized and cropped' if cropped else 'resized'} from {size}")
        if abs(rate - 1) > 1e-3:
            changes.append(f"resampled from {info.fps:g} to {self.fps:g} fps")
        if (lost := info.frames - 1 - round((self.frames - 1) * rate)) > max(rate, 1):
            changes.append(f"cut short by {lost / info.fps:.2f} s")
        return _spread(self.frames, rate, info.frames, cut_F, changes)


@dataclasses.dataclass(frozen=True, eq=False)
class Timeline:
    """A film's layout, the source's frame for each of its frames (source_F, fractions), and what was changed."""

    layout: Layout
    source_F: np.ndarray
    changes: list[str]


def _spread(frames: int, rate: float, total: int, cut_F: list[int], changes: list[str]) -> Timeline:
    """A film of `frames` frames, `rate` source frames apart, of a source with `total` frames and cuts."""
    wanted = [cut / rate for cut in cut_F]
    kept = [cut for cut in wanted if snap(math.ceil(cut - 1e-6)) + LATENT_STRIDE <= frames]
    if len(kept) < len(wanted):
        changes = [*changes, f"shots left out that begin after its end: {len(wanted) - len(kept)}"]
    layout = layout_from_cuts(frames, [math.ceil(cut - 1e-6) for cut in kept])
    moved = [abs(cut - at) for cut, at in zip(kept, layout.cuts, strict=True)]
    if moved and max(moved) >= 1:
        changes = [*changes, f"cuts moved to frames {', '.join(map(str, layout.cuts))}"]
    edges = [0, *cut_F[: len(kept)], cut_F[len(kept)] if len(kept) < len(cut_F) else total]
    source_F = np.minimum(np.arange(frames) * rate, total - 1)
    for (start, end), first, last in zip(layout.spans, edges[:-1], edges[1:], strict=True):
        source_F[start:end] = np.clip(source_F[start:end], first, last - 1)
    return Timeline(layout, source_F, changes)


def _whole(frames: int, total: int, cut_F: list[int]) -> Timeline:
    """A film of `frames` frames in which every shot keeps its share and has its whole path, from first to last."""
    edges = [0, *cut_F, total]
    spans = tuple(zip(edges, edges[1:], strict=False))
    scaled = Layout(total, tuple(cut_F), spans, 0, np.zeros(0, np.int32)).scaled(frames)
    lengths = np.diff(scaled.spans)[:, 0]
    parts = [np.linspace(start, end - 1, length) for (start, end), length in zip(spans, lengths, strict=True)]
    return Timeline(scaled, np.concatenate(parts), [])


def _screenplay(scene: Scene) -> Screenplay:
    if scene.caption is None:
        prompt = "[global caption]" in scene.screenplay.lower()
        return parse_text(scene.screenplay, "holocine") if prompt else read_screenplay(scene.screenplay)
    try:
        captions = json.loads(Path(scene.screenplay).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{scene.screenplay}: no captions can be read ({error})") from error
    text = captions.get(scene.caption) if isinstance(captions, dict) else None
    if not text:
        raise ValueError(f"{scene.screenplay}: no caption called {scene.caption!r}")
    return Screenplay("", (Shot(text),))


def _place(trajectory: Trajectory, info: VideoInfo, spread: bool):
    """A function from frames of the video to poses of the path (fractions).

    A path has a pose for every frame of its video, or takes as long as it; with `spread` (DataDoP's 120 poses) it is
    told whole, at no rate.
    """
    count = len(trajectory)
    if count == info.frames:
        return lambda frame_F: np.array(frame_F, np.float64)
    if spread:
        return lambda frame_F: np.asarray(frame_F) * (count - 1) / max(info.frames - 1, 1)
    seconds_T = np.arange(count) / trajectory.fps if trajectory.time_T is None else trajectory.time_T
    seconds_T = seconds_T - seconds_T[0]
    step, frame = 1 / trajectory.fps, 1 / info.fps
    if abs(seconds_T[-1] + step - info.frames * frame) > max(_TOLERANCE, 1.5 * step):
        raise ValueError(
            f"the lengths do not match: {count} poses in {seconds_T[-1] + step:.2f} s for {info.frames} frames in "
            f"{info.frames * frame:.2f} s; give one pose per frame, or the path's fps or times"
        )
    return lambda frame_F: np.interp(np.asarray(frame_F) * frame, seconds_T, np.arange(count))


def _pose_edges(trajectory: Trajectory, place, cut_F: list[int]) -> list[int]:
    """First pose of every shot, and the end: no pose is interpolated over a cut."""
    if trajectory.num_shots > 1:
        edges = [start for start, _ in trajectory.spans] + [len(trajectory)]
    else:
        edges = [0, *(math.ceil(place(cut) - 1e-6) for cut in cut_F), len(trajectory)]
    if min(np.diff(edges)) < 1:
        raise ValueError(f"{len(trajectory)} poses are too few: a shot has none of its own")
    return edges


def _camera(
    trajectory: Trajectory, place_F: np.ndarray, info: VideoInfo, size: tuple[int, int]
) -> dict[str, np.ndarray | str]:
    """Poses at places of the path, the lens once resized and cut to `size` (width, height), and the world."""
    world = FIRST_CAMERA if trajectory.stage_34 is None else STAGE
    origin_34 = trajectory.pose_T34[0] if trajectory.stage_34 is None else trajectory.stage_34
    pose_F34 = se3.compose(se3.inverse(origin_34), se3.resample(trajectory.pose_T34, place_F)).astype(np.float32)
    fx, fy, cx, cy = trajectory.resized(info.width, info.height).intrinsics_T4[0]
    larger = max(size[0] / info.width, size[1] / info.height)
    centre = [larger * c - (larger * whole - part) / 2 for c, whole, part in zip((cx, cy), info[2:], size, strict=True)]
    return {
        "pose_T34": pose_F34[::LATENT_STRIDE],
        "path_F34": pose_F34,
        "intrinsics": np.array([larger * fx, larger * fy, *centre], np.float32),
        "world": world,
    }
