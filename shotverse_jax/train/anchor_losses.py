"""VERTIGO's losses on the first camera's position: SmoothL1 on it, and on where it puts the subject in the picture.

The screen loss keeps two things of the original apart that it mixes: a subject behind the camera has no place in the
picture. Samples whose true first camera has the subject behind it do not count, and a predicted camera that has it
behind is pulled forward instead of being compared by a mirrored point.
"""

import jax
import jax.numpy as jnp
import optax

from shotverse_jax.config import GenDoPTokenConfig

NEAR = 0.1
"""Units in front of the camera from which on a point is projected; a nearer one is projected as if it were so far."""
CLIP = 10.0
"""Places in the picture are limited to ± so many picture sizes."""


def screen_place(place_B3: jax.Array, rotation_B33: jax.Array, lens_B4: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where cameras see the origin of the world.

    Args:
        place_B3: positions of the cameras.
        rotation_B33: their rotations, camera-to-world, OpenGL axes.
        lens_B4: fx, fy, cx, cy divided by image width and height.

    Returns:
        The place [B, 2] from the picture's upper left corner (0, 0) to its lower right one (1, 1), within `CLIP`, and
        the distance [B] in front of the camera.
    """
    seen_B3 = -jnp.einsum("bji,bj->bi", rotation_B33, place_B3)
    depth_B = -seen_B3[:, 2]
    across_B2 = seen_B3[:, :2] * jnp.array([1.0, -1.0]) / jnp.maximum(depth_B, NEAR)[:, None]
    return jnp.clip(lens_B4[:, :2] * across_B2 + lens_B4[:, 2:], -CLIP, CLIP), depth_B


def anchor_losses(
    predicted_B3: jax.Array,
    anchor_B3: jax.Array,
    rotation_B33: jax.Array,
    lens_B4: jax.Array,
    tokens: GenDoPTokenConfig,
) -> tuple[jax.Array, jax.Array]:
    """The loss of the positions and that of the places in the picture, both means over the batch.

    Args:
        predicted_B3: positions that the anchor head predicts, (position - mean) / scale of the config.
        anchor_B3: the true ones.
        rotation_B33, lens_B4: of the true first cameras, as `screen_place` takes them.
        tokens: the form of the tokens, with mean and scale.
    """
    anchor = jnp.mean(optax.huber_loss(predicted_B3, anchor_B3))
    mean_3, scale_3 = jnp.asarray(tokens.anchor_mean), jnp.asarray(tokens.anchor_scale)
    seen_B2, depth_B = screen_place(predicted_B3 * scale_3 + mean_3, rotation_B33, lens_B4)
    true_B2, true_depth_B = screen_place(anchor_B3 * scale_3 + mean_3, rotation_B33, lens_B4)
    # The depth's own term takes over where the clipped place has no gradient any more.
    error_B = jnp.mean(optax.huber_loss(seen_B2, true_B2), axis=-1) + jnp.maximum(NEAR - depth_B, 0.0)
    # A mean over all samples, not over those that count, so that a batch may be computed in parts.
    return anchor, jnp.mean(jnp.where(true_depth_B > NEAR, error_B, 0.0))
