"""Checkpoints of a training run: Orbax, kept strict. The only file that imports Orbax."""

import shutil
from pathlib import Path

import jax
from orbax.checkpoint import v1 as ocp


class Checkpoints:
    """Numbered checkpoints of one tree in a folder; unfinished ones left by a killed run are swept at start.

    A tree is stored as a flat {path: array} mapping, so that a restore can be checked leaf by leaf.
    """

    def __init__(self, folder: str | Path, keep: int = 2):
        self._folder = Path(folder).absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0:  # Orbax has an option for this, but sweeps in the background
            for orphan in self._folder.glob("*.orbax-checkpoint-tmp"):
                shutil.rmtree(orphan, ignore_errors=True)
        self._checkpointer = ocp.training.Checkpointer(
            self._folder,
            preservation_policy=ocp.training.preservation_policies.LatestN(keep),
        )

    @property
    def latest(self) -> int | None:
        """Step of the newest complete checkpoint."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, step: int, tree, wait: bool = False) -> None:
        """Writes `tree`; without `wait` the writing goes on in the background.

        Raises:
            RuntimeError: the checkpoint was not written.
        """
        self._checkpointer.wait()
        response = self._checkpointer.save_async(step, flatten(tree), force=True)
        if response is None:
            raise RuntimeError(f"checkpoint {step} was refused; is {self._folder} written by another run?")
        # On CPU the arrays are written from the buffers that the next step is given to overwrite.
        if (wait or jax.default_backend() == "cpu") and response.result() is False:
            raise RuntimeError(f"checkpoint {step} was not written in {self._folder}")

    def restore(self, like, step: int | None = None):
        """The tree of `step` (newest by default), laid out as `like` (arrays or shapes with shardings).

        Raises:
            ValueError: no checkpoint, or leaves missing, extra, or of another shape or dtype; all are listed.
        """
        step = self.latest if step is None else step
        if step is None:
            raise ValueError(f"no checkpoint in {self._folder}")
        target = flatten(jax.tree.map(_abstract, like))
        stored = self._checkpointer.metadata(step).metadata
        check_same(stored, target, f"checkpoint {step} in {self._folder}")
        loaded = self._checkpointer.load(step, target)
        return jax.tree.unflatten(jax.tree.structure(like), [loaded[path] for path in target])

    def close(self) -> None:
        """Waits for a save under way."""
        self._checkpointer.close()


def flatten(tree) -> dict:
    """{"a/b/0": leaf} in `jax.tree.leaves` order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def check_same(stored: dict, target: dict, what: str) -> None:
    """Compares two flat mappings of things with shape and dtype.

    Raises:
        ValueError: listing every path that is missing, extra, or of another shape or dtype.
    """
    problems = [f"missing {path}" for path in target if path not in stored]
    problems += [f"unexpected {path}" for path in stored if path not in target]
    for path in target.keys() & stored.keys():
        ours, theirs = target[path], stored[path]
        if tuple(ours.shape) != tuple(theirs.shape) or ours.dtype != theirs.dtype:
            problems.append(f"{path} is {theirs.dtype}{list(theirs.shape)}, expected {ours.dtype}{list(ours.shape)}")
    if problems:
        raise ValueError(f"{what} does not fit the model: " + "; ".join(sorted(problems)))


def _abstract(leaf):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None))
