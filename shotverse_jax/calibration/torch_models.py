"""Networks of transformers for masks, which run in PyTorch: both are the optional extra `masks`.

They only look at films before anything is trained, so they are used as their authors keep them.
"""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from shotverse_jax.files import reading
from shotverse_jax.weights.folder import fetched_models

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def folder_of(model: str | Path, name: str, what: str) -> Path:
    """Returns the folder of a network: a path, or the name of what `shotverse get` fetched.

    Args:
        model: the path or name.
        name: what `shotverse get` calls the published one, for the error.
        what: what needs it, for the error.

    Raises:
        ValueError: there is no such folder.
    """
    for folder in (Path(model), fetched_models() / model):
        if (folder / "config.json").is_file():
            return folder
    raise ValueError(f"{what} need the network {model}, which is not here; run: shotverse get {name}")


def opened(folder: Path, cls: str) -> tuple[ModuleType, Any]:
    """Returns PyTorch and a network of a class of transformers, on the GPU where there is one.

    Raises:
        ValueError: PyTorch or transformers is not installed, or the folder does not hold such a network.
    """
    try:
        torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
        network = getattr(transformers, cls)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"masks by sam2 need PyTorch and transformers; run: pip install 'shotverse_jax[masks]' ({error})"
        ) from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with reading(folder, f"a network {cls}"):
        model, loaded = network.from_pretrained(folder, local_files_only=True, output_loading_info=True)
        # Weights that are missing would be drawn at random.
        if missing := sorted(loaded["missing_keys"]):
            raise ValueError(f"{len(missing)} tensors are missing, {missing[0]} for one")
    return torch, model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def normalized(picture_HWC: np.ndarray) -> np.ndarray:
    """Returns pictures [..., H, W, 3] uint8 as [..., 3, H, W] float32 with the mean and deviation of ImageNet."""
    x = (picture_HWC.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(np.moveaxis(x, -1, -3))
