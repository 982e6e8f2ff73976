"""The paper's controller, stage 1: camera encoders and LoRA r=128 on HoloCine's high-noise expert (ShotVerse §5.1).

Films of 249 frames at 480 x 832 (98,280 tokens). The learning rate is the paper's; the paper does not give steps,
warmup, batch and weight decay. Every eight devices share one sample, whose tokens are split over their sequence axis.
"""

from functools import partial

from shotverse_jax.configs.controller import common

get_config = partial(
    common.get_config,
    "controller_14b",
    expert="high",
    steps=1000,
    # 96 devices, as the paper has, of which every eight share a sample.
    batch=12,
    lr=1e-4,
    warmup=100,
    ema=0.0,
    log_every=1,  # several hosts agree on stopping where they log
    eval_every=100,
    eval_batches=1,
    checkpoint_every=25,
    mesh=dict(data=1, fsdp=-1, sequence=8, tensor=1),
    # At this length attention is most of the work: running it again in the backward pass would cost a fifth of a step.
    # An unrolled stack of 40 blocks would take minutes to compile.
    execution=dict(attention="cudnn", remat="save_attention", dtype="bfloat16", unroll=False),
)
