"""Qwen3-VL-2B tuned to clips: --config.data=CLIPS --config.test_data=HELD_OUT, or previews of the stage without.

The recipe with published numbers is CameraBench's for Qwen2.5-VL: all of the text decoder, with vision tower and
projections frozen, lr 2e-5 with a cosine and a warm-up of 5 %, 8 clips a step, 5 to 6 epochs of about 1,400 clips, 8
frames a second (2 were worse, and so was LoRA). `--config=configs/captioner/qwen3vl_2b.py:lora` is its LoRA: rank
64, lr 2e-4.
"""

import dataclasses

from shotverse_jax.config import LoraConfig, qwen3_vl
from shotverse_jax.configs.captioner import base


def get_config(learns: str = "all"):
    """Returns the config; learns: "all" of the text decoder, or "lora", adapters in its place."""
    config = base.get_config(
        # 48 frames are 6 s; 480 x 832 pixels of each are too many beside them.
        dataclasses.replace(qwen3_vl("2b"), fps=8.0, frames=(4, 48), video_pixels=(4_096, 48 * 224 * 384)),
        base_weights="qwen3-vl-2b",
        freeze_vision=True,
        steps=1000,
        batch=8,
        lr=2e-5,
        warmup=50,
        final_lr=0.0,
        betas=(0.9, 0.999),
        ema=0.0,
        height=240,
        width=416,
        text_length=2560,
        answer_length=256,
        eval_every=200,
        checkpoint_every=200,
        execution=dict(attention="cudnn", remat="full", dtype="bfloat16", unroll=False),
    )
    if learns == "lora":
        config.lora = dataclasses.asdict(LoraConfig(rank=64, alpha=64.0))
        config.lr = 2e-4
    return config
