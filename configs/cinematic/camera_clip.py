"""CameraCLIP from OpenAI's CLIP (`shotverse get clip-vit-b32`) on a folder of Cinematic2K's form: --config.data=clips

Of the paper are the layers that learn (the last 4 of the image's tower, the last 2 of the text's), the 8 frames and the
contrastive loss; --config.model.temporal=mean is its mean over the frames. It does not say which CLIP, nor batch,
learning rate and length of the training; they are chosen here: 30 epochs of 1,600 clips. 0.07 is CLIP's own first
temperature.
"""

import dataclasses

from ml_collections import ConfigDict

from shotverse_jax.config import CameraCLIPTrainConfig


def get_config() -> ConfigDict:
    """Returns the config."""
    config = ConfigDict(dataclasses.asdict(CameraCLIPTrainConfig()), convert_dict=True)
    config.update(
        steps=375,
        batch=128,
        lr=5e-5,
        warmup=40,
        weight_decay=0.05,
        ema=0.0,
        trained="last",
        base_weights="clip-vit-b32",
        height=224,
        width=224,
        eval_every=25,
        eval_batches=1,
        checkpoint_every=25,
        execution=dict(remat="save_attention"),
    )
    return config
