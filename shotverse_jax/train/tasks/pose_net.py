"""Training the pose estimator on frames of recorded films of the stage (`launch/encode.py`)."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp

from shotverse_jax import weights
from shotverse_jax.config import PoseNetConfig, PoseNetTrainConfig, from_dict
from shotverse_jax.data.pose_source import PoseSource
from shotverse_jax.models.pose_net import PoseNet, pose_loss
from shotverse_jax.parallel.mesh import batch_share, make_mesh
from shotverse_jax.parallel.rules import create
from shotverse_jax.train.task import Task


def build(values: dict, folder: Path) -> Task:
    """The task of a config's values."""
    config = from_dict(PoseNetConfig, values.pop("model"))
    run = from_dict(PoseNetTrainConfig, values)
    network = PoseNet(config, run.execution)
    params = create(lambda: weights.init("pose_net", config, jax.random.key(run.seed)), make_mesh(run.mesh))

    def loss_fn(variables, batch, layout, key):
        frames_BHWC = batch["frames_BHWC"] / 127.5 - 1
        if key is not None:
            frames_BHWC = worn(frames_BHWC, key, run.blur, run.noise, run.tint)
        pose_B34, log_scale_B2 = network.apply(variables, frames_BHWC)
        return pose_loss(pose_B34, log_scale_B2, batch["pose_B34"], config.unit)

    def export(variables, folder):
        weights.export("pose_net", variables["params"], config, folder)

    return Task(run, {"params": params}, {}, loss_fn, functools.partial(_source, run), export)


def worn(frames_BHWC: jax.Array, key: jax.Array, blur: int, noise: float, tint: float) -> jax.Array:
    """Frames as a generator may make them: every frame is blurred, tinted and grained by its own amounts.

    Args:
        frames_BHWC: in [-1, 1].
        blur: up to so many passes of a 3x3 binomial filter.
        noise, tint: largest standard deviation of the grain, and largest change of gain and offset of a channel.
    """
    b_key, g_key, o_key, s_key, n_key = jax.random.split(key, 5)
    count = len(frames_BHWC)
    passes_B111 = jax.random.uniform(b_key, (count, 1, 1, 1), maxval=float(blur))
    x = frames_BHWC
    for done in range(blur):
        x = x + jnp.clip(passes_B111 - done, 0, 1) * (_binomial(x) - x)
    x = x * (1 + tint * jax.random.uniform(g_key, (count, 1, 1, 3), minval=-1.0))
    x = x + tint * jax.random.uniform(o_key, (count, 1, 1, 3), minval=-1.0)
    grain_B111 = noise * jax.random.uniform(s_key, (count, 1, 1, 1))
    return jnp.clip(x + grain_B111 * jax.random.normal(n_key, x.shape), -1, 1)


def _binomial(x: jax.Array) -> jax.Array:
    for axis in (1, 2):
        pad = [(1, 1) if i == axis else (0, 0) for i in range(4)]
        y, length = jnp.pad(x, pad, mode="edge"), x.shape[axis]
        before, after = (jax.lax.slice_in_dim(y, start, start + length, axis=axis) for start in (0, 2))
        x = (before + 2 * x + after) / 4
    return x


def _source(run: PoseNetTrainConfig, split: str, num_steps: int) -> PoseSource:
    host, num_hosts = batch_share(make_mesh(run.mesh))
    return PoseSource(
        folder=run.data if split == "train" else run.test_data,
        seed=run.seed,
        global_batch=run.batch,
        num_steps=num_steps,
        host=host,
        num_hosts=num_hosts,
    )
