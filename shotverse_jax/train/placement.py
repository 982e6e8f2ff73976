"""Where the arrays of a run are placed: parameters by rule, samples over data and fsdp, metrics on every device."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from shotverse_jax.config import TrainConfig
from shotverse_jax.parallel.mesh import batch_sharding, make_mesh
from shotverse_jax.parallel.rules import shardings
from shotverse_jax.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class Placement:
    """The shardings of a run.

    Attributes:
        state: a sharding for each leaf of the state.
        frozen: a sharding for each frozen parameter.
        batch: of every array of a batch, by samples.
        replicated: of arrays that every device holds whole.
    """

    state: TrainState
    frozen: dict
    batch: NamedSharding
    replicated: NamedSharding

    @classmethod
    def of(cls, run: TrainConfig, state: TrainState, frozen: dict, mesh: Mesh | None = None) -> "Placement":
        """The placement of a run on a mesh; None makes the run's own mesh of this machine's devices.

        Raises:
            ValueError: a mesh or a batch that does not fit the devices, or a parameter without a rule.
        """
        mesh = make_mesh(run.mesh) if mesh is None else mesh
        replicated = NamedSharding(mesh, PartitionSpec())
        return cls(shardings(state, mesh), shardings(frozen, mesh), batch_sharding(mesh, run.batch), replicated)

    @property
    def train_step(self) -> dict[str, Any]:
        """Arguments for `jax.jit`: the shardings of what a training step takes and returns."""
        # Metrics go to every device: each process reads them, and all end a bad run at the same step.
        inputs = self.state, self.frozen, self.batch, self.replicated
        return {"in_shardings": inputs, "out_shardings": (self.state, self.replicated)}

    @property
    def eval_step(self) -> dict[str, Any]:
        """The same for an evaluation step."""
        return {
            "in_shardings": (self.state.averaged, self.frozen, self.batch),
            "out_shardings": self.replicated,
        }

    def put(self, state: TrainState, frozen: dict) -> tuple[TrainState, dict]:
        """State and frozen parameters, moved to their devices."""
        return jax.device_put((state, frozen), (self.state, self.frozen))

    def put_batch(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Global arrays of a batch, of which this process has its part (`parallel.mesh.batch_share`)."""
        # Each process gives the samples of its own devices; no host ever holds the whole batch.
        return {name: jax.make_array_from_process_local_data(self.batch, value) for name, value in batch.items()}
