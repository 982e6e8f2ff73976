"""Checkpoints of a training run: Orbax, kept strict. The only file that imports Orbax."""

import logging
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
from orbax.checkpoint import v1 as ocp

from shotverse_jax.files import writing
from shotverse_jax.weights.trees import check_same, flatten

UNFINISHED = ".orbax-checkpoint-tmp"
"""The end of the name of a folder whose checkpoint is being written or deleted."""

DAMAGE = (ValueError, KeyError, TypeError, OSError, RuntimeError)
"""The exceptions that reading damaged files of a checkpoint can raise."""


class _Told(logging.Filter):
    """Drops the tracebacks that Orbax logs of errors which its response raises too."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and "orbax" in record.pathname)


_TOLD = _Told()


class Checkpoints:
    """The numbered checkpoints of one tree in a folder.

    A checkpoint is there whole or not at all. A tree is stored as a flat {path: array} mapping, so that a restore can
    be checked leaf by leaf, and with a checksum of every leaf, because tensorstore does not check arrays itself.

    Args:
        folder: made if it is not there.
        keep: number of newest checkpoints that stay; older ones are deleted.
        writes: whether this process will save here. If so, unfinished checkpoints of a killed run are deleted now; a
            reader leaves them, because another run may be writing them.
    """

    def __init__(self, folder: str | Path, keep: int = 2, writes: bool = True):
        self._folder, self._keep = Path(folder).absolute(), keep
        self._folder.mkdir(parents=True, exist_ok=True)
        if writes and jax.process_index() == 0:  # Orbax has an option for this, but sweeps in the background
            for orphan in self._folder.glob(f"*{UNFINISHED}"):
                shutil.rmtree(orphan, ignore_errors=True)
        logging.getLogger("absl").addFilter(_TOLD)
        try:
            self._checkpointer = ocp.training.Checkpointer(self._folder)  # it reads the metadata of all of them
        except DAMAGE as error:
            raise ValueError(f"{self._folder} has a damaged checkpoint: {_first_line(error)}; delete it") from error
        self._pending = None  # the save under way: its step and Orbax's response

    @property
    def latest(self) -> int | None:
        """The step of the newest complete checkpoint; None without any."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, step: int, tree, wait: bool = False) -> None:
        """Writes `tree` as the checkpoint of a step.

        Without `wait` the files are written in the background, and the next call checks that they are complete.

        Raises:
            RuntimeError: this checkpoint or the one before could not be written.
        """
        # The save before is checked here: an error of its background work would otherwise stay unnoticed.
        self._finish()
        flat = flatten(tree)
        # force: Orbax by itself may skip a save, for example while another one runs; the loop wants this one.
        sums = {"checksums": checksums(flat)}
        with writing(self._folder / str(step)):
            response = self._checkpointer.save_async(step, flat, force=True, custom_metadata=sums)
        if response is None:
            raise RuntimeError(f"checkpoint {step} was refused; is {self._folder} written by another run?")
        self._pending = step, response
        # On CPU the arrays are written from the buffers that the next step is given to overwrite.
        if wait or jax.default_backend() == "cpu":
            self._finish()

    def _finish(self) -> None:
        """Waits for the save under way, checks that it succeeded, and deletes the oldest checkpoints."""
        if self._pending is None:
            return
        (step, response), self._pending = self._pending, None
        with writing(self._folder / str(step)):
            written = response.result()
        if written is False:
            raise RuntimeError(f"checkpoint {step} was not written in {self._folder}")
        if jax.process_index() == 0:
            for old in self._steps()[: -self._keep]:
                # Renamed first: Orbax deletes file by file, and a run killed then leaves half a checkpoint.
                gone = (self._folder / str(old)).rename(self._folder / f"{old}{UNFINISHED}")
                shutil.rmtree(gone, ignore_errors=True)

    def _steps(self) -> list[int]:
        return sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdecimal())

    def restore(self, like, step: int | None = None):
        """The tree of a checkpoint.

        Args:
            like: a tree of arrays, or of shapes with shardings: what is expected, and where it shall be placed.
            step: None takes the newest checkpoint.

        Raises:
            ValueError: no checkpoint; leaves that are missing, unexpected, or of another shape or dtype, all listed; or
                a damaged checkpoint.
        """
        step = self.latest if step is None else step
        if step is None:
            raise ValueError(f"no checkpoint in {self._folder}")
        target = flatten(jax.tree.map(_abstract, like))
        try:
            info = self._checkpointer.metadata(step)
        except DAMAGE as error:
            raise self._damaged(step, _first_line(error)) from error
        if info.metadata is None or info.init_timestamp_nsecs is None:
            raise self._damaged(step, "its metadata cannot be read")
        # Leaves are compared before loading, dtypes too: Orbax casts a leaf of another dtype without a word.
        check_same(info.metadata, target, f"checkpoint {step} in {self._folder} does not fit the model", dtypes=True)
        try:
            loaded = self._checkpointer.load(step, target)
        except DAMAGE as error:
            raise self._damaged(step, _first_line(error)) from error
        wanted = info.custom_metadata.get("checksums")  # None in checkpoints older than checksums
        if wanted is not None and (found := checksums(loaded)) != wanted:
            bad = [path for path in found if found[path] != wanted.get(path)]
            raise self._damaged(step, f"not what was saved: {', '.join(bad)}")
        return jax.tree.unflatten(jax.tree.structure(like), [loaded[path] for path in target])

    def _damaged(self, step: int, why: str) -> ValueError:
        earlier = [each for each in self._steps() if each < step]
        then = f"to go on from step {max(earlier)}" if earlier else "to begin anew"
        return ValueError(f"checkpoint {self._folder / str(step)} is damaged ({why}); delete it {then}")

    def close(self) -> None:
        """Waits for a save under way; raises RuntimeError as `save` does."""
        try:
            self._finish()
        finally:
            self._checkpointer.close()


def checksums(flat: dict) -> dict[str, int]:
    """A checksum of each array of a flat mapping: one changed bit changes it, and it is the same on every mesh."""
    return {path: int(value) for path, value in jax.device_get(_checksums(flat)).items()}


@jax.jit
def _checksums(flat: dict) -> dict:
    return {path: _checksum(leaf) for path, leaf in flat.items()}


def _checksum(x: jax.Array) -> jax.Array:
    """The sum over elements, modulo 2^32, of their bits times an odd number that depends on the position."""
    if x.dtype == bool:
        bits = x.astype(jnp.uint32)
    else:
        size = min(x.dtype.itemsize, 4)  # an element of 8 bytes becomes two of 4
        bits = jax.lax.bitcast_convert_type(x, f"uint{8 * size}").astype(jnp.uint32)
    # Whole numbers: their sum is the same in any order, and so on any mesh. An odd factor can be undone modulo 2^32, so
    # that a change of one element always changes the sum.
    places = [jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis) for axis in range(bits.ndim)]
    place = sum((place * jnp.uint32(31**axis) for axis, place in enumerate(places)), jnp.uint32(0))
    return jnp.sum(bits * (2 * place + 1), dtype=jnp.uint32)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}" if str(error) else repr(error)


def _abstract(leaf):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None))
