"""Runs of `toy_run.py` in one process or several, on as many devices of a CPU as one wishes."""

import dataclasses
import functools
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shotverse_jax.data.records import write_dataset
from shotverse_jax.train import build, read_config, train
from shotverse_jax.train.metrics import JSONL, read_metrics

TOY = Path(__file__).parent / "toy_run.py"
WIDTH, SAMPLES = 16, 40


class Toy:
    """Starts runs; what a run leaves is in its folder."""

    def __init__(self, data: Path):
        self.data = data

    def start(self, folder, process=0, environment=None, **config):
        """One process. config: values of `toy_run.ToyConfig`; a dot in a name is written as two underscores."""
        values = {"data": str(self.data)} | config
        command = [sys.executable, str(TOY), f"--config={TOY}", f"--workdir={folder}", "--heartbeat_seconds=10"]
        command += [f"--config.{name.replace('__', '.')}={value}" for name, value in values.items()]
        told = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"} | (environment or {})
        said = open(folder.parent / f"{folder.name}-{process}.log", "ab")  # noqa: SIM115
        with said:
            return subprocess.Popen(command, env=told, stdout=said, stderr=said)

    def run(self, folder, processes=1, devices=1, timeout=300, **config):
        """Exit codes of all processes, and what they said."""
        told = {"JAX_NUM_CPU_DEVICES": str(devices)}
        if processes > 1:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                told["JAX_COORDINATOR_ADDRESS"] = f"127.0.0.1:{free.getsockname()[1]}"
            told["JAX_NUM_PROCESSES"] = str(processes)
        ranks = range(processes)
        started = [self.start(folder, rank, told | {"JAX_PROCESS_ID": str(rank)}, **config) for rank in ranks]
        try:
            codes = [process.wait(timeout) for process in started]
        finally:
            for process in started:
                process.kill()
                process.wait()
        said = [(folder.parent / f"{folder.name}-{rank}.log").read_text(errors="replace") for rank in ranks]
        return codes, said

    def here(self, folder, ideal_step_seconds=None, **config):
        """A run in this very process; the last state. ideal_step_seconds: as a `Task` has it."""
        values = _toy_run().get_config().to_dict() | {"data": str(self.data)} | config
        task = build(read_config(values), folder)
        return train(dataclasses.replace(task, ideal_step_seconds=ideal_step_seconds), folder)

    @staticmethod
    def records(folder, kind="train"):
        """{step: [records of it]}, more than one where a step was taken again."""
        found = {}
        for record in read_metrics(folder / JSONL):
            if record["kind"] == kind:
                found.setdefault(record["step"], []).append(record)
        return found


@functools.cache
def _toy_run():
    spec = importlib.util.spec_from_file_location("toy_run", TOY)
    module = sys.modules["toy_run"] = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("toy") / "data", np.random.default_rng(0)
    write_dataset(folder, [{"x": rng.normal(size=WIDTH).astype(np.float32)} for _ in range(SAMPLES)], {})
    return Toy(folder)
