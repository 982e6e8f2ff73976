"""A small GenDoP for text, trained from scratch on single shots of the stage, sized for two CPU cores."""

from functools import partial

from shotverse_jax.config import CLIPTextConfig, Execution, GenDoPConfig, OPTConfig
from shotverse_jax.configs.gendop import base

MODEL = GenDoPConfig(
    text=CLIPTextConfig(vocab_size=2048, hidden_size=192, num_layers=3, num_heads=3, mlp_size=512, max_positions=77),
    decoder=OPTConfig(hidden_size=192, num_layers=6, num_heads=3, max_positions=384, dropout=0.0),
)

get_config = partial(
    base.get_config,
    model=MODEL,
    steps=4200,
    batch=32,
    optimizer="muon",
    lr=5e-3,
    warmup=100,
    ema=0.998,
    eval_every=500,
    checkpoint_every=500,
    execution=Execution(),
)
