"""Latents of trajectories and of captions by CLaTr, for `clatr_score`, `frechet` and `prdc`.

Sources: GenDoP evaluate/CLaTr (trajectory_dataset.py, clip_extraction.py, caption_dataset.py). A latent here is the
mean; GenDoP's own numbers are of one latent drawn for each sample.
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
    """One shot as CLaTr reads it, float32 [120, 9]: two columns of the rotation, then the step from the frame before.

    Poses are relative to the first, with OpenGL camera axes, in the trajectory's own unit; shots of other than 120
    frames are resampled over their whole length. Raises ValueError for more than one shot.
    """
    if trajectory.num_shots != 1:
        raise ValueError(f"CLaTr reads one shot, got {trajectory.num_shots}; score each shot alone")
    pose_T34 = trajectory.pose_T34
    if len(pose_T34) != FRAMES:
        pose_T34 = se3.resample(pose_T34, np.linspace(0.0, len(pose_T34) - 1.0, FRAMES))
    pose_T34 = se3.flip_yz(pose_T34)
    pose_T34 = se3.relative(pose_T34[0], pose_T34)
    step_T3 = np.diff(pose_T34[:, :, 3], axis=0, prepend=0.0)
    return np.concatenate([pose_T34[:, :, 0], pose_T34[:, :, 1], step_T3], axis=1).astype(np.float32)


def trajectory_latents(config: CLaTrConfig, params: Params, trajectories: Sequence[Trajectory]) -> np.ndarray:
    """Latents [N, D] of single shots; ValueError as `trajectory_features`."""
    features_NTC = np.stack([trajectory_features(trajectory) for trajectory in trajectories])
    return np.asarray(_trajectories(config, params, features_NTC))


def text_latents(
    config: CLaTrConfig, params: Params, tower: tuple[CLIPTextConfig, Params, Tokenizer], captions: Sequence[str]
) -> np.ndarray:
    """Latents [N, D] of captions; tower: what `weights.load("clip_text", folder)` returned.

    Raises ValueError when the tower's states are not as wide as CLaTr's texts.
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
