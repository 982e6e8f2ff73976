"""Training: `build` a task from a config, `train` it in a folder, `export` what it learned.

config = read_config(small.get_config(steps=100).to_dict())  # of configs/planner/small.py
task = build(config, "runs/first")
state = train(task, "runs/first")
export(task, state, "runs/first/export")
"""

from shotverse_jax.train.loop import alone, export, restore, train
from shotverse_jax.train.task import Task
from shotverse_jax.train.tasks import TASKS, build, outline, read_config

__all__ = ["TASKS", "Task", "alone", "build", "export", "outline", "read_config", "restore", "train"]
