"""`launch/train.py` with one more task, a network of a few numbers: for tests that kill runs. Program and config."""

import dataclasses
import functools
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from shotverse_jax.config import TrainConfig
from shotverse_jax.data.records import Records, shuffled
from shotverse_jax.data.steps import StepSource
from shotverse_jax.files import replacing
from shotverse_jax.parallel.mesh import batch_share, make_mesh
from shotverse_jax.parallel.rules import create
from shotverse_jax.train import TASKS
from shotverse_jax.train.task import Task, TaskKind

BATCH = 8


@dataclasses.dataclass(frozen=True)
class ToyConfig(TrainConfig):
    """width: of the network. stop_at: host `stop_host` gets `stop_signal` when it reads this step. poison: the first
    step whose samples are NaN. noise: share of dropped inputs. expert: as a controller has it."""

    task: str = "toy"
    data: str = ""
    width: int = 16
    stop_at: int = -1
    stop_host: int = 0
    stop_signal: str = "SIGTERM"
    poison: int = -1
    noise: float = 0.2
    expert: str = ""


def get_config() -> ConfigDict:
    toy = ToyConfig(steps=30, batch=BATCH, lr=3e-2, warmup=2, ema=0.9, log_every=1, eval_every=10, eval_batches=1)
    config = ConfigDict(dataclasses.asdict(toy), convert_dict=True)
    config.checkpoint_every, config.max_bad_steps = 5, 3
    return config


@dataclasses.dataclass(frozen=True)
class ToySource(StepSource):
    run: ToyConfig
    split: str
    global_batch: int
    num_steps: int
    host: int
    num_hosts: int

    @functools.cached_property
    def _records(self):
        return Records(self.run.data)

    def __getitem__(self, step):
        if not 0 <= step < self.num_steps:
            raise IndexError(step)
        train = self.split == "train"
        if train and step == self.run.stop_at and self.host == self.run.stop_host:
            os.kill(os.getpid(), signal.Signals[self.run.stop_signal])
        ids = [shuffled(i, len(self._records), self.run.seed) for i in self.samples(step)]
        x_BD = np.stack([self._records[i]["x"] for i in ids])
        if train and 0 <= self.run.poison <= step:
            x_BD[:] = np.nan
        return None, {"x_BD": x_BD, "id_B": np.array(ids, np.int32)}


def build(run, folder):
    mesh = make_mesh(run.mesh)

    def init():
        keys = jax.random.split(jax.random.key(run.seed), 4)
        size = run.width
        adapter = {"a": jax.random.normal(keys[0], (size, 4)), "b": jnp.zeros((4, size))}
        head = {"kernel": jax.random.normal(keys[1], (size, size)) / 4, "bias": jnp.zeros(size)}
        trainable = {"lora": {"q_proj": {"adapter": adapter}}, "params": {"head": head}}
        return trainable, {"params": {"q_proj": {"kernel": jax.random.normal(keys[2], (size, size))}}}

    def loss(variables, batch, bucket, key):
        adapter, x_BD = variables["lora"]["q_proj"]["adapter"], batch["x_BD"]
        if key is not None:  # randomness that a resumed run has to get right
            x_BD = x_BD * jax.random.bernoulli(key, 1 - run.noise, x_BD.shape)
        h_BD = jnp.tanh(x_BD @ variables["params"]["q_proj"]["kernel"] + x_BD @ adapter["a"] @ adapter["b"])
        y_BD = h_BD @ variables["params"]["head"]["kernel"] + variables["params"]["head"]["bias"]
        value = jnp.mean((y_BD - batch["x_BD"][:, ::-1]) ** 2)
        # Which sample was at which place of the step that was taken, whoever read it ahead.
        return value, {f"id_{i}": batch["id_B"][i] for i in range(BATCH // run.accumulate)}

    def source(split, steps):
        return ToySource(run, split, run.batch, steps, *batch_share(mesh))

    def export(variables, folder):
        with replacing(folder) as place:
            place.mkdir()
            np.save(place / "base.npy", variables["params"]["q_proj"]["kernel"])
            np.save(place / "head.npy", variables["params"]["head"]["kernel"])

    trainable, frozen = create(init, mesh)
    if jax.process_count() == 1:
        np.save(folder / "base.npy", frozen["params"]["q_proj"]["kernel"])
    return Task(config=run, trainable=trainable, frozen=frozen, loss=loss, source=source, export=export)


TASKS["toy"] = TaskKind(ToyConfig, build)


if __name__ == "__main__":
    from shotverse_jax.launch import train as program  # here, since it defines flags
    from shotverse_jax.launch.program import start

    start(program.main, "config", "workdir")
