"""Train a network: python -m launch.train --config=configs/planner/small.py --workdir=runs/small

A run that was stopped goes on from its newest checkpoint when started again with the same --workdir. At the end, and
with --export_only at any time, the averaged parameters are exported to <workdir>/export. A run that is stopped by a
signal saves and exits with code 75. On several hosts every process is started alike; see docs/pods.md.
"""

import contextlib
import sys
from pathlib import Path

import jax
from absl import flags
from ml_collections import config_flags

from shotverse_jax import train
from shotverse_jax.commands.common import show
from shotverse_jax.files import check_place
from shotverse_jax.launch import distributed, program

CONFIG = config_flags.DEFINE_config_file("config", None, "a file of configs/", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run: checkpoints, metrics, tokenizer, export")
EXPORT_ONLY = flags.DEFINE_bool("export_only", False, "export the newest checkpoint and stop")
STOPPED = 75  # "temporary failure": start it again


@program.refusing
def main(_):
    """Trains or exports; returns the exit code."""
    distributed.join(distributed.DISTRIBUTED.value, distributed.HEARTBEAT.value)
    check_place(WORKDIR.value, folder=True)
    folder, config = Path(WORKDIR.value), train.read_config(CONFIG.value.to_dict())
    # A run that another process trains can be exported meanwhile.
    with contextlib.nullcontext() if EXPORT_ONLY.value else train.alone(folder):
        task = train.build(config, folder)
    state = train.restore(task, folder) if EXPORT_ONLY.value else train.train(task, folder)
    step, steps, first = int(state.step), task.config.steps, jax.process_index() == 0
    if EXPORT_ONLY.value or step >= steps:
        # Every process exports: gathering split parameters needs all of them; the first one writes.
        train.export(task, state, folder / "export")
        if first:
            show(f"exported step {step} to {folder / 'export'}")
        return 0
    if first:
        print(f"stopped at step {step} of {steps}; start again to go on", file=sys.stderr)
    return STOPPED


if __name__ == "__main__":
    program.start(main, "config", "workdir")
