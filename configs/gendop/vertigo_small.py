"""A small GenDoP around the subject, for text: from scratch on single shots of the stage, sized for two CPU cores.

Unlike VERTIGO's own its first position is in tokens, so that preferences reach it, and bins are read at their centres.
The statistics are those of `shotverse datadop statistics --stage 10000`.
"""

import dataclasses
from functools import partial

from shotverse_jax.config import GenDoPTokenConfig
from shotverse_jax.configs.gendop import small

TOKENS = GenDoPTokenConfig(
    world="origin_global",
    anchor="tokens",
    bins="centre",
    translation_mean=(-0.0093, 0.0064, -0.1763),
    translation_scale=(2.8013, 1.929, 2.8146),
    anchor_mean=(0.0735, 0.2301, -0.1496),
    anchor_scale=(7.102, 3.6854, 7.0257),
)

get_config = partial(small.get_config, model=dataclasses.replace(small.MODEL, tokens=TOKENS))
