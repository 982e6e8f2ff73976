"""Latents of trajectories and of captions by CLaTr, for the metrics `clatr_score`, `frechet` and `prdc`.

Sources: GenDoP evaluate/CLaTr (trajectory_dataset.py, clip_extraction.py, caption_dataset.py). A latent here is the
mean of CLaTr's distribution; GenDoP's own numbers use one random draw per sample.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import CLaTrConfig, CLIPTextConfig
from shotverse_jax.inputs.clip import tokenize
from shotverse_jax.models.clatr import CLaTr
from shotverse_jax.models.clip import CLIPText

FRAMES = 120
BATCH = 32

Params = Mapping[str, Any]


def trajectory_features(trajectory: Trajectory) -> np.ndarray:
    """Returns one shot as CLaTr reads it.

    Poses are relative to the first one, with OpenGL camera axes, in the trajectory's own unit of length. A shot of
    other than 120 frames is resampled over its whole length.

    Returns:
        [120, 9] float32: the first two columns of the rotation, then the translation since the frame before.

    Raises:
        ValueError: the trajectory has more than one shot.
    """
    if trajectory.num_shots != 1:
        raise ValueError(f"CLaTr reads one shot, got {trajectory.num_shots}; score each shot alone")
    pose_T34 = trajectory.pose_T34
    if len(pose_T34) != FRAMES:
        pose_T34 = se3.resample(pose_T34, np.linspace(0.0, len(pose_T34) - 1.0, FRAMES))
    # The axes change before the poses become relative, so both sides of a relative pose have OpenGL's axes.
    pose_T34 = se3.flip_yz(pose_T34)
    pose_T34 = se3.relative(pose_T34[0], pose_T34)
    # Frame 0 has its position, which is 0 here. GenDoP switches the standardisation of these numbers off, so there is
    # none.
    step_T3 = np.diff(pose_T34[:, :, 3], axis=0, prepend=0.0)
    return np.concatenate([pose_T34[:, :, 0], pose_T34[:, :, 1], step_T3], axis=1).astype(np.float32)


def trajectory_latents(config: CLaTrConfig, params: Params, trajectories: Sequence[Trajectory]) -> np.ndarray:
    """Returns the latents [N, D] of N single shots.

    Raises:
        ValueError: as `trajectory_features`.
    """
    features_NTC = np.stack([trajectory_features(trajectory) for trajectory in trajectories])
    return np.asarray(_trajectories(config, params, features_NTC))


def text_latents(
    config: CLaTrConfig, params: Params, tower: tuple[CLIPTextConfig, Params, Tokenizer], captions: Sequence[str]
) -> np.ndarray:
    """Returns the latents [N, D] of N captions.

    Args:
        config: the network.
        params: its weights.
        tower: config, weights and tokenizer of the CLIP text tower that CLaTr was trained with (`weights.load`).
        captions: the texts.

    Raises:
        ValueError: the tower's states are not as wide as the texts that CLaTr reads.
    """
    clip, clip_params, tokenizer = tower
    if clip.hidden_size != config.text_size:
        raise ValueError(
            f"CLaTr reads texts of {config.text_size} numbers a token, this tower makes {clip.hidden_size}; "
            "give the tower that it was trained with (OpenAI's ViT-B/32)"
        )
    inputs = tokenize(tokenizer, captions, clip.max_positions)
    return np.asarray(_texts(config, clip, params, clip_params, *inputs))


@functools.partial(jax.jit, static_argnames="config")
def _trajectories(config, params, features_NTC):
    # One sample after the other in batches of a fixed size: one compiled body whatever the number of samples.
    def one(features_TC):
        real_1T = jnp.ones((1, len(features_TC)), bool)
        return CLaTr(config).apply({"params": params}, features_TC[None], real_1T, method="encode_trajectory").mu_BD[0]

    return jax.lax.map(one, features_NTC, batch_size=BATCH)


@functools.partial(jax.jit, static_argnames=("config", "clip"))
def _texts(config, clip, params, clip_params, ids_NT, real_NT):
    def one(inputs):
        ids_1T, real_1T = (x[None] for x in inputs)
        states_1TD = CLIPText(clip).apply({"params": clip_params}, ids_1T, real_1T)
        return CLaTr(config).apply({"params": params}, states_1TD, real_1T, method="encode_text").mu_BD[0]

    return jax.lax.map(one, (ids_NT, real_NT), batch_size=BATCH)
