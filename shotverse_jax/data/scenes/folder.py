"""Scenes in a folder of someone's own: files that have one name, and subfolders that hold one scene each."""

from pathlib import Path

from shotverse_jax.data.scenes.files import SceneFiles, part_of_scene
from shotverse_jax.views.video import SUFFIXES


def folder_scenes(folder: Path) -> list[SceneFiles]:
    """Lists the scenes of a folder: groups of files with one name ("a.mp4", "a.yaml", "a.trajectory.json").

    A subfolder with at most one video and no folders inside is one scene, whatever its files are called. Any other
    subfolder is searched in the same way. Hidden files, and files without a partner, are left out.
    """
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    files, folders = [p for p in entries if p.is_file()], [p for p in entries if p.is_dir()]
    # A video's name may hold dots ("a.x.mp4"), so the longest video name that fits a file comes first.
    stems = sorted({p.stem for p in files if p.suffix.lower() in SUFFIXES}, key=len, reverse=True)
    groups: dict[str, list[Path]] = {}
    for path in files:
        stem = next((s for s in stems if path.name.startswith(s + ".")), path.name.split(".")[0])
        groups.setdefault(stem, []).append(path)
    scenes = [_group(folder / stem, paths) for stem, paths in sorted(groups.items())]
    for sub in folders:
        inside = [path for path in sorted(sub.iterdir()) if not path.name.startswith(".")]
        alone = sum(path.suffix.lower() in SUFFIXES for path in inside) < 2 and not any(p.is_dir() for p in inside)
        scenes += [_group(sub, inside)] if alone else folder_scenes(sub)
    return [scene for scene in scenes if scene is not None]


def _group(place: Path, paths: list[Path]) -> SceneFiles | None:
    """The scene made of some files, None when they are at most one of its three parts.

    Several files for one part leave that part empty, and the scene's name says so: its reader then refuses the scene
    with a message that names the files to remove.
    """
    kinds: dict[str, list[Path]] = {"video": [], "screenplay": [], "trajectory": []}
    for path in paths:
        if (kind := part_of_scene(path)) is not None:
            kinds[kind].append(path)
    if sum(map(bool, kinds.values())) < 2:
        return None
    first = {kind: str(found[0]) if len(found) == 1 else "" for kind, found in kinds.items()}
    doubt = [f"{len(found)} {kind} files" for kind, found in kinds.items() if len(found) > 1]
    name = f"{place} ({' and '.join(doubt)}, keep one)" if doubt else str(place)
    return SceneFiles(name, first["screenplay"], first["trajectory"], Path(first["video"]) if kinds["video"] else None)
