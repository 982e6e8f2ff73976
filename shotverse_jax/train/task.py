"""What a training run is, as a value: `train/tasks/` builds it, `train/loop.py` runs it, `fit/` measures it."""

import dataclasses
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotverse_jax.config import TrainConfig
from shotverse_jax.cost.flops import Work
from shotverse_jax.data.loader import batches
from shotverse_jax.screenplay import Screenplay

Loss = Callable[[dict, dict, Hashable, jax.Array | None], tuple[jax.Array, dict]]
Preview = Callable[[int, dict], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learner:
    """A network and its loss: what a training step is compiled from.

    Attributes:
        config: the values of the run.
        trainable: variables that learn.
        frozen: variables that stay as they are. Both trees share no leaf; together they are what `loss` takes.
        loss: (variables, batch, bucket, key) → (loss, metrics). `bucket` is a hashable static argument, such as the
            number of shots, that decides the shapes of a batch: a new value compiles a new program. It is None where
            all batches have the same shapes. `key` is None for a deterministic pass.
        batch_statistics: numbers of a whole batch that the loss of a part of it needs, where the loss is not a mean
            over samples: (batch) → entries to add to the batch, arrays with one number for each sample. It is only
            used where a batch is computed in parts (`TrainConfig.accumulate`).
    """

    config: TrainConfig
    trainable: dict
    frozen: dict
    loss: Loss
    batch_statistics: Callable[[dict], dict] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(Learner):
    """A run: a learner with its data and its results.

    Attributes:
        source: (split "train" or "test", steps) → random access over so many steps; source[i] is (bucket, batch).
        export: (variables, folder) writes the trained network, with adapters folded in.
        make_preview: (screenplay, folder) → preview(step, variables), which writes what the network makes of the
            screenplay so far to `folder`. All processes call it, and the first one writes. None: there are no previews.
        ideal_step_seconds: (bucket) → seconds of a step at the peak of all devices; metrics then have `mfu`, the share
            of it in the time that steps took. None where the peak or the work is not known.
    """

    source: Callable[[str, int], Any]
    export: Callable[[dict, Path], None]
    make_preview: Callable[[Screenplay, Path], Preview] | None = None
    ideal_step_seconds: Callable[[Hashable], float] | None = None

    def batches(self, split: Literal["train", "test"], start: int = 0) -> Iterator:
        """(bucket, batch) of every step from `start` on, or of every batch of one evaluation."""
        if split == "test":
            return batches(self.source("test", self.config.eval_batches))
        return batches(self.source("train", self.config.steps), start, self.config.workers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outline(Learner):
    """A run as shapes: no weight, no tokenizer and no data set is read for it.

    Attributes:
        batch: shapes of the largest batch.
        bucket: the bucket of that batch.
        work: floating-point operations of one sample of that batch.
    """

    batch: dict[str, jax.ShapeDtypeStruct]
    bucket: Hashable
    work: tuple[Work, ...]


@dataclasses.dataclass(frozen=True)
class TaskKind:
    """A row of the table of tasks.

    Attributes:
        config: the class of its training config.
        build: (config, folder) → Task; `folder` is the run's, which gets for example the text tokenizer.
        outline: (config, mesh) → Outline; None where `fit` does not know the task.
        needs: fields of the config that must not be empty, because the task has no data of its own.
    """

    config: type[TrainConfig]
    build: Callable[[Any, Path], Task]
    outline: Callable[[Any, Mesh], Outline] | None = None
    needs: tuple[str, ...] = ()


def batch_shapes(size: int, arrays: dict[str, tuple]) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch of `size` samples, from {name: (*shape of one sample, dtype)}."""
    return {name: jax.ShapeDtypeStruct((size, *shape), dtype) for name, (*shape, dtype) in arrays.items()}


def cast(shapes: Any, dtype: str) -> Any:
    """A tree of shapes in another dtype: frozen weights are read in the dtype that they are used in."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(dtype)), shapes)
