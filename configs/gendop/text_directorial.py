"""GenDoP's text_directorial: captions of what is shown and why the camera moves."""

from functools import partial

from shotverse_jax.configs.gendop import base

get_config = partial(base.get_config, "text", caption="concise")
