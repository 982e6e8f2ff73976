"""What every source of training batches is: random access over steps, of which each host reads its part."""

import dataclasses
from typing import Any


class FieldsOnly:
    """A dataclass that is pickled without what it has opened or computed since: workers open it anew."""

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


class StepSource(FieldsOnly):
    """A dataclass with the fields global_batch, num_steps, host and num_hosts; `source[step]` is this host's part.

    Raises:
        ValueError: a batch that does not divide over the hosts.
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
        share = self.global_batch // self.num_hosts
        return range(self.host * share, (self.host + 1) * share)

    def samples(self, step: int) -> range:
        """Which samples of the whole run this host reads at a step."""
        first = step * self.global_batch
        return range(first + self.places.start, first + self.places.stop)
