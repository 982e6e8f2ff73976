"""A training aid: one linear layer reads from what a network makes of two frames what the camera does between them.

The words of a caption say little about what moves, and late: a network that learns from them alone first learns how
captions are written. The probe regresses, from the tokens that the vision tower makes of a pair of frames, the camera's
motion from one to the other, and where the subject is. Its weights are a collection of their own beside 'params' and
are not exported. CameraCLIP has one on the states of its temporal code, for the same reason: the last of its clips that
it tells apart are those that differ by the order of their frames.

Axes: B samples; F pairs of frames; T tokens of a text; Y values.
"""

import jax
import jax.numpy as jnp

from shotverse_jax.data.view_targets import VALUES

COLLECTION = "view_probe"


def init_probe(key: jax.Array, width: int, values: int = VALUES) -> dict[str, jax.Array]:
    """Random weights of the linear layer, from `width` numbers of a pair of frames to `values`."""
    return {"kernel": jax.random.normal(key, (width, values)) * width**-0.5, "bias": jnp.zeros(values)}


def squared_error(probe: dict[str, jax.Array], pair_BFD: jax.Array, target_BFY: jax.Array) -> jax.Array:
    """Returns the mean squared error of what the probe reads from the states of pairs of frames."""
    return jnp.mean(jnp.square(pair_BFD @ probe["kernel"] + probe["bias"] - target_BFY))


def view_loss(
    probe: dict[str, jax.Array], x_BTD: jax.Array, feature_BT: jax.Array, target_BFY: jax.Array, tokens: int
) -> jax.Array:
    """Returns the mean squared error of what the probe reads from the mean of a pair's tokens.

    Args:
        probe: its weights.
        x_BTD: embeddings of a text with the tokens of frames in their places.
        feature_BT: the number of a token among those of the frames; -1 for text.
        target_BFY: as `data.view_targets.view_targets`.
        tokens: of a pair of frames.
    """
    pair_BT = jnp.where(feature_BT >= 0, feature_BT // tokens, -1)
    mine_BFT = pair_BT[:, None] == jnp.arange(target_BFY.shape[1])[:, None]
    mean_BFD = jnp.einsum("BFT,BTD->BFD", mine_BFT.astype(x_BTD.dtype), x_BTD) / tokens
    return squared_error(probe, mean_BFD, target_BFY)
