"""One program on many hosts: every launcher tells its processes in its own way who they are."""

import os

import jax
from absl import flags

DISTRIBUTED = flags.DEFINE_bool("distributed", None, "one of several processes (default: as the environment says)")


def join(wanted: bool | None = None) -> None:
    """Makes this process one of its job's, where it is one of several; before anything runs on a device.

    Known by their environment are the tasks of a SLURM step, the pods of a GKE TPU slice, and whatever sets
    JAX_COORDINATOR_ADDRESS (host:port), JAX_NUM_PROCESSES and JAX_PROCESS_ID, as `launch/gke/gpu.yaml` does. A TPU VM
    says nothing in its environment: there `wanted` is True. False: this process is alone, whatever surrounds it.

    Raises:
        ValueError: a coordinator without the number of processes or of this one, or `wanted` where jax finds no job.
    """
    told = os.environ
    if "JAX_COORDINATOR_ADDRESS" in told:
        numbers = told.get("JAX_NUM_PROCESSES", ""), told.get("JAX_PROCESS_ID", "")
        if not all(number.isdecimal() for number in numbers):
            raise ValueError(
                "JAX_COORDINATOR_ADDRESS is set, so JAX_NUM_PROCESSES and JAX_PROCESS_ID must be numbers; "
                f"they are {numbers[0]!r} and {numbers[1]!r}"
            )
        found, options = True, {"num_processes": int(numbers[0]), "process_id": int(numbers[1])}
    elif "SLURM_STEP_NODELIST" in told:
        found, options = int(told["SLURM_NTASKS"]) > 1, {}
    else:
        found, options = "," in told.get("TPU_WORKER_HOSTNAMES", ""), {}
    if found if wanted is None else wanted:
        jax.distributed.initialize(**options)
