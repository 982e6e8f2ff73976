"""What a network can do so far: plans or films of one screenplay, made while it is trained."""

import dataclasses
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import jax
import numpy as np

from shotverse_jax import lora
from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.config import TEXT_ENCODERS, ControllerConfig, PlannerConfig, UMT5Config, from_dict
from shotverse_jax.infer.film import Cinematographer, decode, generate, prepare
from shotverse_jax.infer.plan import Director, check, plan
from shotverse_jax.inputs.tokenizer import load_text_tokenizer
from shotverse_jax.models.camera_encoder import split_camera
from shotverse_jax.parallel.mesh import make_mesh
from shotverse_jax.parallel.rules import shardings
from shotverse_jax.parallel.sequence import spread
from shotverse_jax.screenplay import Screenplay, read_screenplay
from shotverse_jax.train.placement import together
from shotverse_jax.train.state import merge
from shotverse_jax.train.task import Task
from shotverse_jax.views.contact_sheet import plot_film
from shotverse_jax.views.plot import plot_trajectory
from shotverse_jax.views.video import enlargement, write_video
from shotverse_jax.weights import find_tokenizer, load
from shotverse_jax.weights.folder import TOKENIZER, read_config

Preview = Callable[[int, dict], None]

FOLDER = "previews"
PLANNER = "planner_small"
"""Plans the cameras of a controller's previews."""


def build(values: dict, folder: Path, task: Task) -> Preview | None:
    """preview(step, variables) of a run in `folder`, from the values of its config; None where it makes none.

    A planner's writes previews/<step>.json and .png, a controller's <step>.mp4 and .png, every time with the same
    random numbers. All processes call it, and the first writes.

    Raises:
        ValueError: a task without previews, or what they need is not there or does not fit.
    """
    if not task.run.preview_every:
        return None
    if values["task"] not in PREVIEWS:
        raise ValueError(f"previews are of {' and '.join(PREVIEWS)}; set preview_every=0 for a {values['task']}")
    screenplay = read_screenplay(task.run.preview or files("shotverse_jax.screenplay") / "last_train.yaml")
    return PREVIEWS[values["task"]](values, folder, task, screenplay)


def _planner(values: dict, folder: Path, task: Task, screenplay: Screenplay) -> Preview:
    config = dataclasses.replace(from_dict(PlannerConfig, values["model"]), lora=None)
    tokenizer = load_text_tokenizer(Path(values["base_weights"] or folder) / TOKENIZER)
    check(Director(config, {}, tokenizer), screenplay)

    def preview(step: int, variables: dict) -> None:
        variables = together(variables)
        if jax.process_index() != 0:
            return
        params = dict(variables["params"])
        if "lora" in variables:
            params["vlm"] = lora.merge(params["vlm"], variables["lora"]["vlm"])
        [[trajectory]] = plan(Director(config, params, tokenizer), [screenplay])
        write_trajectory(trajectory, folder / FOLDER / f"{step}.json", "shotverse")
        plot_trajectory(trajectory, folder / FOLDER / f"{step}.png")

    return preview


def _controller(values: dict, folder: Path, task: Task, screenplay: Screenplay) -> Preview:
    """An expert that is trained films its own noise levels, the base model those of the other."""
    run, mesh = task.run, make_mesh(task.run.mesh)
    config = from_dict(ControllerConfig, values["model"])
    variables = merge(task.trainable, task.frozen)
    text_config, text, tokenizer = _text_encoder(config, values, "text" in variables["params"], mesh)
    vae_config, vae, _ = load("vae", config.vae)
    if vae_config.latent_channels != config.dit.latent_channels:
        raise ValueError(
            f"the VAE {config.vae} has latents of {vae_config.latent_channels} channels and the controller of "
            f"{config.dit.latent_channels}; give model.vae the one that its films were encoded with"
        )
    names = tuple(name if run.expert == name else "base" for name in ("high", "low"))
    execution = spread(dataclasses.replace(run.execution, remat="none"), mesh)
    empty = Cinematographer(config, {}, {}, text_config, text, tokenizer, vae_config, vae, execution, names)
    other = None
    if run.preview_weights and run.expert != "base":
        found, other, _ = load("controller", run.preview_weights, expert="base", mesh=mesh, dtype=run.execution.dtype)
        if found.expert("base") != config.expert("base"):
            raise ValueError(f"preview_weights: {run.preview_weights} is another network than the one that is trained")
    fold = jax.jit(lora.merge, out_shardings=shardings(variables["params"]["dit"], mesh))
    [[trajectory]] = plan(Director.load(PLANNER), [screenplay])
    take, _ = prepare(empty, screenplay, trajectory, frames=config.frames)

    def preview(step: int, variables: dict) -> None:
        params = variables["params"]
        dits = {"base": params["dit"]}
        if run.expert != "base":
            dits = {"base": split_camera(params["dit"])[0] if other is None else other}
            dits[run.expert] = fold(params["dit"], variables["lora"]["dit"])
        high, low = (dits[name] for name in names)
        cinematographer = dataclasses.replace(empty, high=high, low=low, text=params.get("text", text))
        latents_BTHWC = np.asarray(together(generate(cinematographer, [take])))
        if jax.process_index() != 0:
            return
        [video_THW3] = np.concatenate(list(decode(cinematographer, latents_BTHWC)), axis=1)
        path = folder / FOLDER / f"{step}.mp4"
        write_video(path, video_THW3, take.trajectory.fps, enlargement(take.trajectory.height))
        plot_film(video_THW3, take.trajectory, path.with_suffix(".png"))

    return preview


PREVIEWS: dict[str, Callable[[dict, Path, Task, Screenplay], Preview]] = {
    "planner": _planner,
    "controller": _controller,
}


def _text_encoder(config: ControllerConfig, values: dict, trained: bool, mesh) -> tuple:
    """(config, parameters, tokenizer); the parameters are empty where the run has them itself."""
    if values["expert"] == "base":
        return TEXT_ENCODERS[config.text](), {}, load_text_tokenizer(find_tokenizer(values["text_tokenizer"]))
    if trained:
        tokenizer_file = find_tokenizer(config.text)
        return read_config(tokenizer_file.parent, UMT5Config), {}, load_text_tokenizer(tokenizer_file)
    return load("text_encoder", config.text, mesh=mesh, dtype=values["execution"]["dtype"])
