"""VERTIGO's own values (its train_dpo.py and README), for a GenDoP trained by `configs/gendop/vertigo.py`.

Give `base_weights`, its export, whose form of the tokens is taken: with its anchor as tokens the first position learns
too, which the original's head does not.

8 pairs a step, 128 epochs of the pairs; here 10,000 pairs. Its policy ran with dropout and its reference without; here
both run without. A base of 1 GB is trained whole.
"""

from functools import partial

from shotverse_jax.config import Execution
from shotverse_jax.configs.preference import base

EPOCH = 10_000 // 8

get_config = partial(
    base.get_config,
    base_weights="",
    steps=128 * EPOCH,
    batch=8,
    lr=1e-6,
    warmup=0,
    ema=0.0,
    sft_weight=0.0,
    checkpoint_every=16 * EPOCH,
    eval_every=EPOCH,
    execution=Execution(dtype="bfloat16"),
)
