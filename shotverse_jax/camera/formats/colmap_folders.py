"""Where COLMAP's models are: in a project folder, in its sparse/0, in several numbered folders."""

from pathlib import Path

from shotverse_jax.camera.formats import colmap_binary
from shotverse_jax.camera.formats.timing import natural

PLACES = ("", "sparse", "sparse/*", "*", "*/sparse", "*/sparse/*")
"""Where models lie below a folder, the first that has one: a model, a project, its "sparse", clips, their projects."""
FILES = ("images.txt", "images.bin", "cameras.txt", "cameras.bin")
ALL = "all"


def find(path: Path, model: str | None = None) -> tuple[dict[str, Path], list[str]]:
    """Returns (name below the folder → folder of each model that is to be read, notes).

    Args:
        path: a folder, or one of the files of a model.
        model: name of the model's folder where there are several ("0"), "all" for all of them; default that with the
            most images.

    Raises:
        ValueError: there is no model, or none of that name.
    """
    folder = path.parent if path.name in FILES else path
    found = next((models for place in PLACES if (models := _models(folder, place))), {})
    if not found:
        if not folder.is_dir():
            raise ValueError("no such folder")
        raise ValueError("no model in this folder: expected images.txt or images.bin in it, or in sparse/0")
    if model == ALL:
        return found, []
    if model is not None:
        chosen = {name: place for name, place in found.items() if str(model) in (name, place.name)}
        if len(chosen) != 1:
            raise ValueError(f"no model '{model}'; the folder has {', '.join(found)}")
        return chosen, []
    if len(found) == 1:
        return found, [f"the model is that of {name}" for name in found if name != "."]
    sizes = {name: colmap_binary.count(place) for name, place in found.items()}
    best = max(sizes, key=sizes.__getitem__)
    others = ", ".join(f"{name} ({size} images)" for name, size in sizes.items() if name != best)
    note = (
        f"of {len(found)} models {best} was read, since it has the most images ({sizes[best]}); the option model=NAME "
        f"reads another: {others}; model=all reads all, as shots in one world"
    )
    return {best: found[best]}, [note]


def _models(folder: Path, place: str) -> dict[str, Path]:
    """Folders with a model at a place below a folder, by their names below it, in their order."""
    places = folder.glob(place) if "*" in place else [folder / place]
    models = {str(found.relative_to(folder)): found for found in places if any((found / n).exists() for n in FILES[:2])}
    return {name: models[name] for name in sorted(models, key=natural)}
