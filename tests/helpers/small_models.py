"""Folders of small networks of random weights, for tests that need models and not what they say."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from shotverse_jax import lora
from shotverse_jax.config import (
    CameraCLIPConfig,
    CLaTrConfig,
    CLIPTextConfig,
    CLIPVisionConfig,
    GenDoPConfig,
    LoraConfig,
    OPTConfig,
    UMT5Config,
    WanDiTConfig,
    WanVAEConfig,
    controller_small,
    planner_nano,
)
from shotverse_jax.inputs.clatr import TEXT_TOWER
from shotverse_jax.inputs.clip import SPECIAL_TOKENS
from shotverse_jax.inputs.tokenizer import train_text_tokenizer
from shotverse_jax.lora import Changes
from shotverse_jax.models.controller import Controller, example
from shotverse_jax.weights import abstract, export, find_tokenizer, init_module

CHANGED = ("q_proj", "v_proj", "o_proj", "ffn_in", "head")
"""Linears that `change` changes."""

WORDS = ("The camera moves right, then pans left.",)


def planner(folder: Path, name: str = "nano", shots: int = 3, text: int = 256) -> Path:
    """Writes a planner of so many shots and tokens of text at most; returns its folder."""
    config = dataclasses.replace(planner_nano(), max_shots=shots, max_text_tokens=text)
    train_text_tokenizer(["the camera pans left and pushes in on a woman"], 300).save(str(folder / "text.json"))
    params = drawn(abstract("planner", config), 0)
    export("planner", params, config, folder / name, tokenizer_file=folder / "text.json")
    return folder / name


def gendop(folder: Path, vision: CLIPVisionConfig | None = None) -> Path:
    """Writes a GenDoP of captions, and with `vision` of pictures and depth maps; returns its folder."""
    text = CLIPTextConfig(300, 16, 1, 2, 32, 24)
    config = GenDoPConfig(text, vision, OPTConfig(hidden_size=16, num_layers=1, num_heads=2, max_positions=340))
    params = drawn(abstract("gendop", config), 0)
    export("gendop", params, config, folder / "gendop", tokenizer_file=_clip_tokenizer(folder))
    return folder / "gendop"


def clatr(folder: Path, texts: Sequence[str] = WORDS) -> Path:
    """Writes a CLaTr of the published form with a text tower, whose tokenizer knows `texts`; returns its folder."""
    tower = CLIPTextConfig(300, 16, 1, 2, 16, 20)
    config = CLaTrConfig(hidden_size=16, num_layers=1, num_heads=2, mlp_size=16, text_size=16)
    text, params = (drawn(abstract(kind, c), 0) for kind, c in (("clip_text", tower), ("clatr", config)))
    export("clip_text", text, tower, folder / "clatr" / TEXT_TOWER, tokenizer_file=_clip_tokenizer(folder, texts))
    export("clatr", params, config, folder / "clatr")
    return folder / "clatr"


def camera_clip_config() -> CameraCLIPConfig:
    """A CameraCLIP of pictures of 16 pixels, with two layers a tower."""
    text = CLIPTextConfig(300, 16, 2, 2, 32, 24)
    vision = CLIPVisionConfig(16, 2, 2, 32, 8, 16)
    return CameraCLIPConfig(text, vision, 8, frames=4, code_size=12, layout_size=2, fit="stretch")


def camera_clip(folder: Path, texts: Sequence[str] = WORDS, **values: str) -> Path:
    """Writes such a CameraCLIP, with changes to its config; returns its folder."""
    config = dataclasses.replace(camera_clip_config(), **values)
    params = drawn(abstract("camera_clip", config), 0)
    export("camera_clip", params, config, folder / "camera_clip", tokenizer_file=_clip_tokenizer(folder, texts))
    return folder / "camera_clip"


def _clip_tokenizer(folder: Path, texts: Sequence[str] = WORDS) -> Path:
    """A tokenizer of a few texts with the special tokens of CLIP's."""
    path = folder / "clip.json"
    train_text_tokenizer(texts, 300, special=SPECIAL_TOKENS).save(str(path))
    return path


def controller(folder: Path) -> Path:
    """Writes a controller of 17 frames of 32x48, its text encoder `text` and VAE `vae`; returns the controller."""
    text = UMT5Config(vocab_size=4096, hidden_size=16, num_layers=1, num_heads=2, head_dim=8, mlp_size=32)
    dit = WanDiTConfig(
        hidden_size=64, num_layers=2, num_heads=4, mlp_size=64, frequency_size=16, text_size=16, latent_channels=4
    )
    small = {"frames": 17, "height": 32, "width": 48, "steps": 4, "guidance": 2.0}
    parts = {"dit": dit, "text": str(folder / "text"), "vae": str(folder / "vae")}
    config = dataclasses.replace(controller_small(), **parts, **small)
    vae = WanVAEConfig(4, 4, (1, 1, 1, 1), 1, latent_mean=(0.1,) * 4, latent_std=(0.9,) * 4)
    for number, expert in enumerate(("high", "low")):
        make = functools.partial(init_module, Controller(config, text, expert), example(config))
        params = drawn(jax.eval_shape(make, jax.random.key(0)), number)
        export("controller", params["dit"], config, folder / "controller", expert=expert)
    export("text_encoder", params["text"], text, folder / "text", tokenizer_file=find_tokenizer("planner_small"))
    export("vae", drawn(abstract("vae", vae), 3), vae, folder / "vae")
    return folder / "controller"


def drawn(shapes, seed: int):
    """Random parameters for a tree of shapes, as large as a network starts with, and none of them zero.

    Nothing is compiled for them: the initializers of a small VAE take XLA twenty seconds, its use takes two.
    """
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        # Kernels keep the size of what goes through them; the scales of norms are near one.
        fan_in = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 25
        center = 1.0 if path[-1].key in ("scale", "gamma") else 0.0
        return (center + rng.normal(size=leaf.shape) / np.sqrt(fan_in)).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def change(params, seed, rank=3, targets=CHANGED, deltas=False):
    """An adapter that changes every film visibly; with deltas it also moves norms and modulations."""
    shapes = jax.eval_shape(lambda: lora.init(jax.random.key(0), params, LoraConfig(rank, 2.0 * rank, targets=targets)))
    rng = np.random.default_rng(seed)
    adapter = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32) / np.sqrt(x.shape[-2]) / 3, shapes)
    paths = ("blocks/cross_norm/scale", "blocks/modulation", "head/bias") if deltas else ()
    leaves = flatten_dict(params, sep="/")
    return Changes(adapter, {path: rng.normal(size=leaves[path].shape).astype(np.float32) / 4 for path in paths})
