"""Training the pose estimator on frames of recorded films of the stage (`launch/encode.py`)."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp

from shotverse_jax import weights
from shotverse_jax.config import PoseNetConfig, PoseNetTrainConfig
from shotverse_jax.data.pose_source import PoseSource
from shotverse_jax.models.pose_net import PoseNet
from shotverse_jax.parallel.mesh import batch_share, make_mesh
from shotverse_jax.parallel.rules import create
from shotverse_jax.train.task import Loss, Task
from shotverse_jax.train.wear import worn


def build(config: PoseNetTrainConfig, folder: Path) -> Task:
    """The task of a config; nothing is written to `folder`."""
    model = config.model
    network = PoseNet(model, config.execution)
    params = create(lambda: weights.init("pose_net", model, jax.random.key(config.seed)), make_mesh(config.mesh))
    return Task(
        config=config,
        trainable={"params": params},
        frozen={},
        loss=make_loss(network, config),
        source=functools.partial(_source, config),
        export=functools.partial(_export, model),
    )


def _export(config: PoseNetConfig, variables: dict, folder: Path) -> None:
    weights.export("pose_net", variables["params"], config, folder)


def make_loss(network: PoseNet, config: PoseNetTrainConfig) -> Loss:
    """The loss of a run: training frames are worn, held-out frames (without a key) are not."""

    def loss(variables, batch, bucket, key):
        frames_BHWC = batch["frames_BHWC"] / 127.5 - 1
        if key is not None:
            frames_BHWC = worn(frames_BHWC, key, config.blur, config.noise, config.tint)
        pose_B34, log_scale_B2 = network.apply(variables, frames_BHWC)
        return pose_loss(pose_B34, log_scale_B2, batch["pose_B34"], config.model.unit)

    return loss


def pose_loss(pose_B34, log_scale_B2, true_B34, unit: float) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The mean negative log likelihood of Laplace errors whose scale the network predicts, and metrics.

    Frames from which the pose cannot be seen get a large scale, and so weigh little (Kendall and Gal 2017, arXiv
    1703.04977, §3.2).

    Args:
        pose_B34, log_scale_B2: as `PoseNet` returns them.
        true_B34: the poses that the frames were rendered from.
        unit: metres per unit of the scale of positions.

    Returns:
        The loss and metrics: rot_deg (mean), rot_deg_median, position_m (mean).
    """
    gap_B = rotation_gap(pose_B34, true_B34)
    # 1e-8: the gradient of a root at 0 is infinite, and would make NaN of a pose that is met exactly.
    distance_B = jnp.sqrt(((pose_B34[..., 3] - true_B34[..., 3]) ** 2).sum(-1) + 1e-8)
    error_B2 = jnp.stack([gap_B, distance_B / unit], axis=-1)
    loss = (error_B2 * jnp.exp(-log_scale_B2) + log_scale_B2).sum(-1).mean()
    degrees_B = jnp.degrees(2 * jnp.arcsin(jnp.clip(gap_B / 2, 0, 1)))
    metrics = {"rot_deg": degrees_B.mean(), "rot_deg_median": jnp.median(degrees_B), "position_m": distance_B.mean()}
    return loss, metrics


def rotation_gap(a_B34, b_B34) -> jax.Array:
    """2 sin(angle / 2) of the rotation between two poses: the angle in radians where it is small, at most 2."""
    square_B = ((a_B34[..., :3] - b_B34[..., :3]) ** 2).sum((-1, -2)) / 2
    return jnp.sqrt(square_B + 1e-8)


def _source(config: PoseNetTrainConfig, split: str, num_steps: int) -> PoseSource:
    host, num_hosts = batch_share(make_mesh(config.mesh))
    return PoseSource(
        folder=config.data if split == "train" else config.test_data,
        seed=config.seed,
        global_batch=config.batch,
        num_steps=num_steps,
        host=host,
        num_hosts=num_hosts,
    )
