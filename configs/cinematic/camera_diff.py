"""CameraDiff at Wan2.2's size: an adapter (LoRA) for one class of cinematic language, on a base without cameras.

    shotverse cinematic train pan-left zoom-in --clips-from clips --out runs/styles --config camera_diff \\
        --config.base_weights=wan2.2-t2v-a14b

The model is that of `base_weights`; the adapter and the size of the films are those given here.

The paper (arXiv 2412.12223) gives neither base model, rank, learning rate nor steps; these are DiffSynth-Studio's for
Wan2.2: rank 32 and alpha 32 on q, k, v, o and both linears of the MLP, 1e-4. Framing, angle and movement are decided
while there is much noise, so the expert of high noise alone is trained; --experts both trains both. The class decides
`data` and `test_data`, whose films are a part of the folder of clips.
"""

from functools import partial

from shotverse_jax.configs.controller import common

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "ffn_in", "ffn_out")

get_config = partial(
    common.get_config,
    "controller_14b",
    model=dict(
        camera="none",
        frames=81,
        lora=dict(rank=32, alpha=32.0, dropout=0.0, targets=TARGETS),
    ),
    expert="high",
    steps=1500,
    batch=4,
    lr=1e-4,
    warmup=50,
    ema=0.0,
    text_dropout=0.1,
    max_shots=1,
    eval_every=250,
    eval_batches=1,
    checkpoint_every=250,
    mesh=dict(data=1, fsdp=-1, sequence=1, tensor=1),
    execution=dict(attention="cudnn", remat="save_attention", dtype="bfloat16", unroll=False),
)
