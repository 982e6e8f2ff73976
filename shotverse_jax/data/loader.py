"""Prefetching over a random-access source of batches."""

from collections.abc import Iterator

import grain
from absl import flags


def batches(source, start: int = 0, workers: int = 0, prefetch: int = 4) -> Iterator:
    """source[start], source[start + 1], … in order, made ahead of time.

    workers: processes that build batches (each batch is built by one of them, the order does not change); 0 means one
    thread of this process, enough while a batch is built faster than it is trained on.
    """
    dataset = grain.MapDataset.source(source)[start:]
    if not workers:
        return iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=prefetch)))
    if not flags.FLAGS.is_parsed():  # grain reads its own flags before it starts workers
        flags.FLAGS.mark_as_parsed()
    dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=prefetch)
    return iter(dataset.mp_prefetch(options))
