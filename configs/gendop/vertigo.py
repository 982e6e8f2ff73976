"""VERTIGO's generator before its preferences (scripts/train_shot_origin_global.sh): GenDoP around the subject.

Give `data`, a folder of DataDoP's layout with LenScript's files, and `text_weights`, Stable Diffusion 2.1's text tower.
33,000 shots, 128 epochs. The original names three sizes of a batch: 16 in its README, which is taken here, 256 in its
launcher and 6 in the name of its run. `--config.model.tokens.anchor=tokens --config.model.tokens.bins=centre` trains
what `configs/preference/vertigo.py` can improve the first position of.
"""

import dataclasses
from functools import partial

from shotverse_jax.config import gendop_of, vertigo_tokens
from shotverse_jax.configs.gendop import base

EPOCH = 33_000 // 16

get_config = partial(
    base.get_config,
    model=dataclasses.replace(gendop_of("text"), tokens=vertigo_tokens()),
    caption="movement",
    steps=128 * EPOCH,
    checkpoint_every=EPOCH,
    eval_every=EPOCH,
)
