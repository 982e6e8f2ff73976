"""The catalogue of networks: for every kind its config, its module, its tokenizer and its files.

A kind is a short name, which is used everywhere: as the argument of `load` and `export` and as "kind" in config.json. A
new network is a row here, a file in `models/` with the function `example`, a file in `conversion/` and a test.
"""

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from tokenizers import Tokenizer

from shotverse_jax.config import (
    CameraCLIPConfig,
    CLaTrConfig,
    CLIPTextConfig,
    CLIPVisionConfig,
    ControllerConfig,
    Execution,
    GenDoPConfig,
    OPTConfig,
    Pi3Config,
    PlannerConfig,
    PoseNetConfig,
    Qwen3VLConfig,
    Qwen3VLTextConfig,
    TransNetV2Config,
    UMT5Config,
    WanDiTConfig,
    WanVAEConfig,
)
from shotverse_jax.inputs.clip import load_clip_tokenizer
from shotverse_jax.inputs.tokenizer import load_text_tokenizer


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of network.

    Attributes:
        title: The name of the kind in messages to people.
        config: Type of the config that the folder holds.
        network: "file.Class" of the Flax module in `models/`. It is imported when it is needed: flax is slow to import.
        read_tokenizer: Reads the folder's tokenizer.json; None for a network that reads no text.
        experts: Whether the folder holds several networks of one architecture, each in a file with the name of the
            expert.
    """

    title: str
    config: type
    network: str
    read_tokenizer: Callable[[Path], Tokenizer] | None = None
    experts: bool = False

    def build(self, config: Any, expert: str | None = None) -> tuple[Any, dict]:
        """The Flax module of a config and the smallest inputs that fix its parameters, as shapes.

        Raises:
            ValueError: an expert that the config does not have.
        """
        file, _, name = self.network.partition(".")
        models = importlib.import_module(f"shotverse_jax.models.{file}")
        config = config.expert(expert) if self.experts else config
        return getattr(models, name)(config, Execution()), models.example(config)

    def reads_text(self, config: Any) -> bool:
        """Whether a network of a config reads text. Of one kind, GenDoP's, there are some that do not."""
        return self.read_tokenizer is not None and getattr(config, "text", "") is not None


KINDS: dict[str, Kind] = {
    "planner": Kind("planner", PlannerConfig, "planner.Planner", load_text_tokenizer),
    "language_model": Kind("language model", Qwen3VLTextConfig, "qwen3_vl.Qwen3VLText", load_text_tokenizer),
    "qwen3_vl": Kind("Qwen3-VL", Qwen3VLConfig, "qwen3_vl.Qwen3VL", load_text_tokenizer),
    "controller": Kind("controller", ControllerConfig, "wan_dit.WanDiT", experts=True),
    "wan_dit": Kind("video transformer", WanDiTConfig, "wan_dit.WanDiT"),
    "text_encoder": Kind("text encoder", UMT5Config, "umt5.UMT5Encoder", load_text_tokenizer),
    "vae": Kind("VAE", WanVAEConfig, "wan_vae.WanVAE"),
    "pose_net": Kind("pose net", PoseNetConfig, "pose_net.PoseNet"),
    "opt": Kind("pose decoder", OPTConfig, "opt.OPTDecoder"),
    "gendop": Kind("GenDoP", GenDoPConfig, "gendop.GenDoP", load_clip_tokenizer),
    "clip_text": Kind("CLIP text tower", CLIPTextConfig, "clip.CLIPText", load_clip_tokenizer),
    "clip_vision": Kind("CLIP vision tower", CLIPVisionConfig, "clip.CLIPVision"),
    "camera_clip": Kind("CLIP", CameraCLIPConfig, "camera_clip.CameraCLIP", load_clip_tokenizer),
    "clatr": Kind("CLaTr", CLaTrConfig, "clatr.CLaTr"),
    "transnetv2": Kind("TransNetV2", TransNetV2Config, "transnetv2.TransNetV2"),
    "pi3": Kind("Pi3", Pi3Config, "pi3.Pi3"),
}


def row(kind: str) -> Kind:
    """The row of a kind. Raises ValueError for an unknown name."""
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind!r}; known: {', '.join(KINDS)}")
    return KINDS[kind]


def init(kind: str, config: Any, key: jax.Array, *, expert: str | None = None) -> dict:
    """Random parameters of a network (its "params" collection), float32.

    Raises:
        ValueError: an expert that the config does not have.
    """
    return init_module(*row(kind).build(config, expert), key)


def abstract(kind: str, config: Any, *, expert: str | None = None, dtype: str = "float32") -> dict:
    """The parameters of a network as shapes of `dtype`; nothing is allocated. Raises ValueError as `init`."""
    module, inputs = row(kind).build(config, expert)
    shapes = jax.eval_shape(lambda: init_module(module, inputs, jax.random.key(0)))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jax.dtypes.canonicalize_dtype(dtype)), shapes)


def init_module(module: Any, inputs: dict, key: jax.Array) -> dict:
    """Random parameters of any Flax module; inputs: what `example` of its file returns."""

    def fill(leaf):
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf  # a static argument
        # A mask that is False everywhere would leave the softmax of an attention without any key.
        return jnp.ones(leaf.shape, bool) if leaf.dtype == bool else jnp.zeros(leaf.shape, leaf.dtype)

    return module.init(key, **jax.tree.map(fill, inputs))["params"]
