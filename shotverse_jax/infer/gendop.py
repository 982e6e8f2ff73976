"""GenDoP as published: a caption, and a first frame and its depth where the network sees them, to pose tokens."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from shotverse_jax.camera.tokens.gendop import NUM_POSES
from shotverse_jax.camera.tokens.shotverse import BOS, EOS
from shotverse_jax.config import Execution, GenDoPConfig
from shotverse_jax.infer.decode import Grammar, Sampling, decode_opt
from shotverse_jax.models.gendop import GenDoP

GENDOP_SAMPLING = Sampling(temperature=1.0, top_k=10, top_p=1.0)


def generate(
    params: Mapping[str, Any],
    config: GenDoPConfig,
    execution: Execution,
    key: jax.Array,
    text_ids_BT: Any,
    real_BT: Any,
    image_BHWC: Any = None,
    depth_BHW: Any = None,
    sampling: Sampling = GENDOP_SAMPLING,
) -> jax.Array:
    """Pose tokens [B, 302] of 30 poses, BOS … EOS, as `camera.gendop_tokenizer.GenDoPTokenizer.decode` takes a row.

    Inputs are made by `inputs/clip.py`. key: as of `infer.decode.decode`. Every token is a value, so that a sequence is
    always whole; the original draws a 301st token that it drops. Raises ValueError as `GenDoP.prefix`.
    """
    prefix_BPD = _prefix(params, config, execution, text_ids_BT, real_BT, image_BHWC, depth_BHW)
    grammar = Grammar.of_gendop(NUM_POSES)
    ids_BN = decode_opt(params["decoder"], config.decoder, prefix_BPD, grammar, key, sampling, dtype=execution.dtype)
    return jnp.pad(jnp.pad(ids_BN, ((0, 0), (1, 0)), constant_values=BOS), ((0, 0), (0, 1)), constant_values=EOS)


@functools.partial(jax.jit, static_argnames=("config", "execution"))
def _prefix(params, config, execution, *inputs):
    return GenDoP(config, execution).apply({"params": params}, *inputs, method="prefix")
