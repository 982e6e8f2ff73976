"""Data: encoded records and what training reads of them, scenes of people's own, and video files."""

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import UMT5Config, WanDiTConfig, controller_small, planner_small
from shotverse_jax.data.controller_source import ControllerSource
from shotverse_jax.data.planner_source import PlannerSource, RecordedScenes
from shotverse_jax.data.pose_source import PoseSource
from shotverse_jax.data.records import NEGATIVE, Record, Records, pack, write_dataset
from shotverse_jax.data.scenes import SceneRecords, find_scenes
from shotverse_jax.views.video import probe_video, read_video, write_video
from shotverse_jax.weights import find_tokenizer
from tests.fuzz import mutations
from tests.fuzz.families.cameras import sample
from tests.fuzz.families.screenplays import TEXTS
from tests.fuzz.harness import Family, expect

PROMPT = (
    "[global caption] A man. This scene contains 2 shots. [per shot caption] Push in. [shot cut] The camera pans left."
)
FILMS = 3


def record(number: int) -> Record:
    """A film of 9 frames in two shots, as `launch/encode.py` writes it, for every network that learns."""
    rng = np.random.default_rng(number)
    pose_T34 = se3.make(se3.so3_exp(rng.normal(size=(3, 3))), rng.normal(size=(3, 3))).astype(np.float32)
    return {
        "latents": rng.normal(size=(3, 2, 4, 4)).astype(np.float16),
        "subject_THW": rng.integers(0, 2, (3, 16, 32), np.uint8),
        "video": rng.integers(0, 255, (9, 8, 8, 3), np.uint8),
        "pose_T34": pose_T34,
        "path_F34": np.repeat(pose_T34, 3, axis=0),
        "shot_T": np.array([0, 0, 1], np.int32),
        "intrinsics": np.array([8, 8, 4, 4], np.float32),
        "text_SD": rng.normal(size=(9, 16)).astype(np.float16),
        "spans": np.array([[1, 4], [4, 6], [6, 8]], np.int32),
        "prompt": PROMPT,
        "world": "stage",
    }


def sources(folder: Path) -> dict[str, Any]:
    """The readers of a data set: name → source of training batches."""
    text = UMT5Config(vocab_size=4096, hidden_size=16, num_layers=1, num_heads=2, head_dim=8, mlp_size=32)
    dit = WanDiTConfig(64, 1, 4, 64, 16, text.hidden_size, 4)
    config = controller_small()
    config = type(config)(**{**{name: getattr(config, name) for name in config.__dataclass_fields__}, "dit": dit})
    tokenizer = str(find_tokenizer("text_small"))
    scenes = RecordedScenes(str(folder))
    planner = planner_small(), str(find_tokenizer("planner_small")), scenes, "train", 0, 2, 4, (0.0, 1.0), (256, 256)
    return {
        "controller": ControllerSource(config, str(folder), tokenizer, 0, 2, 4, 0.0, subjects=True),
        "states": ControllerSource(config, str(folder), tokenizer, 0, 2, 4, 0.5, states=True),
        "pose": PoseSource(str(folder), 0, 2, 4),
        "planner": PlannerSource(*planner),
    }


class Datasets(Family):
    """Encoded records: damaged shards and settings, and whole shards of records that are not as they should be.

    Of a damaged shard every record that is read is one that was written. A batch of records with other arrays has the
    shapes of the batches of whole records, and finite numbers.
    """

    name, share = "datasets", 14

    def make(self) -> None:
        """A data set of three films."""
        films = [record(number) for number in range(FILMS)]
        write_dataset(self.place / "films", films, {"height": 16})
        self._negative(self.place / "films")
        self.whole = {name: source[0] for name, source in sources(self.place / "films").items()}
        self.films = films

    @staticmethod
    def _negative(folder: Path) -> None:
        states = np.ones((4, 16), np.float16)
        (folder / NEGATIVE).write_bytes(pack({"text_SD": states, "spans": np.zeros((0, 2), np.int32)}))

    def damage(self, draw: Random, folder: Path) -> tuple[Path, str | None]:
        """(the data set, the reader that reads it or None for the records themselves)."""
        if draw.random() < 0.4:
            shutil.copytree(self.place / "films", folder / "films")
            mutations.of_folder(folder / "films", draw, contents=0.7)
            return folder / "films", None
        films = [record(number) for number in range(FILMS)]
        film = films[0]
        for films_ in films if draw.random() < 0.5 else [film]:
            self._changed(films_, draw)
        try:
            write_dataset(folder / "films", films, {"height": 16})
        except ValueError:  # safetensors writes no such record
            write_dataset(folder / "films", [record(0)], {})
        self._negative(folder / "films")
        return folder / "films", draw.choice(sorted(self.whole))

    @staticmethod
    def _changed(film: Record, draw: Random) -> None:
        name = draw.choice(sorted(film))
        value = film.pop(name)
        if draw.random() < 0.25:
            return
        if isinstance(value, str):
            film[name] = draw.choice(
                ("", "x", "\x00", mutations.of_text(value.encode(), draw).decode("utf-8", "replace"))
            )
            return
        odd = [value[:0], value[:1], value[..., :1], value[None], value.astype(np.int64), value.astype(np.float64)]
        odd += [value.astype(bool), -value.astype(np.float32), np.zeros((), value.dtype), value.T, value * 0 + 100]
        odd += [np.full(value.shape, bad, np.float32) for bad in (np.nan, np.inf, -1, 1e30)]
        odd += [np.concatenate([value, value]), np.broadcast_to(value, (2, *value.shape)), value.astype(np.float16)]
        film[name] = draw.choice((*odd, "text"))

    def read(self, subject: tuple[Path, str | None]) -> Any:
        """All records, or two batches."""
        folder, name = subject
        if name is None:
            records = Records(folder)
            return [records[index] for index in range(len(records))]
        source = sources(folder)[name]
        if name == "planner" and not source.sample.has_stage():  # as `train/tasks/planner.py` does
            raise ValueError(f"{folder} does not know the stage")
        return [source[step] for step in (0, 1)]

    def check(self, subject: tuple[Path, str | None], value: Any) -> None:
        """The records that were written; batches of the usual shapes."""
        name = subject[1]
        if name is None:
            for film in value:
                expect(any(_same(film, whole) for whole in self.films), "a record is one that was never written")
            return
        bucket, whole = self.whole[name]
        for found, batch in value:
            expect(found == bucket, f"the bucket is {found}")
            expect(batch.keys() == whole.keys(), "other arrays are in the batch")
            for key, array in batch.items():
                expect(array.ndim == whole[key].ndim, f"{key} has the shape {array.shape}, not {whole[key].shape}")
                kind = np.asarray(array).dtype.kind
                expect(kind == whole[key].dtype.kind, f"{key} is {array.dtype}, not {whole[key].dtype}")
                expect(kind != "f" or bool(np.isfinite(array.astype(np.float64)).all()), f"{key} is not finite")


def _same(film: Record, whole: Record) -> bool:
    return film.keys() == whole.keys() and all(
        film[name] == value if isinstance(value, str) else film[name].tobytes() == value.tobytes()
        for name, value in whole.items()
    )


class Scenes(Family):
    """Scenes of people's own without videos: tables, folders and the layout of DataDoP.

    An accepted scene has finite poses, rotations, and shots that are numbered from 0.
    """

    name, share = "scenes", 14

    def make(self) -> None:
        """A table, a folder of two scenes, and a folder as DataDoP's."""
        films, table, datadop = (self.place / name for name in ("folder", "table", "datadop"))
        for folder in (films, table, datadop / "train" / "v"):
            folder.mkdir(parents=True)
        pose_T34 = np.tile(np.eye(3, 4), (24, 1, 1))
        pose_T34[:, 0, 3] = np.arange(24)
        path = Trajectory(pose_T34, [60, 60, 32, 24], 64, 48, np.repeat([0, 1], 12), fps=8.0)
        for name in ("a", "b"):
            write_trajectory(path, films / f"{name}.trajectory.json", "shotverse")
            (films / f"{name}.yaml").write_text(TEXTS["a.yaml"], encoding="utf-8")
        write_trajectory(path, table / "p.json", "shotverse")
        write_trajectory(sample(), table / "p.tum", "tum")
        (table / "a.txt").write_text(TEXTS["labels.txt"].rpartition("Shot 3")[0], encoding="utf-8")
        rows = [
            {"screenplay": "a.txt", "trajectory": "p.json"},
            {"screenplay": PROMPT, "trajectory": "p.tum", "cuts": [2]},
        ]
        (table / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        text = f'video,screenplay,trajectory,cuts\n,a.txt,p.json,\n,"{PROMPT}",p.tum,2\n'
        (table / "s.csv").write_text(text, encoding="utf-8")
        one = Trajectory(pose_T34[:, :, :4], [60, 60, 32, 24], 64, 48, np.zeros(24, int), fps=8.0)
        write_trajectory(one, datadop / "train" / "v" / "s_transforms_cleaning.json", "nerfstudio")
        captions = {"Movement": "Pan left.", "Detailed Interaction": "A man.", "Concise Interaction": "A man walks."}
        (datadop / "train" / "v" / "s_caption.json").write_text(json.dumps(captions), encoding="utf-8")
        (datadop / "train_valid.txt").write_text("v/s\n", encoding="utf-8")

    def damage(self, draw: Random, folder: Path) -> Path:
        """The source."""
        name = draw.choice(("folder", "table", "table", "datadop"))
        shutil.copytree(self.place / name, folder / name)
        mutations.of_folder(folder / name, draw, contents=0.75)
        return folder / name / draw.choice(("s.csv", "s.jsonl")) if name == "table" else folder / name

    def read(self, subject: Path) -> list[Record]:
        """The records of all scenes that can be used; a scene that cannot raises ValueError with its name."""
        scenes = SceneRecords(find_scenes(subject), videos=False)
        records, errors = [], []
        for index in range(len(scenes)):
            try:
                records.append(scenes[index])
            except ValueError as error:
                errors.append(f"{subject}: {error}")
        if errors:
            raise ValueError(errors[0])
        return records

    def check(self, subject: Path, value: list[Record]) -> None:
        """Poses and shots."""
        for film in value:
            rotation = film["pose_T34"][:, :, :3].astype(np.float64)
            expect(bool(np.isfinite(film["pose_T34"]).all()), "a pose is not finite")
            expect(np.abs(rotation @ rotation.swapaxes(1, 2) - np.eye(3)).max() < 1e-5, "a rotation is not orthonormal")
            steps = np.diff(film["shot_T"])
            expect(film["shot_T"][0] == 0 and bool(np.isin(steps, (0, 1)).all()), "shots are not numbered from 0")
            expect(bool(np.isfinite(film["intrinsics"]).all()), "the lens is not finite")


class Videos(Family):
    """Video files, of which frames are read.

    Codecs conceal damage. What is accepted has the frames, the size and the type that were asked for.
    """

    name, share = "videos", 1

    def make(self) -> None:
        """A film of 12 frames."""
        rng = np.random.default_rng(0)
        write_video(self.place / "a.mp4", rng.integers(0, 255, (12, 32, 48, 3), np.uint8), 12.0)

    def damage(self, draw: Random, folder: Path) -> Path:
        """The file."""
        path = folder / draw.choice(("a.mp4", "a.mp4", "a.mkv", "a.mov", "a b'c.mp4"))
        path.write_bytes((self.place / "a.mp4").read_bytes())
        mutations.of_folder(folder, draw, [path], contents=0.9)
        return path

    def read(self, subject: Path) -> tuple[Any, np.ndarray]:
        """What FFmpeg says of it, and three frames."""
        info = probe_video(subject)
        return info, read_video(subject, np.array([0, 3, min(11, info.frames - 1)]), 24, 16)

    def check(self, subject: Path, value: tuple[Any, np.ndarray]) -> None:
        """Frames of that size."""
        info, video_THWC = value
        expect(video_THWC.shape == (3, 16, 24, 3) and video_THWC.dtype == np.uint8, "other frames")
        expect(0 < info.frames < 10**6 and np.isfinite(info.fps) and info.width > 0, f"{info}")
