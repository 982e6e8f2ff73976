"""GenDoP's training (its README, core/options.py and main.py): every value, to override by name.

`text_motion.py`, `text_directorial.py` and `text_rgbd.py` are the networks that were published. Give `data`, the folder
of DataDoP; and, as the original does, towers to begin with: `text_weights` (Stable Diffusion 2.1's text tower) and
`vision_weights` (LAION's ViT-H/14).
"""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import Execution, GenDoPConfig, GenDoPTrainConfig, gendop_of

EPOCH = 28_000 // 16
"""Steps of an epoch of DataDoP's about 28,000 training shots."""


def get_config(mode: str = "text", model: GenDoPConfig | None = None, **training) -> ConfigDict:
    """Returns the recipe for a mode of GenDoP, a key of `config.MODES`, with changes to its training values.

    model: the network; None takes the published size.
    """
    published = {
        "steps": 100 * EPOCH,
        "batch": 16,
        "lr": 1e-5,
        "warmup": 0,
        "ema": 0.0,  # the original keeps no average
        "checkpoint_every": EPOCH,
        "eval_every": EPOCH,
        "execution": Execution(dtype="bfloat16", remat="full"),
    }
    config = GenDoPTrainConfig(model=model or gendop_of(mode), **(published | training))
    return ConfigDict(dataclasses.asdict(config), convert_dict=True)
