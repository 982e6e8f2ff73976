"""The paper's controller, stage 2: LoRA on the low-noise expert, without camera encoders (ShotVerse §5.1)."""

from functools import partial

from shotverse_jax.configs.controller import pod

get_config = partial(pod.get_config, expert="low")
