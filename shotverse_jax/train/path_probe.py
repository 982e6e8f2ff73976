"""A training aid: one linear layer reads the path of each shot from its camera codes.

Cross-entropy on pose tokens is mostly about copying the pose before, so the text's signal reaches the encoder late. The
probe regresses, from the codes of each shot, its later poses and the stage, in the frame of the shot's first camera.
Its weights are a collection of their own beside 'params' and are not exported.
"""

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.camera.tokens.shotverse import FIRST_BIN, POSE_VALUES, header_length
from shotverse_jax.config import PlannerConfig

COLLECTION = "path_probe"
METRES = 2.0
"""The unit of regressed translations, about the reach of a shot, so that they weigh as much as rotations."""
STILL = np.array([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1.0], np.float32)
"""The twelve values of the identity pose."""


def init_probe(key: jax.Array, config: PlannerConfig) -> dict[str, jax.Array]:
    """Random weights of the linear layer, from the M codes of a shot to its path.

    Raises:
        ValueError: a config without queries, without a fixed number of poses or without the stage in its tokens.
    """
    if config.tokens.poses != "count" or config.encoder != "queries" or config.tokens.origin == "none":
        raise ValueError("the path probe needs query codes and tokens with a fixed count of poses and the stage")
    width = config.num_queries * config.text.hidden_size
    outputs = config.tokens.count * POSE_VALUES
    return {"kernel": jax.random.normal(key, (width, outputs)) * width**-0.5, "bias": jnp.zeros(outputs)}


def path_targets(ids_BN: jax.Array, config: PlannerConfig, num_shots: int) -> jax.Array:
    """What the probe shall read, from pose tokens: [B, K, count, 12].

    For each shot the stage and poses 1 … count-1, in the frame of its pose 0. A pose is its translation over `METRES`,
    then its rotation row-major as it is written, not projected to an exact rotation. Where the tokens write the path in
    steps, the steps are the target, times √(count - 1), so that they weigh about as much.
    """
    header, count, bins = header_length(config.tokens), config.tokens.count, config.tokens.bins
    # An id stands for the centre of its bin in [-1, 1] (ShotVerse §3.1).
    value_BN = -1 + (ids_BN - FIRST_BIN + 0.5) * 2 / bins
    # The first token after BOS is log10 of the scale, from -2 to 2, so twice its value in [-1, 1].
    scale_B = 10.0 ** (2 * value_BN[:, 1])
    stage_BP = value_BN[:, 2 : 1 + header] if config.tokens.origin == "header" else STILL[None]
    stage_BKP = jnp.broadcast_to(stage_BP[:, None, None], (len(ids_BN), num_shots, 1, POSE_VALUES))
    shot_tokens = count * POSE_VALUES
    # BOS and the header come before the first shot, and one separator comes after every shot but the last.
    starts = 1 + header + jnp.arange(num_shots) * (shot_tokens + 1)
    shots_BKP = value_BN[:, starts[:, None] + jnp.arange(shot_tokens)].reshape(-1, num_shots, count, POSE_VALUES)

    def seen(poses):
        """Poses in the frame of the first camera of their shot."""
        origin, turn = parts(shots_BKP[:, :, :1])
        translation, rotation = parts(poses)
        back = turn.swapaxes(-1, -2)
        local_r = (back @ rotation).reshape(*rotation.shape[:-2], 9)
        return jnp.concatenate([(back @ (translation - origin)[..., None])[..., 0], local_r], axis=-1)

    def parts(x):
        return x[..., :3], x[..., 3:].reshape(*x.shape[:-1], 3, 3)

    later_BKP = shots_BKP[:, :, 1:]
    if config.tokens.path == "world":
        later_BKP = seen(later_BKP)
    elif config.tokens.path == "step":
        later_BKP = STILL + (count - 1) ** 0.5 * (later_BKP - STILL)
    local_BKP = jnp.concatenate([seen(stage_BKP), later_BKP], axis=2)
    return local_BKP.at[..., :3].multiply(scale_B[:, None, None, None] / METRES)


def path_loss(
    probe: dict[str, jax.Array], codes_BPD: jax.Array, ids_BN: jax.Array, config: PlannerConfig, num_shots: int
) -> jax.Array:
    """Returns the mean squared error of the paths that the probe reads from the codes H_plan [B, K M + K - 1, D]."""
    batch, _, width = codes_BPD.shape
    # Every shot but the last is followed by a separator; one more place makes them all alike.
    room = jnp.pad(codes_BPD, ((0, 0), (0, 1), (0, 0)))
    codes_BKX = room.reshape(batch, num_shots, config.num_queries + 1, width)[:, :, :-1].reshape(batch, num_shots, -1)
    read_BKY = codes_BKX @ probe["kernel"] + probe["bias"]
    target_BKY = path_targets(ids_BN, config, num_shots).reshape(read_BKY.shape)
    return jnp.mean(jnp.square(read_BKY - target_BKY))
