"""Who a process is among others, by what its launcher put into the environment."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest
import yaml

from shotverse_jax.data.records import Records
from shotverse_jax.launch import distributed

ROOT = Path(__file__).parents[2]
ALONE = {"SLURM_STEP_NODELIST": "node1", "SLURM_NTASKS": "1"}
SLURM = {"SLURM_STEP_NODELIST": "node[1-2]", "SLURM_NTASKS": "16"}
SLICE = {"TPU_WORKER_HOSTNAMES": "host-0,host-1"}
JOBSET = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "12", "JAX_PROCESS_ID": "3"}


@pytest.fixture
def join(monkeypatch):
    """What jax.distributed.initialize is called with, None where it is not."""

    def run(environment, wanted=None, heartbeat_seconds=None):
        calls = []
        monkeypatch.setattr(jax.distributed, "initialize", lambda **options: calls.append(options))
        for name in {*SLURM, *SLICE, *JOBSET}:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        distributed.join(wanted, heartbeat_seconds)
        return calls[0] if calls else None

    return run


def test_a_process_alone_stays_alone(join):
    assert join({}) is None and join(ALONE) is None
    assert join({"TPU_WORKER_HOSTNAMES": "localhost"}) is None
    assert join({"SLURM_NTASKS": "16"}) is None  # in the batch script itself, outside a step
    assert join(SLURM, wanted=False) is None


def test_several_processes_join(join):
    assert join(SLURM) == {} and join(SLICE) == {}
    assert join(JOBSET) == {"num_processes": 12, "process_id": 3}
    assert join({}, wanted=True) == {}  # a TPU VM
    assert join(SLURM, heartbeat_seconds=10) == {"heartbeat_timeout_seconds": 10}


def test_a_coordinator_without_numbers_is_refused(join):
    with pytest.raises(ValueError, match="must be numbers; they are '12' and ''"):
        join(JOBSET | {"JAX_PROCESS_ID": ""})


PROGRAM = """
import jax
from shotverse_jax.data.records import Records
from shotverse_jax.launch import distributed
distributed.join()
from jax.experimental import multihost_utils
print(jax.process_index(), multihost_utils.process_allgather(jax.numpy.asarray(jax.process_index())).tolist())
"""


def together(*command):
    """The last line of what each of two processes says that run the same command."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    told = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PLATFORMS": "cpu"}
    processes = [
        subprocess.Popen(
            [sys.executable, *command],
            env=os.environ | told | {"JAX_PROCESS_ID": str(number)},
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(2)
    ]
    try:
        return [process.communicate(timeout=300)[0].splitlines()[-1] for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
def test_two_processes_find_each_other():
    assert together("-c", PROGRAM) == ["0 [0, 1]", "1 [0, 1]"]


@pytest.mark.slow
def test_processes_share_the_shards_of_a_data_set(tmp_path):
    size = ["--clips=65", "--frames=17", "--height=16", "--width=16"]
    said = together("-m", "launch.encode", f"--out={tmp_path}", *size)
    assert ["64 records" in said[0], " 1 records" in said[1]] == [True, True], said
    assert len(Records(tmp_path)) == 65


# ------------------------------------------------------------------------------------------------- the files of pods


def jobset(name):
    [job] = yaml.safe_load((ROOT / "launch" / "gke" / name).read_text(encoding="utf-8"))["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    [container] = spec["template"]["spec"]["containers"]
    return spec, container


def test_the_files_of_gke_start_as_many_processes_as_they_say():
    spec, container = jobset("gpu.yaml")
    told = {each["name"]: each.get("value") for each in container["env"]}
    assert spec["parallelism"] == spec["completions"] == int(told["JAX_NUM_PROCESSES"]) == 12
    assert container["resources"]["limits"]["nvidia.com/gpu"] * 12 == 96
    assert {"JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_ID"} <= set(told)
    spec, container = jobset("tpu.yaml")
    assert spec["parallelism"] == spec["completions"] == 16
    assert container["resources"]["limits"]["google.com/tpu"] * 16 == 64


def test_the_file_of_slurm_starts_a_process_for_every_gpu():
    text = (ROOT / "launch" / "slurm" / "train.sbatch").read_text(encoding="utf-8")
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", text, re.MULTILINE))
    assert int(options["nodes"]) * int(options["ntasks-per-node"]) == 96
    assert options["ntasks-per-node"] == options["gpus-per-node"]


@pytest.mark.parametrize("path", ["slurm/train.sbatch", "tpu/train.sh"])
def test_scripts_are_bash(path):
    subprocess.run(["bash", "-n", str(ROOT / "launch" / path)], check=True)


def test_the_script_of_tpu_hosts_keeps_its_arguments(tmp_path):
    """With a `gcloud` that only says what it is asked."""
    fake = tmp_path / "gcloud"
    fake.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    told = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TPU": "slice", "ZONE": "z", "HOME": str(tmp_path)}
    command = [str(ROOT / "launch" / "tpu" / "train.sh"), "--config=a b.py", "--workdir=/x"]
    said = subprocess.run(command, env=told, capture_output=True, text=True, check=True).stdout
    assert r"launch.train --distributed --config=a\ b.py --workdir=/x > train.log" in said
    assert "--worker=all" in said.splitlines()
    del told["TPU"]
    failed = subprocess.run(command, env=told, capture_output=True, text=True)
    assert failed.returncode != 0 and "name of the slice" in failed.stderr
