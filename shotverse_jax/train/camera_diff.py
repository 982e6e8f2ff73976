"""CameraDiff (arXiv 2412.12223): an adapter for each class of cinematic language, all of them in one file.

FOLDER/films/pan-left/train, …/test   the clips of a class, encoded
FOLDER/runs/pan-left/high             the run of an adapter, as `launch.train` makes it
FOLDER/styles.safetensors             the adapters of all classes that were trained so far, for `--lora`

Every stage that is there is not done again, so that a call that was stopped goes on, and a later one adds classes.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax import train
from shotverse_jax.cinematic.phrases import named
from shotverse_jax.config import ControllerConfig, ControllerTrainConfig
from shotverse_jax.conversion.adapters import read_loras
from shotverse_jax.conversion.styles import write_styles
from shotverse_jax.data.cinematic2k import ClipFile, read_clips
from shotverse_jax.data.encode import to_latents
from shotverse_jax.data.records import alone, write_dataset
from shotverse_jax.files import owned
from shotverse_jax.inputs.camera_clip import spread
from shotverse_jax.screenplay import LATENT_STRIDE, Screenplay, Shot, to_text
from shotverse_jax.views.video import probe_video, read_video
from shotverse_jax.weights import find
from shotverse_jax.weights.folder import has, read_config

STYLES = "styles.safetensors"
FILMS = {"train": "train", "val": "test"}
"""Splits of clips, and the folders that their films are in; the split "test" is for scores."""
ENCODED = 16
"""Clips that are encoded at once."""

_WANTED = (
    "a controller without cameras: what `shotverse get wan2.2-t2v-a14b` fetches, or one that was trained as "
    "docs/cinematic.md says"
)

Progress = Callable[[str, int, int], None]


class Stopped(Exception):
    """A run was asked to stop; its checkpoint is there, and the same call goes on."""


@dataclasses.dataclass(frozen=True)
class ClassFilms:
    """Clips as the records that controllers are trained on: `source[i]` is a record (`data.stage_films.StageFilms`).

    Every clip is one shot. Its whole way is shown in as many frames as the controller films, so that a longer clip
    becomes a faster one. Its camera is not known: only controllers without cameras learn from it.

    Attributes:
        clips: of one class.
        frames, height, width, fps: of the films.
    """

    clips: Sequence[ClipFile]
    frames: int
    height: int
    width: int
    fps: float

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, np.ndarray | str]:
        """The record of a clip. Raises ValueError for a video that cannot be read."""
        clip = self.clips[index]
        times = spread(probe_video(clip.path).frames, self.frames)
        play = Screenplay("", (Shot(clip.caption),), self.fps, self.width, self.height, self.frames)
        latents = (self.frames - 1) // LATENT_STRIDE + 1
        return {
            "video": read_video(clip.path, times, self.width, self.height),
            "pose_T34": np.tile(np.eye(3, 4, dtype=np.float32), (latents, 1, 1)),
            "shot_T": np.zeros(latents, np.int32),
            "intrinsics": np.array([self.width, self.width, self.width / 2, self.height / 2], np.float32),
            "prompt": to_text(play, "holocine"),
            "seed": str(index),
        }


def train_classes(
    config: ControllerTrainConfig,
    clips: str | Path,
    classes: Sequence[str],
    folder: str | Path,
    experts: Sequence[str] = ("high",),
    progress: Progress = lambda what, done, total: None,
) -> Path:
    """Trains an adapter for each class; returns the file that holds those of all classes of the folder.

    Args:
        config: of every run; the class decides `data` and `test_data`.
        clips: folder of clips (`data.cinematic2k`).
        classes: their names.
        folder: of films, runs and the file.
        experts: which experts of the controller learn.
        progress: called with (message, 0, 0).

    Raises:
        ValueError: an unknown class or one without clips, a controller with cameras, or a base that is not there.
        Stopped: a run was asked to stop.
    """
    folder, files = Path(folder), read_clips(clips)
    config = on_base(config, experts)
    for name in classes:
        named(name)
        for split in FILMS:
            if not any(clip.name == name and clip.split == split for clip in files):
                raise ValueError(f"{clips} has no clips of the class {name} in its split {split}")
    with owned(folder):
        for name in classes:
            data = _encode(config, files, name, folder / "films" / name, progress)
            for expert in experts:
                run = folder / "runs" / name / expert
                _train(dataclasses.replace(config, expert=expert, **data), run, f"{name}, expert {expert}", progress)
        return collect(folder, config)


def on_base(config: ControllerTrainConfig, experts: Sequence[str]) -> ControllerTrainConfig:
    """Returns the config with the model of `base_weights`, to which the adapters belong.

    Only the adapters themselves and the size of the films stay those of the config.

    Raises:
        ValueError: a controller with cameras, or none that can be trained on.
    """
    model = config.model
    if model.camera != "none":
        raise ValueError("CameraDiff's adapters belong to a model without cameras; give --config.model.camera=none")
    if not config.base_weights:
        raise ValueError(f"give --config.base_weights, {_WANTED}")
    folder = find("controller", config.base_weights)
    known = read_config(folder, ControllerConfig)
    if has(folder, "base.safetensors"):
        known = dataclasses.replace(known, dit=dataclasses.replace(known.dit, rope="wan3d"))
    else:
        for expert in experts:
            if not has(folder, f"{expert}.safetensors"):
                raise ValueError(f"{config.base_weights} has no expert {expert}; give --config.base_weights, {_WANTED}")
            if known.expert(expert).camera:
                raise ValueError(
                    f"the expert {expert} of {config.base_weights} is told where the camera is, and learns nothing of "
                    f"it from words; give --config.base_weights, {_WANTED}"
                )
    own = {name: getattr(model, name) for name in ("lora", "camera", "frames", "height", "width", "fps")}
    return dataclasses.replace(config, model=dataclasses.replace(known, **own))


def _encode(
    config: ControllerTrainConfig, files: Sequence[ClipFile], name: str, folder: Path, progress: Progress
) -> dict[str, str]:
    """Encodes the clips of a class; returns the values `data` and `test_data`."""
    model, places = config.model, {}
    step, more = to_latents(model.vae, ENCODED)
    for split, part in FILMS.items():
        chosen = [clip for clip in files if clip.name == name and clip.split == split]
        source = ClassFilms(chosen, model.frames, model.height, model.width, model.fps)
        settings = {field: value for field, value in vars(source).items() if field != "clips"}
        settings |= {"source": "clips", "class": name, "clips": [clip.caption for clip in chosen], **more}
        progress(f"{name}: encoding {len(chosen)} clips of the split {split} …", 0, 0)
        with alone(folder / part):
            write_dataset(folder / part, source, settings, step)
        places[split] = str(folder / part)
    return {"data": places["train"], "test_data": places["val"]}


def _train(config: ControllerTrainConfig, run: Path, what: str, progress: Progress) -> None:
    if (run / "export" / "adapter").is_dir():
        return
    progress(f"{what}: training {config.steps} steps …", 0, 0)
    task = train.build(config, run)
    state = train.train(task, run)
    if int(state.step) < config.steps:
        raise Stopped(f"{what}: stopped at step {int(state.step)}")
    train.export(task, state, run / "export")


def collect(folder: str | Path, config: ControllerTrainConfig) -> Path:
    """Writes the adapters of all runs of a folder to its file; returns that.

    Raises:
        ValueError: there is none, or one cannot be read.
    """
    folder, specs = Path(folder), []
    for export in sorted(folder.glob("runs/*/*/export")):
        name, expert = export.parts[-3:-1]
        specs.append(f"{name}={export}:{expert}")
    if not specs:
        raise ValueError(f"{folder} has no adapters")
    loras: list[Any] = read_loras(specs, config.model)
    write_styles(folder / STYLES, loras)
    return folder / STYLES
