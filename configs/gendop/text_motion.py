"""GenDoP's text_motion: captions of the camera's motion alone."""

from functools import partial

from shotverse_jax.configs.gendop import base

get_config = partial(base.get_config, "text", caption="movement")
