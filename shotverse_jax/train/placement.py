"""Where everything of a run lies: parameters by rule, samples over data and fsdp, metrics on every device."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from shotverse_jax.config import TrainConfig
from shotverse_jax.parallel.mesh import batch_sharding, make_mesh
from shotverse_jax.parallel.rules import shardings
from shotverse_jax.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class Placement:
    """Shardings of a run's state, of its frozen parameters, of a batch and of what every device holds."""

    state: TrainState
    frozen: dict
    batch: NamedSharding
    replicated: NamedSharding

    @classmethod
    def of(cls, run: TrainConfig, state: TrainState, frozen: dict, mesh: Mesh | None = None) -> "Placement":
        """On `mesh`, or on the run's own mesh of this machine's devices.

        Raises:
            ValueError: a mesh or a batch that does not fit the devices, or a parameter without rule.
        """
        mesh = make_mesh(run.mesh) if mesh is None else mesh
        replicated = NamedSharding(mesh, PartitionSpec())
        return cls(shardings(state, mesh), shardings(frozen, mesh), batch_sharding(mesh, run.batch), replicated)

    @property
    def train_step(self) -> dict[str, Any]:
        """How `jax.jit` is told where arguments and results of a training step lie."""
        inputs = self.state, self.frozen, self.batch, self.replicated
        return {"in_shardings": inputs, "out_shardings": (self.state, self.replicated)}

    @property
    def eval_step(self) -> dict[str, Any]:
        """The same of an evaluation step."""
        return {
            "in_shardings": (self.state.averaged, self.frozen, self.batch),
            "out_shardings": self.replicated,
        }

    def put(self, state: TrainState, frozen: dict) -> tuple[TrainState, dict]:
        """State and frozen parameters to their places."""
        return jax.device_put((state, frozen), (self.state, self.frozen))

    def put_batch(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """This process's part of the batch (`parallel.mesh.batch_share`) → global arrays."""
        return {name: jax.make_array_from_process_local_data(self.batch, value) for name, value in batch.items()}


def together(tree: dict) -> dict:
    """A tree whose every leaf this process can read: of several processes, each gets the others' shards too."""
    return tree if jax.process_count() == 1 else multihost_utils.process_allgather(tree, tiled=True)
