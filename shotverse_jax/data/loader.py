"""Prefetching over a random-access source of batches."""

from collections.abc import Iterator

import grain
from absl import flags


def batches(source, start: int = 0, workers: int = 0, prefetch: int = 4) -> Iterator:
    """Iterates over source[start], source[start + 1], … in order; batches are built before they are asked for.

    Args:
        source: random access over steps.
        start: first step.
        workers: processes that build batches. Each batch is built by one of them, and the order stays the same. 0
            (default) means one thread of this process, which is enough while building a batch takes less time than
            training on it.
        prefetch: batches kept ready, per worker; default 4.
    """
    # A batch depends on its number alone, so a resumed run only needs to begin at another number.
    dataset = grain.MapDataset.source(source)[start:]
    if not workers:
        return iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=prefetch)))
    if not flags.FLAGS.is_parsed():  # grain reads its own flags before it starts workers
        flags.FLAGS.mark_as_parsed()
    dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=prefetch)
    return iter(dataset.mp_prefetch(options))
