"""Train a network: python -m launch.train --config=configs/planner/small.py --workdir=runs/small

A run that was stopped goes on from its newest checkpoint when started again with the same --workdir. At the end, and
with --export_only at any time, the averaged parameters are exported to <workdir>/export. A run that is stopped by a
signal saves and exits with code 75. On several hosts every process is started alike; see docs/pods.md.
"""

import json
import sys
from pathlib import Path

import jax
from absl import flags
from ml_collections import config_flags

from shotverse_jax.data.loader import batches
from shotverse_jax.launch import distributed, previews, program
from shotverse_jax.launch.peak import ideal_seconds
from shotverse_jax.train.checkpoint import Checkpoints
from shotverse_jax.train.loop import train
from shotverse_jax.train.placement import Placement, together
from shotverse_jax.train.state import init_state, make_optimizer, merge
from shotverse_jax.train.step import make_eval_step, make_train_step
from shotverse_jax.train.tasks import controller, planner, pose_net, vae

CONFIG = config_flags.DEFINE_config_file("config", None, "a file of configs/", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run: checkpoints, metrics, tokenizer, export")
EXPORT_ONLY = flags.DEFINE_bool("export_only", False, "export the newest checkpoint and stop")
STOPPED = 75  # "temporary failure": start it again
TASKS = {"planner": planner.build, "controller": controller.build, "pose_net": pose_net.build, "vae": vae.build}


@program.refusing
def main(_):
    distributed.join(distributed.DISTRIBUTED.value)
    folder = Path(WORKDIR.value)
    folder.mkdir(parents=True, exist_ok=True)
    values = CONFIG.value.to_dict()
    task = TASKS[values["task"]]({name: value for name, value in values.items() if name != "task"}, folder)
    if jax.process_index() == 0:
        (folder / "run.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    run = task.run
    optimizer, schedule = make_optimizer(run)
    state = init_state(task.trainable, optimizer, ema=run.ema > 0)
    place = Placement.of(run, state, task.frozen)
    if EXPORT_ONLY.value:
        state, _ = place.put(state, task.frozen)
        state = Checkpoints(folder / "checkpoints", writes=False).restore(state)
    else:
        state = train(
            run,
            folder,
            state,
            task.frozen,
            make_train_step(task.loss_fn, optimizer, schedule, run.ema, place, run.accumulate, task.whole),
            make_eval_step(task.loss_fn, place),
            train_batches=lambda start: batches(task.source("train", run.steps), start, run.workers),
            eval_batches=lambda: batches(task.source("test", run.eval_batches)),
            place=place,
            ideal=ideal_seconds(values, place.replicated.mesh),
            preview=previews.build(values, folder, task),
        )
    if EXPORT_ONLY.value or int(state.step) >= run.steps:
        variables = together(merge(state.averaged, task.frozen))
        if jax.process_index() == 0:
            task.export(variables, folder / "export")
            print(f"exported step {int(state.step)} to {folder / 'export'}")
        return 0
    if jax.process_index() == 0:
        print(f"stopped at step {int(state.step)} of {run.steps}; start again to go on", file=sys.stderr)
    return STOPPED


if __name__ == "__main__":
    program.start(main, "config", "workdir")
