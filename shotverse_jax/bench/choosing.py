"""Which of the accepted scenes are in a bench, and which sources are for training and which for testing."""

import collections
import hashlib
from collections.abc import Sequence

from shotverse_jax.bench.scenes import Scene
from shotverse_jax.bench.windows import proportioned

SPLITS = ("train", "test")


def _draw(name: str) -> str:
    """A number that a name always has, and that has nothing to do with the order of the list."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def choose(scenes: Sequence[Scene], proportion: Sequence[int]) -> list[Scene]:
    """Returns as many scenes as are in the proportion of sizes that is wanted, in the order of the list."""
    order = sorted(scenes, key=lambda scene: _draw(scene.id))
    kept = {order[k].id for k in proportioned([scene.size for scene in order], proportion)}
    return [scene for scene in scenes if scene.id in kept]


def split(scenes: Sequence[Scene], test: float) -> dict[str, str]:
    """Returns the split of every source, "train" or "test", with about a share `test` of the scenes in the second.

    All scenes of a source are in one split. With one source there is no test.
    """
    counts = collections.Counter(scene.source for scene in scenes)
    names = sorted(counts, key=_draw)
    wanted, chosen, room = round(test * len(scenes)), set(), len(names) - 1
    for name in names:
        if len(chosen) < room and counts[name] <= wanted:
            chosen.add(name)
            wanted -= counts[name]
    if test and not chosen and len(names) > 1:  # every source has more scenes than are wanted
        chosen = {min(names, key=lambda name: counts[name])}
    return {name: SPLITS[name in chosen] for name in counts}
