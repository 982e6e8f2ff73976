"""The base of all sources of training batches: random access over steps, each host reads its part."""

import dataclasses
from typing import Any


class FieldsOnly:
    """A dataclass that is pickled with its fields only.

    Cached properties, such as open files, are left out: a worker process opens them again.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


class StepSource(FieldsOnly):
    """A source whose `source[step]` is this host's part of the batch of a step.

    Attributes:
        global_batch: samples per step, over all hosts.
        num_steps: steps of the run.
        host, num_hosts: number of this process, and how many there are.

    Raises:
        ValueError: the batch does not divide over the hosts.
    """

    global_batch: int
    num_steps: int
    host: int
    num_hosts: int

    def __post_init__(self):
        if self.global_batch % self.num_hosts:
            raise ValueError(f"a batch of {self.global_batch} does not divide over {self.num_hosts} hosts")

    def __len__(self) -> int:
        return self.num_steps

    @property
    def places(self) -> range:
        """This host's places in the global batch."""
        # Hosts take neighbouring parts, so the batch that they form together is the same for any number of hosts.
        share = self.global_batch // self.num_hosts
        return range(self.host * share, (self.host + 1) * share)

    def samples(self, step: int) -> range:
        """Returns the numbers, counted over the whole run, of the samples that this host reads at a step."""
        first = step * self.global_batch
        return range(first + self.places.start, first + self.places.stop)
