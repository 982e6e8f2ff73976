"""Which scenes a table or a folder has."""

from pathlib import Path

from shotverse_jax.data.scenes.datadop import CAPTIONS, datadop_scenes
from shotverse_jax.data.scenes.files import SceneFiles
from shotverse_jax.data.scenes.folder import folder_scenes
from shotverse_jax.data.scenes.table import table_scenes
from shotverse_jax.files import reading


def find_scenes(source: str | Path, split: str = "train", caption: str = "concise") -> list[SceneFiles]:
    """Lists the scenes of a table (.csv, .jsonl), a folder of scenes or DataDoP's folder, always in the same order.

    Args:
        source: the table or the folder.
        split: the part of DataDoP's folder to read, where it has `train` and `test`. Other sources ignore it.
        caption: which caption of a DataDoP shot to use, a key of `CAPTIONS`. GenDoP's "motion" is "movement" here, and
            its "directorial" is "concise". Other sources ignore it.

    Raises:
        ValueError: the source does not exist or has no scenes, a table lacks the columns `screenplay` and
            `trajectory`, or `caption` is unknown.
    """
    source = Path(source)
    if caption not in CAPTIONS:
        raise ValueError(f"DataDoP's captions are {', '.join(CAPTIONS)}; got {caption!r}")
    # A list may name a file by what no system takes for a name.
    with reading(source, "a list of scenes"):
        if source.is_file():
            scenes = table_scenes(source)
        elif source.is_dir():
            scenes = datadop_scenes(source, split, CAPTIONS[caption]) or folder_scenes(source)
        else:
            scenes = None
    if scenes is None:
        raise ValueError(f"{source}: no such file or folder; give a table (.csv, .jsonl) or a folder of scenes")
    if not scenes:
        raise ValueError(f"{source} holds no scenes: expected videos with a screenplay and a camera path of one name")
    return scenes
