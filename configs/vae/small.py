"""The shipped video VAE's training, sized for two CPU cores (JAX_NUM_CPU_DEVICES=2, a device per core)."""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import VAES, VAETrainConfig

RECIPE = dict(
    steps=3000,
    batch=4,
    optimizer="muon",
    lr=3e-3,
    warmup=100,
    final_lr=0.02,
    ema=0.99,
    weight_decay=1e-4,
    frames=9,
    height=64,
    width=64,
    kl_weight=1e-4,
    eval_every=250,
    eval_batches=8,
    checkpoint_every=500,
)


def get_config(preset: str = "vae_small", model: dict | None = None, **training) -> ConfigDict:
    """Returns the config of a preset of `VAES`, with changes to its model and its training values."""
    config = ConfigDict(dataclasses.asdict(VAETrainConfig(model=VAES[preset]())), convert_dict=True)
    config.update(RECIPE | training | {"model": model or {}})
    return config
