"""Trajectory files of every format, and the options with which they are read and written."""

import dataclasses
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import FORMATS, read_trajectory, write_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from tests.fuzz import mutations
from tests.fuzz.harness import Family, command, expect

READABLE = [name for name, form in FORMATS.items() if form.read]


def sample() -> Trajectory:
    """Four poses in two shots, with captions and a stage."""
    rng = np.random.default_rng(0)
    pose_T34 = se3.make(se3.so3_exp(rng.normal(size=(4, 3))), rng.normal(size=(4, 3)))
    return Trajectory(pose_T34, [9, 9, 4, 3], 8, 6, [0, 0, 1, 1], captions=("a", "b"), stage_34=np.eye(3, 4))


def write_all(place: Path, path: Trajectory | None = None) -> dict[str, Path]:
    """Writes a small path (default `sample`) in every format that can be read; returns format → file or folder."""
    paths = {name: place / name / f"a{FORMATS[name].extension}" for name in READABLE}
    for name, file in paths.items():
        write_trajectory(sample() if path is None else path, file, name)
    return paths


def check_trajectory(trajectory: Trajectory, scratch: Path) -> None:
    """Raises Different unless a path is finite and rigid, and the same after it was written and read again."""
    rotation = trajectory.pose_T34[:, :, :3]
    expect(bool(np.isfinite(trajectory.pose_T34).all()), "a pose is not finite")
    expect(np.abs(rotation @ rotation.swapaxes(1, 2) - np.eye(3)).max() < 1e-9, "a rotation is not orthonormal")
    expect(np.isfinite(trajectory.seconds_T).all(), "a time is not finite")
    write_trajectory(trajectory, scratch, "shotverse")
    again = read_trajectory(scratch, "shotverse")
    for name in ("pose_T34", "intrinsics_T4", "seconds_T", "shot_T"):
        ours, theirs = getattr(again, name), getattr(trajectory, name)
        close = ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())
        expect(close, f"{name} is another one after it was written and read")
    ours, theirs = again.focus_T2, trajectory.focus_T2
    close = ours is theirs or (ours is not None and theirs is not None and np.allclose(ours, theirs, rtol=1e-9))
    expect(close, "the focus is another one after it was written and read")
    same = (again.width, again.height, again.captions) == (trajectory.width, trajectory.height, trajectory.captions)
    expect(same, "size or captions are others after they were written and read")


class Trajectories(Family):
    """Trajectory files, read by their format's name or recognised.

    An accepted file is a path of finite numbers and rotations, which is the same after it was written and read again.
    """

    name, share = "trajectories", 44

    def make(self) -> None:
        """A file or folder of every format."""
        self.paths = write_all(self.place)
        self.others = [file.read_bytes() for file in mutations.files_of(self.place)]

    def damage(self, draw: Random, folder: Path) -> tuple[Path, str | None, Path]:
        """(the file, the format that is named or None, a place to write to)."""
        name = draw.choice(READABLE)
        path = folder / self.paths[name].name
        copy = shutil.copytree if FORMATS[name].folder else shutil.copyfile
        copy(self.paths[name], path)
        if FORMATS[name].folder and draw.random() < 0.3:
            mutations.of_folder(path, draw)
        else:
            for _ in range(draw.choice((1, 1, 1, 2, 3))):
                file = draw.choice(mutations.files_of(path)) if path.is_dir() else path
                mutations.of_file(file, draw, [draw.choice(self.others)])
        return path, draw.choice((name, None)), folder / "again.json"

    def read(self, subject: tuple[Path, str | None, Path]) -> Trajectory:
        """The path."""
        with np.errstate(all="ignore"):
            return read_trajectory(*subject[:2])

    def check(self, subject: tuple[Path, str | None, Path], value: Trajectory) -> None:
        """See `check_trajectory`."""
        check_trajectory(value, subject[2])


class Focused(Trajectories):
    """Trajectory files of a path that zooms and is focused in its first shot, as `Trajectories`."""

    name, share = "focused", 6

    def make(self) -> None:
        """A file or folder of every format."""
        zoom_T4 = np.array([9, 9, 0, 0]) * np.linspace(1, 2, 4)[:, None] + [0, 0, 4, 3]
        focus_T2 = [[2, 2.8], [3, 2.8], [0, 0], [0, 0]]
        self.paths = write_all(self.place, dataclasses.replace(sample(), intrinsics_T4=zoom_T4, focus_T2=focus_T2))
        self.others = [file.read_bytes() for file in mutations.files_of(self.place)]


FITTING = ("quaternion=wxyz", "up=z", "up=-y", "width=800", "height=100", "focal=500", "fov=50", "fps=24", "fps=0.001")
FITTING += (
    "fps=100000",
    "tolerance=0.5",
    "lost=skip",
    "lens=pinhole",
    "mirror_world=false",
    "mirror-world=true",
    "fov=1e-9",
)
FITTING += (
    "width=1000000",
    "width=1",
    "focal=1e9",
    "focal=1e-9",
    "lost=interpolate",
    "tolerance=1e9",
    "fov=179.999999",
)
SETTING = (
    "rate=24",
    "rate=0.001",
    "rate=1e6",
    "frames=81",
    "frames=1",
    "keyframes=3",
    "relative=false",
    "clip=a",
    "title=b",
)
OPTIONS = ("quaternion", "up", "width", "height", "focal", "fov", "fps", "mirror_world", "lens", "lost", "tolerance")
OPTIONS += ("camera", "frames", "rate", "clip", "fov_y", "sensor", "world", "x", "", "up ", "mirror-world", "\x1b[2J")
VALUES = ("wxyz", "xyzw", "x", "z", "-y", "true", "false", "refuse", "pinhole", "skip", "interpolate", "all", "cam01")
VALUES += ("24", "23.976", "[1, 2]", "{a: 1}", "null", "~", "2020-01-01", "!!int x", "!!python/object:os.system", "*a")
VALUES += (
    "&a [*a]",
    "[" * 2000,
    "'",
    '"',
    "[]",
    "{}",
    "=",
    "a: b",
    "\x00",
    "\x1b[2J",
    "é" * 3000,
    "1:30",
    "0b1",
    "1e3",
)


class Options(Family):
    """`export` with options NAME=VALUE of reading and of writing.

    An accepted command wrote a file, and wherever that can be read it is a path as in `Trajectories`. After a refusal
    there is no file.
    """

    name, share = "options", 10

    def make(self) -> None:
        """A file or folder of every format."""
        self.paths = write_all(self.place)

    def damage(self, draw: Random, folder: Path) -> tuple[list[str], str, Path]:
        """(the arguments of the command, the format that is written, its file)."""
        source, to = draw.choice(READABLE), draw.choice([name for name, form in FORMATS.items() if form.write])
        out = folder / f"out{FORMATS[to].extension}"
        arguments = ["--quiet", self.paths[source], "--to", to, "--out", out]
        for kind in draw.choice((["--read"], ["--set"], ["--read", "--read"], ["--read", "--set"])):
            name = draw.choice(OPTIONS[:14])
            if draw.random() < 0.15:
                name = draw.choice(OPTIONS)
            value = draw.choice((draw.choice(VALUES), draw.choice(mutations.NUMBERS)))
            # A word of its own even where it begins with a dash.
            option = f"{name}{'=' * (draw.random() < 0.98)}{value}"
            if draw.random() < 0.6:
                option = draw.choice(FITTING if kind == "--read" else SETTING)
            arguments.append(f"{kind}={option}")
        return [str(argument) for argument in arguments], to, out

    def read(self, subject: tuple[list[str], str, Path]) -> None:
        """Runs the command."""
        arguments, _, out = subject
        try:
            with np.errstate(all="ignore"):
                command("export", *arguments)
        except ValueError:
            expect(not out.exists(), "a refused command left its file")
            expect(not list(out.parent.iterdir()), "a refused command left something")
            raise

    def check(self, subject: tuple[list[str], str, Path], value: None) -> None:
        """The file is there, and is a path."""
        _, to, out = subject
        expect(out.exists(), "the command wrote no file")
        if FORMATS[to].read:
            with np.errstate(all="ignore"):
                try:
                    check_trajectory(read_trajectory(out, to), out.with_name("again.json"))
                except ValueError as error:
                    expect(False, f"what was written is refused: {error}")

    def names(self, subject: Any, folder: Path, message: str) -> bool:
        """The option, the format or the file."""
        return message.startswith("shotverse export: ") or "argument" in message
