"""A batch by one model that spans several hosts: the first process leads, the others follow it group by group.

Only the leader knows the list and the folder of results. What it makes it first sends to the others, because every
process of a mesh must run the same programs in the same order.
"""

import collections
import contextlib
import pickle
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from shotverse_jax.infer.batch import FAULTS, Made, Work
from shotverse_jax.inputs.items import Item


class Led:
    """The work of the leader; `close` sends the followers home. With a single process it is the work itself.

    A group that was begun is made to its end, even where the batch is stopped, as the others do so too.
    """

    def __init__(self, work: Work):
        self._work, self.settings, self.group, self.notes = work, work.settings, work.group, work.notes

    def buckets(self, items: Sequence[Item]) -> list[Hashable | Exception]:
        """As `infer.batch.Work.buckets`."""
        return self._work.buckets(items)

    def make(self, items: Sequence[Item]) -> Iterator[Made]:
        """As `infer.batch.Work.make`."""
        _send(list(items))
        made = iter(self._work.make(items))
        try:
            # Not `yield from`, which would close `made` when nobody wants the rest: the followers cannot know that,
            # and without this process they would wait for ever.
            for each in made:  # noqa: UP028
                yield each
        finally:
            if jax.process_count() > 1:
                collections.deque(made, maxlen=0)

    def close(self) -> None:
        """Ends `follow` in all other processes."""
        _send(None)


def follow(work: Work) -> None:
    """Makes what the leader makes, for nobody, until it closes."""
    while (items := _receive()) is not None:
        with contextlib.suppress(*FAULTS):  # the leader has met the same one and records it
            for _ in work.make(items):
                pass


def _send(value: Any) -> None:
    if jax.process_count() > 1:
        data = np.frombuffer(pickle.dumps(value), np.uint8)
        multihost_utils.broadcast_one_to_all(np.int32(len(data)))
        multihost_utils.broadcast_one_to_all(data)


def _receive() -> Any:
    length = int(multihost_utils.broadcast_one_to_all(np.int32(0)))
    return pickle.loads(np.asarray(multihost_utils.broadcast_one_to_all(np.zeros(length, np.uint8))).tobytes())
