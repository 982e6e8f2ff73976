"""What the training loop needs to know about the network it trains."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from shotverse_jax.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Task:
    """A network, its data and its export, as `train/tasks/` build them.

    Attributes:
        run: the values of the run.
        trainable, frozen: variable trees that share no leaf; together they are what `loss_fn` takes.
        loss_fn: (variables, batch, layout, key) → (loss, metrics), see `train/step.py`.
        source: source(split, steps) → random access over steps, source[i] → (layout, batch).
        export: export(variables, folder) writes what a finished run leaves, adapters folded in.
        whole: what a part of a batch must know of all of it, where a loss is no mean over samples; see `train/step.py`.
    """

    run: TrainConfig
    trainable: dict
    frozen: dict
    loss_fn: Callable
    source: Callable
    export: Callable[[dict, Path], None]
    whole: Callable[[dict], dict] | None = None
