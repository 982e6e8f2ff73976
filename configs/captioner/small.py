"""The training of captioner_small on previews of the stage; sized for a CPU core or two."""

from shotverse_jax.config import captioner_small
from shotverse_jax.configs.captioner import base


def get_config():
    """Returns the config."""
    return base.get_config(
        captioner_small(),
        steps=2000,
        batch=32,
        optimizer="muon",
        lr=4e-3,
        warmup=50,
        final_lr=0.02,
        ema=0.995,
        text_length=208,
        answer_length=70,
        view_weight=0.3,
        eval_every=200,
        eval_batches=6,
        checkpoint_every=100,
        execution=dict(unroll=True),
    )
