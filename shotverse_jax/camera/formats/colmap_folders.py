"""Where COLMAP's models lie: in a project folder, in its sparse/0, in several numbered folders."""

from pathlib import Path

from shotverse_jax.camera.formats import colmap_binary

PLACES = ("", "sparse", "sparse/*", "*", "colmap/sparse/*")
"""Where models lie below a folder: a model itself, COLMAP's project, its "sparse", nerfstudio's data. First wins."""
FILES = ("images.txt", "images.bin", "cameras.txt", "cameras.bin")


def find(path: Path, model: str | None = None) -> tuple[Path, list[str]]:
    """Returns (folder of the model, notes).

    Args:
        path: a folder, or one of the files of a model.
        model: name of the model's folder where there are several ("0"); default that with the most images.

    Raises:
        ValueError: there is no model, or none of that name.
    """
    folder = path.parent if path.name in FILES else path
    found = next((models for place in PLACES if (models := _models(folder, place))), None)
    if not found:
        if not folder.is_dir():
            raise ValueError("no such folder")
        raise ValueError("no model in this folder: expected images.txt or images.bin in it, or in sparse/0")
    names = {str(place.relative_to(folder)): place for place in found}
    if model is not None:
        chosen = [place for name, place in names.items() if str(model) in (name, place.name)]
        if not chosen:
            raise ValueError(f"no model '{model}'; the folder has {', '.join(names)}")
        return chosen[0], []
    if len(found) == 1:
        return found[0], [] if found[0] == folder else [f"the model is that of {found[0].relative_to(folder)}"]
    sizes = {name: colmap_binary.count(place) for name, place in names.items()}
    best = max(sizes, key=sizes.__getitem__)
    others = ", ".join(f"{name} ({size} images)" for name, size in sizes.items() if name != best)
    note = f"of {len(found)} models {best} was read, since it has the most images ({sizes[best]})"
    return names[best], [f"{note}; the option model=NAME reads another: {others}"]


def _models(folder: Path, place: str) -> list[Path]:
    """Folders with a model at a place below a folder, in the order of their names."""
    places = sorted(folder.glob(place)) if "*" in place else [folder / place]
    return [found for found in places if any((found / name).exists() for name in FILES[:2])]
