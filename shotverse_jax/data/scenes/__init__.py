"""Scenes that people bring themselves: videos with screenplays and camera paths (see docs/data.md).

`find_scenes` (find.py) lists the scenes of a table (table.py), of a folder of files (folder.py) or of DataDoP's folder
(datadop.py) as `SceneFiles` (files.py). `SceneRecords` (records.py) reads them into the records that `launch/encode.py`
writes; timeline.py decides which frame of the video, and which pose of the path, every frame of the record shows.
"""

from shotverse_jax.data.scenes.datadop import CAPTIONS
from shotverse_jax.data.scenes.files import SceneFiles
from shotverse_jax.data.scenes.find import find_scenes
from shotverse_jax.data.scenes.records import SceneRecords, scene_screenplay
from shotverse_jax.data.scenes.timeline import CHANGES

__all__ = ["CAPTIONS", "CHANGES", "SceneFiles", "SceneRecords", "find_scenes", "scene_screenplay"]
