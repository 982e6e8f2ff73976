"""Preference optimisation of a controller's expert on pairs of films (Flow-DPO): give `data` and `rejected`.

The adapter and the optimizer are those of flow_grpo's Flow-DPO: rank 32, alpha 64, AdamW with lr 3e-4 and beta 100.
"""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import FilmPreferenceTrainConfig, LoraConfig, controller_small

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")


def get_config(**training) -> ConfigDict:
    """Returns the values of a run of the shipped controller's high-noise expert, with changes."""
    model = dataclasses.replace(controller_small(), lora=LoraConfig(rank=32, alpha=64.0, targets=TARGETS))
    values = {"steps": 400, "batch": 8, "lr": 3e-4, "warmup": 0, "betas": (0.9, 0.999), "weight_decay": 1e-4}
    values |= {"base_weights": "controller_small", "expert": "high", "ema": 0.99}
    config = FilmPreferenceTrainConfig(model=model, **(values | training))
    return ConfigDict(dataclasses.asdict(config), convert_dict=True)
