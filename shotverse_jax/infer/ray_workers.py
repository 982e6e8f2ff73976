"""Batches on a Ray cluster: every worker is an actor with models of its own. Needs `pip install 'shotverse_jax[ray]'`.

Scheduling, retries and scaling are Ray's: an actor whose machine is lost starts anew elsewhere, and the group that it
had in hand is made again. Results are the same files as without Ray, so the folder of results must be one that all
machines share.
"""

import threading
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from shotverse_jax.infer.batch import GROUPS_IN_HAND, Worker
from shotverse_jax.infer.execution import use_compilation_cache
from shotverse_jax.infer.job import Job
from shotverse_jax.inputs.items import Entry

TASK_RETRIES = 3


class RayWorkers:
    """Makes groups of items on the workers of a cluster; the `run` and the `work` of `infer.batch.run_batch`.

    Args:
        job: the task, the models and their settings.
        out: folder of results, the same on all machines.
        workers: how many actors.
        address: of the cluster, "auto" for the one that this machine belongs to; None starts one on this machine.
        stop: set, it ends every worker after the item in hand.
        resources: what each worker occupies, e.g. {"GPU": 1}; None takes a GPU where the cluster has any, else a CPU.

    Raises:
        ValueError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(
        self,
        job: Job,
        out: str | Path,
        workers: int,
        address: str | None = None,
        stop: threading.Event | None = None,
        resources: dict[str, float] | None = None,
    ):
        try:
            import ray
        except ImportError as error:
            raise ValueError("workers run on Ray, which is not here: pip install 'shotverse_jax[ray]'") from error
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        except (ConnectionError, RuntimeError) as error:
            raise ValueError(f"there is no Ray cluster at {address or 'this machine'}: {error}") from error
        self._ray, self._stop = ray, stop or threading.Event()
        resources = resources or ({"GPU": 1} if ray.cluster_resources().get("GPU") else {"CPU": 1})
        options = {
            "num_cpus": resources.pop("CPU", 0),
            "num_gpus": resources.pop("GPU", 0),
            "resources": resources,
            "max_restarts": -1,
            "max_task_retries": TASK_RETRIES,
            # One call more than groups in hand, so that `halt` is heard while they run.
            "max_concurrency": GROUPS_IN_HAND + 1,
        }
        actor = ray.remote(**options)(Actor)
        actors = [actor.remote(job, str(Path(out).absolute())) for _ in range(workers)]
        # A worker takes part from when its models are loaded. One for which the cluster has no place, now or ever, is
        # not waited for.
        self._starting, self._started = {each.facts.remote(): each for each in actors}, []
        [first], _ = ray.wait(list(self._starting))
        self.settings, self.group, self.notes = self._get(first)
        self._start(first)

    def _start(self, facts: Any) -> Any:
        """The worker that has given these facts, ready to work."""
        self._started.append(self._starting.pop(facts))
        return self._started[-1]

    def buckets(self, items: Sequence[Entry]) -> list[Hashable | Exception]:
        """As `infer.batch.Work.buckets`; the first worker answers, because this process has no models."""
        return self._get(self._started[0].buckets.remote(list(items)))

    def __call__(self, groups: Iterable[list[Entry]]) -> Iterator[list[dict[str, Any]]]:
        """Yields the records of groups as they finish."""
        waiting, free = {}, self._started * GROUPS_IN_HAND
        try:
            for group in groups:
                while not free and not self._stop.is_set():
                    yield from self._done(waiting, free)
                if self._stop.is_set():
                    break
                actor = free.pop(0)
                waiting[actor.run.remote(group)] = actor
            while waiting:
                yield from self._done(waiting, free)
        finally:
            self._ray.shutdown()

    def _done(self, waiting: dict, free: list) -> Iterator[list[dict[str, Any]]]:
        # The wait is short, so that a signal is seen: on the way to a first result a group may take long.
        done, _ = self._ray.wait([*waiting, *self._starting], timeout=1.0)
        if self._stop.is_set():
            self._get([actor.halt.remote() for actor in self._started])
        for job in done:
            result = self._get(job)
            if job in waiting:
                free.append(waiting.pop(job))
                yield result
            else:
                free += [self._start(job)] * GROUPS_IN_HAND

    def _get(self, result: Any) -> Any:
        try:
            return self._ray.get(result)
        except self._ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from error
        except self._ray.exceptions.RayActorError as error:
            raise ValueError(f"a worker cannot be started: {error.error_msg or error}") from error


class Actor:
    """A worker's process: the models, and a `Worker` that makes groups with them."""

    def __init__(self, job: Job, out: str):
        use_compilation_cache(0.0)
        self._stop, self._work = threading.Event(), job.load()
        self._worker = Worker(self._work, Path(out), self._stop)

    def facts(self) -> tuple[dict[str, Any], int, tuple[str, ...]]:
        """(settings, group, notes) of the work."""
        return self._work.settings, self._work.group, self._work.notes

    def buckets(self, items: list[Entry]) -> list[Hashable | Exception]:
        """As `infer.batch.Work.buckets`."""
        return self._work.buckets(items)

    def run(self, items: list[Entry]) -> list[dict[str, Any]]:
        """The records of a group."""
        return self._worker.run(items)

    def halt(self) -> None:
        """Ends `run` after the item in hand."""
        self._stop.set()
