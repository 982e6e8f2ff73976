"""Models ready to use, by the name of a shipped one or by their folder."""

import importlib
from pathlib import Path
from typing import Any

from shotverse_jax.weights.folder import CONFIG, find, kind_of

PLANNER, CONTROLLER = "planner_small", "controller_small"
"""The models that ship and are used unless others are named."""

READY = {
    "planner": "infer.plan.Director",
    "controller": "infer.cinematographer.Cinematographer",
    "gendop": "infer.gendop.GenDoPPlanner",
    "qwen3_vl": "infer.captions.Captioner",
    "pose_net": "evaluation.features.stage_camera.StageCamera",
}
"""What is loaded for each kind of the catalogue that does something by itself; the other kinds are parts of these.
A class is imported when it is loaded."""


def load(name_or_folder: str | Path, kind: str | None = None, **place: Any) -> Any:
    """Returns a model ready to use, by its folder or by its name, if it ships or `shotverse get` fetched it.

    A planner becomes a `Director`, a controller a `Cinematographer`, GenDoP a `GenDoPPlanner`, a Qwen3-VL a
    `Captioner`, a pose net a `StageCamera`.

    Args:
        name_or_folder: for example "planner_small" or "holocine-full".
        kind: the kind that it must be; None (default) takes the kind that the folder's config.json names.
        place: what the class takes beside its name: mesh, dtype and attention; offload of a controller.

    Raises:
        ValueError: it is not there, is a part of a model (a text encoder, a VAE) or of another kind than asked for, or
            its config.json, of an earlier version, does not name its kind.
    """
    if kind is None:
        folder = find(tuple(READY), name_or_folder, (CONFIG,))
        kind = kind_of(folder)
        if kind is None:
            raise ValueError(f"{folder / CONFIG} does not name its kind; give one of {', '.join(READY)}")
    if kind not in READY:
        raise ValueError(f"no model of the kind {kind!r} is used by itself; the kinds are {', '.join(READY)}")
    module, _, name = READY[kind].rpartition(".")
    return getattr(importlib.import_module(f"shotverse_jax.{module}"), name).load(name_or_folder, **place)


def load_planner(name_or_folder: str | Path, **place: Any) -> Any:
    """Returns a planner of either kind, as `load`; a folder that names no kind is read as one of ShotVerse's."""
    kind = kind_of(find(("planner", "gendop"), name_or_folder, ()))
    return load(name_or_folder, kind or "planner", **place)
