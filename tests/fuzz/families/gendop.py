"""GenDoP's inputs, data sets like DataDoP, latents of CLaTr, and pictures of paths."""

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from PIL import Image

from shotverse_jax.camera.formats import read_trajectory, write_trajectory
from shotverse_jax.camera.tokens.gendop import GenDoPTokenizer
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import CLIPVisionConfig, GenDoPTokenConfig
from shotverse_jax.data.datadop.shots import CAPTIONS, PARTS, list_shots, read_captions
from shotverse_jax.evaluation.features import clatr_files
from shotverse_jax.evaluation.features.clatr import CLaTrReader
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer import gendop
from shotverse_jax.infer.decode import Drawn
from tests.fuzz import mutations
from tests.fuzz.families.cameras import sample, write_all
from tests.fuzz.harness import Ended, Family, command, ended, expect
from tests.helpers import clips, small_models

SHOTS = ("1_0000/shot_0001", "1_0000/shot_0002", "1_0001/shot_0001")
SOME_FAILED = 3
"""Exit code of a command that left some shots out."""


def dataset(folder: Path) -> None:
    """A data set of three whole shots in `train`, and the results of MonST3R that it was made of, in `Monst3r`."""
    for number, name in enumerate(SHOTS):
        clips.monst3r(folder / "Monst3r" / name / "NULL", count=18, black=0, move=1.0 + number)
    data = folder / "DataDoP"
    command("datadop", "build", folder / "Monst3r", "--out", data, "--split", "train", "--quiet")
    for shot in list_shots(data, "train"):
        captions = {key: f"{key} of {shot.name}." for key in CAPTIONS.values()}
        shot.path("caption").write_text(json.dumps(captions), encoding="utf-8")
        shot.path("plot").write_bytes(shot.path("rgb").read_bytes())
    command("datadop", "check", data, "--write", "--quiet")


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder by their names."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in mutations.files_of(folder)}


def same_files(name: str) -> Callable[[str], bool]:
    """Whether a file is one of a shot's."""
    return lambda file: any(file == f"train/{name}{ending}" for ending in PARTS.values())


# ------------------------------------------------------------------------------------------------- GenDoP's inputs


class Asked(NamedTuple):
    """A call of `shotverse gendop`.

    Attributes:
        folder: of the case.
        arguments: without the model and the folder of results.
        whole: names of the shots of a data set that nobody touched; None without a data set.
    """

    folder: Path
    arguments: list[str]
    whole: tuple[str, ...] | None

    @property
    def out(self) -> Path:
        """The folder of results."""
        return self.folder / "out"


class Cases(Family):
    """`gendop` with damaged captions, pictures, depth maps, lists and data sets; tokens are drawn beforehand.

    What is accepted has a record for every shot, the prediction of those tokens, and the caption that a plain reader
    finds; shots that nobody touched have all files of a whole run. A refusal leaves nothing.
    """

    name, share = "gendop", 0.75

    def make(self) -> None:
        """A network of all conditions, the files of a case, a data set, and a whole run of it."""
        self.model = small_models.gendop(self.place, CLIPVisionConfig(16, 1, 2, 16, 4, 8))
        self.planner = gendop.GenDoPPlanner.load(str(self.model))
        rng, case = np.random.default_rng(0), self.place / "case"
        case.mkdir()
        picture = Image.fromarray(rng.integers(0, 255, (20, 30, 3)).astype(np.uint8))
        picture.save(case / "a_rgb.png")
        picture.save(case / "photo.jpg")
        np.save(case / "a_depth.npy", rng.random((20, 30)).astype(np.float32))
        Image.fromarray(rng.integers(1, 9000, (20, 30)).astype(np.uint16)).save(case / "depth.png")
        Image.fromarray(rng.random((20, 30)).astype(np.float32)).save(case / "depth.tif")
        captions = {"Movement": "The camera moves right.", "Concise Interaction": "The camera passes a cup."}
        (case / "a_caption.json").write_text(json.dumps(captions), encoding="utf-8")
        (case / "cases.txt").write_text("The camera moves right.\nThe camera pans left.\n", encoding="utf-8")
        dataset(self.place)
        path = sample_example(0, num_shots=1).trajectory
        self.ids_N = GenDoPTokenizer(GenDoPTokenConfig()).encode(path)
        whole = self.place / "whole"
        self._run(["--data", str(self.place / "DataDoP"), "--split", "train"], whole)
        self.expected = contents(whole)
        self.prediction = self.expected[f"train/{SHOTS[0]}_transforms_pred.json"]

    def damage(self, draw: Random, folder: Path) -> Asked:
        """The call."""
        if draw.random() < 0.4:
            data = shutil.copytree(self.place / "DataDoP", folder / "DataDoP")
            before = contents(data)
            mutations.of_folder(data, draw)
            after = contents(data)
            changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
            whole = tuple(name for name in SHOTS if not any(map(same_files(name), changed)))
            if any("_valid" in name for name in changed):
                whole = ()
            key = ["--text-key", draw.choice((*CAPTIONS, *CAPTIONS.values()))] if draw.random() < 0.3 else []
            return Asked(folder, ["--data", str(data), "--split", "train", *key], whole)
        shutil.copytree(self.place / "case", folder / "case")
        if draw.random() < 0.85:
            mutations.of_folder(folder / "case", draw)
        return Asked(folder, self._options(draw, folder / "case"), None)

    @staticmethod
    def _options(draw: Random, case: Path) -> list[str]:
        given = {
            "--image": str(case / draw.choice(("a_rgb.png", "photo.jpg"))),
            "--depth": str(case / draw.choice(("a_depth.npy", "depth.png", "depth.tif"))),
            "--text-path": str(case / draw.choice(("a_caption.json", "a_caption.json", "cases.txt"))),
        }
        modes = (("--image",), ("--image", "--text-path"), ("--image", "--depth"), tuple(given))
        arguments = [f"{name}={given[name]}" for name in draw.choice(modes)]
        odd = draw.choice(
            (*mutations.NUMBERS, "\x1b[2J", "../a", "/a", ".", "a/b", "é" * 300, "a\nb", "Movement", "text")
        )
        if draw.random() < 0.3:
            arguments.append(
                f"{draw.choice(('--name', '--text-key', '--text', '--seed', '--samples', '--mode'))}={odd}"
            )
        return arguments

    def read(self, subject: Asked) -> Ended:
        """Runs the command."""
        try:
            return self._run(subject.arguments, subject.out)
        except ValueError:
            expect(not subject.out.exists(), "a refused command left something")
            raise

    def _run(self, arguments: list[str], out: Path) -> Ended:
        options = ["--model", self.model, "--out", out, "--no-plot", "--no-preview", "--quiet"]
        with (
            mock.patch.object(gendop, "_prefix", self._prefix),
            mock.patch.object(gendop, "_decode", self._decode),
            mock.patch.object(gendop.GenDoPPlanner, "load", lambda *_, **__: self.planner),
            mock.patch("shotverse_jax.commands.gendop.use_compilation_cache"),
            mock.patch("shotverse_jax.commands.gendop.stop_on_signals"),
        ):
            return ended("gendop", *arguments, *options, good=(0, SOME_FAILED))

    @staticmethod
    def _prefix(params: Any, config: Any, execution: Any, *inputs: np.ndarray | None) -> np.ndarray:
        """In place of the towers: what they would read is looked at."""
        expect(all(value is None or bool(np.isfinite(value).all()) for value in inputs), "an input is not finite")
        return next(value for value in inputs if value is not None)

    def _decode(self, planner: Any, prefix_BPD: np.ndarray, key: Any, sampling: Any) -> Drawn:
        rows = len(prefix_BPD)
        return Drawn(np.tile(self.ids_N, (rows, 1)), np.zeros((rows, len(self.ids_N)), np.float32))

    def check(self, subject: Asked, value: Ended) -> None:
        """Records, predictions and captions."""
        found = contents(subject.out)
        outside = [path for path in mutations.files_of(subject.folder) if path.name.endswith("_transforms_pred.json")]
        expect(all(path.is_relative_to(subject.out) for path in outside), "a result is outside of its folder")
        made = [name for name in found if name.endswith("_transforms_pred.json")]
        expect(all(found[name] == self.prediction for name in made), "a prediction is another one")
        records = [json.loads(data) for name, data in found.items() if name.endswith("_result.json")]
        expect(bool(records) or value.code == SOME_FAILED, "there is no record")
        for record in records:
            expect(set(record["files"]) <= found.keys() | {f"{record['id']}_result.json"}, "a file is not there")
        if subject.whole is None:
            return
        lines = [json.loads(line) for line in found["results.jsonl"].decode().split("\n") if line]
        failed = [line["id"] for line in lines if line["error"]]
        expect((value.code == SOME_FAILED) == bool(failed), f"exit code {value.code}, and {failed} failed")
        keyed = "--text-key" in subject.arguments
        for name in subject.whole:
            if f"train/{name}" in failed and keyed:
                continue  # no such caption
            files = {file for file in self.expected if file.startswith(f"train/{name}_")}
            expect(files <= found.keys(), f"{name} was not made: {sorted(files - found.keys())}")
            same = all(found[file] == self.expected[file] for file in files if not file.endswith("_result.json"))
            expect(same, f"{name} is another one, and nobody touched it")

    def names(self, subject: Asked, folder: Path, message: str) -> bool:
        """The file or the option."""
        options = ("--text", "--name", "--seed", "--samples", "--mode", "a name of results", "the mode", "no mode")
        return str(folder) in message or any(option in message for option in options)


# ------------------------------------------------------------------------------------------------- DataDoP


ACTIONS = ("check", "check", "clean", "caption", "plot", "build", "write")


class DataDoP(Family):
    """`datadop` on damaged data sets and results of MonST3R.

    A shot is said to be left out, or its files read back as what a whole shot has: 120 finite rigid poses, captions
    that are texts, a picture and a depth map of one size. Shots that nobody touched have the bytes of a whole run.
    """

    name, share, refuses = "datadop", 0.75, False

    def make(self) -> None:
        """A data set, and what every action makes of it."""
        dataset(self.place)
        self.expected = {}
        for action in dict.fromkeys(ACTIONS):
            folder = self.place / f"after_{action}"
            self._copy(folder)
            self._run(action, folder)
            self.expected[action] = contents(folder / "DataDoP")

    def _copy(self, folder: Path) -> None:
        for part in ("DataDoP", "Monst3r"):
            shutil.copytree(self.place / part, folder / part)

    @staticmethod
    def _run(action: str, folder: Path) -> Ended:
        data = folder / "DataDoP"
        more = {"build": ["--out", data, "--split", "train"], "write": ["--write"], "check": []}
        arguments = ["check" if action == "write" else action, folder / "Monst3r" if action == "build" else data]
        return ended("datadop", *arguments, *more.get(action, []), "--overwrite", "--quiet", good=(0, SOME_FAILED))

    def damage(self, draw: Random, folder: Path) -> tuple[str, Path, set[str]]:
        """(the action, the folder, the names of files that were changed)."""
        action = draw.choice(ACTIONS)
        self._copy(folder)
        before = contents(folder)
        part = folder / ("Monst3r" if action == "build" else "DataDoP")
        files = mutations.files_of(part)
        if action == "build" and draw.random() < 0.7:  # most of the files are frames
            files = [file for file in files if file.suffix == ".txt"]
        mutations.of_folder(part, draw, files)
        after = contents(folder)
        return action, folder, {name for name in {*before, *after} if before.get(name) != after.get(name)}

    def read(self, subject: tuple[str, Path, set[str]]) -> Ended:
        """Runs the command."""
        with np.errstate(all="ignore"):
            return self._run(*subject[:2])

    def check(self, subject: tuple[str, Path, set[str]], value: Ended) -> None:
        """Shots that were left out, and those that were not."""
        action, folder, changed = subject
        left_out = {line.split(": ")[0].removeprefix("left out ") for line in value.err.split("\n") if line}
        expect((value.code == SOME_FAILED) == bool(left_out), f"exit code {value.code}, and {left_out} are left out")
        listed = any("_valid" in name for name in changed)
        after, expected = contents(folder / "DataDoP"), self.expected[action]
        for name in SHOTS:
            if not any(f"/{name}/" in f"{file}/" or f"/{name}_" in file for file in changed) and not listed:
                mine = same_files(name)
                expect(name not in left_out, f"{name} is left out, and nobody touched it")
                files = [file for file in {*after, *expected} if mine(file)]
                expect(all(after.get(file) == expected.get(file) for file in files), f"{name} is another one")
        for shot in list_shots(folder / "DataDoP", "train", "traj" if action == "clean" else "transforms"):
            if shot.name not in left_out:
                self._whole(action, shot)

    @staticmethod
    def _whole(action: str, shot: Any) -> None:
        """Plain readers find in a shot what it should hold."""
        if action in ("check", "write", "clean", "build"):
            path = read_trajectory(shot.path("transforms"), "nerfstudio")
            expect(len(path) == 120 and bool(np.isfinite(path.pose_T34).all()), f"{shot.name} has no 120 poses")
        if action in ("check", "write", "build"):
            with Image.open(shot.path("rgb")) as picture:
                expect(picture.size == np.load(shot.path("depth")).shape[::-1], f"{shot.name} has two sizes")
        if action in ("check", "write", "caption"):
            captions = read_captions(shot.path("caption"))
            expect(bool(captions["Movement"].strip()), f"{shot.name} has no caption")
        if action == "plot":
            with Image.open(shot.path("plot")) as picture:
                picture.load()

    def names(self, subject: Any, folder: Path, message: str) -> bool:
        """The folder."""
        return str(folder) in message


# ------------------------------------------------------------------------------------------------- CLaTr's latents


class Features(Family):
    """Folders of CLaTr's latents: settings and parts that were changed, and camera paths that were, before it goes on.

    What is read is what a run that nobody disturbed wrote, bit for bit.
    """

    name, share = "features", 1.5

    def make(self) -> None:
        """Four scenes, and their latents in parts of two."""
        self.network = CLaTrReader.load(small_models.clatr(self.place))
        for number in range(4):
            path = sample_example(number, num_shots=1).trajectory
            write_trajectory(path, self.place / "paths" / f"s_{number}.json", "shotverse")
        caption = json.dumps({"Movement": "The camera moves right."})
        (self.place / "paths" / "s_1_caption.json").write_text(caption, encoding="utf-8")
        self._write(self.place)
        self.whole = self._read(self.place)

    def _write(self, folder: Path) -> list[str]:
        with mock.patch.object(clatr_files, "PART", 2):
            return clatr_files.write_features(folder / "paths", folder / "out", self.network)

    @staticmethod
    def _read(folder: Path) -> dict[str, np.ndarray]:
        with mock.patch.object(clatr_files, "PART", 2):
            return clatr_files.read_features(folder / "out")

    def damage(self, draw: Random, folder: Path) -> Path:
        """The folder of both."""
        for part in ("paths", "out"):
            shutil.copytree(self.place / part, folder / part)
        part = draw.choice(("out", "out", "out", "paths"))
        mutations.of_folder(folder / part, draw)
        return folder

    def read(self, subject: Path) -> dict[str, np.ndarray]:
        """Goes on, and reads all."""
        self._write(subject)
        return self._read(subject)

    def check(self, subject: Path, value: dict[str, np.ndarray]) -> None:
        """The same arrays."""
        expect(value.keys() == self.whole.keys(), f"there are {sorted(value)}")
        for name, array in self.whole.items():
            same = value[name].dtype == array.dtype and value[name].tobytes() == array.tobytes()
            expect(same, f"{name} is another one")


# ------------------------------------------------------------------------------------------------- pictures


TITLES = (
    "",
    "$x_{$",
    "\\frac{$",
    "a\nb",
    "\x1b[2J\x00",
    "镜头" * 40,
    "é" * 3000,
    "\ud800",
    "<svg/>&amp;",
    "%s{}",
    "\u202e",
)
STARTS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


class Plots(Family):
    """`plot` of damaged paths of all formats, in all styles and with odd options.

    What is accepted is a picture, or a script that Python can read. A refusal leaves nothing.
    """

    name, share = "plots", 0.75

    def make(self) -> None:
        """A file or folder of every format."""
        self.paths = write_all(self.place)
        shots = Trajectory(sample().pose_T34, [9, 9, 4, 3], 8, 6, [0, 0, 1, 1], captions=("$a_{$", "\\b$"))
        write_trajectory(shots, self.place / "odd.json", "shotverse")
        self.paths["odd"] = self.place / "odd.json"

    def damage(self, draw: Random, folder: Path) -> tuple[list[str], Path]:
        """(the arguments, the file that is written)."""
        source = self.paths[draw.choice(sorted(self.paths))]
        path = folder / source.name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, path)
        if draw.random() < 0.7:
            mutations.of_file(draw.choice(mutations.files_of(path)) if path.is_dir() else path, draw)
        style = draw.choice(("views", "views", "stage", "blender", "blender"))
        suffix = draw.choice((".png", ".svg", ".pdf", ".PNG", ".jpg", ".x", "", ".py"))
        if style == "blender" or draw.random() < 0.3:
            suffix = ".py" if style == "blender" else ".png"
        out = folder / "out" / f"a{suffix}"
        arguments = [str(path), "--out", str(out), "--style", style, "--quiet"]
        if draw.random() < 0.3:
            arguments.append(f"--title={draw.choice(TITLES)}")
        if draw.random() < 0.3:
            arguments.append(f"--cameras={draw.choice((*mutations.NUMBERS, '1', '2', '1000000000'))}")
        return arguments, out

    def read(self, subject: tuple[list[str], Path]) -> str:
        """Runs the command."""
        with np.errstate(all="ignore"):
            try:
                return command("plot", *subject[0])
            except ValueError:
                expect(not subject[1].parent.exists(), "a refused command left something")
                raise

    def check(self, subject: tuple[list[str], Path], value: str) -> None:
        """A picture or a script, with nothing beside it."""
        out = subject[1]
        expect([path.name for path in out.parent.iterdir()] == [out.name], "it left other files")
        if out.suffix == ".py":
            ast.parse(out.read_text(encoding="utf-8"))
        elif out.suffix.lower() in STARTS:
            expect(out.read_bytes().startswith(STARTS[out.suffix.lower()]), "it is no such picture")

    def names(self, subject: Any, folder: Path, message: str) -> bool:
        """The file or the option."""
        return str(folder) in message or "--cameras" in message or "--title" in message
