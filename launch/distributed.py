"""One program on many hosts: how a process finds the others of its job."""

import os

import jax
from absl import flags

DISTRIBUTED = flags.DEFINE_bool(
    "distributed", None, "this is one of several processes (default: decided by the environment)"
)
HEARTBEAT = flags.DEFINE_integer(
    "heartbeat_seconds",
    None,
    "a process that is silent for so long counts as dead (default: JAX's, 100)",
    lower_bound=1,
)


def join(wanted: bool | None = None, heartbeat_seconds: int | None = None) -> None:
    """Connects this process with the others of its job, if there are any. Call it before anything runs on a device.

    The environment shows the tasks of a SLURM step, the pods of a GKE TPU slice, and every job that sets
    JAX_COORDINATOR_ADDRESS (host:port), JAX_NUM_PROCESSES and JAX_PROCESS_ID, as `launch/gke/gpu.yaml` does.

    Args:
        wanted: True on TPU VMs, whose environment shows nothing; False runs this process alone; None lets the
            environment decide.
        heartbeat_seconds: how long the others wait for a silent process until they count it as dead and end; None
            waits as long as JAX does, 100 seconds.

    Raises:
        ValueError: a coordinator without the number of processes or of this one, or `wanted` where JAX finds no job.
    """
    environment = os.environ
    if "JAX_COORDINATOR_ADDRESS" in environment:
        numbers = environment.get("JAX_NUM_PROCESSES", ""), environment.get("JAX_PROCESS_ID", "")
        if not all(number.isdecimal() for number in numbers):
            raise ValueError(
                "JAX_COORDINATOR_ADDRESS is set, so JAX_NUM_PROCESSES and JAX_PROCESS_ID must be numbers; "
                f"they are {numbers[0]!r} and {numbers[1]!r}"
            )
        found, options = True, {"num_processes": int(numbers[0]), "process_id": int(numbers[1])}
    elif "SLURM_STEP_NODELIST" in environment:
        # JAX finds the rest in SLURM's environment itself. A step of one task has nobody to wait for.
        found, options = int(environment["SLURM_NTASKS"]) > 1, {}
    else:
        # The variable lists the hosts of the slice; a single one has no comma.
        found, options = "," in environment.get("TPU_WORKER_HOSTNAMES", ""), {}
    if heartbeat_seconds is not None:
        options["heartbeat_timeout_seconds"] = heartbeat_seconds
    if found if wanted is None else wanted:
        jax.distributed.initialize(**options)
