"""Folders as projects release them, with several networks below one root: those of diffusers, and Wan's own.

A root is given where a checkpoint is; the network and the expert that are asked for say which part of it is meant.
"""

from pathlib import Path
from typing import Any

from shotverse_jax.files import read_json
from shotverse_jax.weights.folder import TOKENIZER

from .sources import holds_checkpoint

INDEX = "model_index.json"  # which diffusers writes into a root
# {(kind, expert): where it is below a root}. The experts of diffusers are numbered, Wan's are named.
_PLACES = {
    ("wan_dit", "high"): ("transformer", "high_noise_model"),
    ("wan_dit", "low"): ("transformer_2", "low_noise_model"),
    ("wan_dit", "base"): ("transformer",),
    ("text_encoder", None): ("text_encoder", "models_t5_umt5-xxl-enc-bf16.pth"),
    ("clip_text", None): ("text_encoder",),
    ("vae", None): ("vae", "Wan2.1_VAE.pth"),
}
_TOKENIZERS = (TOKENIZER, f"../tokenizer/{TOKENIZER}", f"google/umt5-xxl/{TOKENIZER}")


def is_root(path: Path) -> bool:
    """Returns True for a folder with networks in its parts, which is no checkpoint itself."""
    return path.is_dir() and bool(parts(path)) and ((path / INDEX).is_file() or not holds_checkpoint(path))


def parts(root: Path) -> list[Path]:
    """Returns the parts of a root that hold networks."""
    names = dict.fromkeys(name for places in _PLACES.values() for name in places)
    return [root / name for name in names if (root / name).is_file() or holds_checkpoint(root / name)]


def part(path: str | Path, kind: str, expert: str | None) -> Path:
    """Returns the checkpoint of a network below a root; a path that is no root stands for itself.

    Raises:
        ValueError: The root has no such part.
    """
    path = Path(path)
    if not is_root(path):
        return path
    held, places = parts(path), _PLACES.get((kind, expert), ())
    if found := next((path / name for name in places if path / name in held), None):
        return found
    names, which = ", ".join(place.name for place in held), "say which with --expert, or " if not expert else ""
    raise ValueError(f"{path} has the parts {names}, and none of them is the network asked for; {which}give its folder")


def experts(path: str | Path) -> list[str | None]:
    """Returns the experts of a root that has both, ["high", "low"]; [None] for everything else."""
    path = Path(path)
    both = ["high", "low"]
    places = {name: _PLACES["wan_dit", name] for name in both}
    held = parts(path) if is_root(path) else []
    return both if all(any(path / place in held for place in places[name]) for name in both) else [None]


def tokenizer(checkpoint: Path) -> Path | None:
    """Returns the tokenizer.json that belongs to the file of a checkpoint: beside it, or where a root has it."""
    places = (checkpoint.parent / place for place in _TOKENIZERS)
    return next((place.resolve() for place in places if place.is_file()), None)


def pipeline_values(checkpoint: Path) -> dict[str, Any]:
    """Returns what diffusers' model_index.json says of the pipeline that the file of a checkpoint belongs to, or {}."""
    try:
        return read_json(checkpoint.parent.parent / INDEX)
    except ValueError:
        return {}
