"""GenDoP's text_rgbd: directorial captions, the first frame and its depth."""

from functools import partial

from shotverse_jax.configs.gendop import base

get_config = partial(base.get_config, "depth+image+text", caption="concise")
