"""The paper's planner: Qwen3-VL-2B with LoRA r=32 (ShotVerse §5.1)."""

from functools import partial

from shotverse_jax.configs.planner import base

get_config = partial(
    base.get_config,
    "planner_qwen3vl_2b",
    lr=1e-4,
    steps=10000,
    ema=0.0,
    text_lengths=(256, 384, 512, 640),
    execution=dict(attention="cudnn", remat="full", dtype="bfloat16", unroll=False),
)
