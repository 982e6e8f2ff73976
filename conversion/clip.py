"""Transformers' names of CLIP's towers for `models/clip.py`.

The entries of the towers are also used by the tables of networks that contain them.
"""

from collections.abc import Mapping
from typing import Any

from shotverse_jax.config import CameraCLIPConfig, CLIPTextConfig, CLIPVisionConfig

from .core import TRANSPOSE, Entry, Table, Transform, linear, norm

PATCHES = Transform(lambda w: w.transpose(2, 3, 1, 0), lambda w: w.transpose(3, 2, 0, 1))  # [out, in, y, x]
ROW = Transform(lambda w: w[None], lambda w: w[0])


def _layers(source: str, target: str) -> tuple[Entry, ...]:
    source, target = f"{source}encoder.layers.{{i}}.", f"{target}layers/"
    names = ("q_proj", "k_proj", "v_proj", "out_proj")
    return (
        *(e for name in names for e in linear(f"{source}self_attn.{name}", f"{target}{name}")),
        *(e for i in (1, 2) for e in norm(f"{source}layer_norm{i}", f"{target}norm{i}")),
        *(e for name in ("fc1", "fc2") for e in linear(f"{source}mlp.{name}", f"{target}{name}")),
    )


def text_entries(source: str, target: str = "") -> tuple[Entry, ...]:
    """Returns the entries of a text tower.

    `source` and `target` begin all names, for example "text_model." and "text/tower/".
    """
    return (
        Entry(f"{source}embeddings.token_embedding.weight", f"{target}embedding"),
        Entry(f"{source}embeddings.position_embedding.weight", f"{target}positions"),
        *_layers(source, target),
        *norm(f"{source}final_layer_norm", f"{target}final_norm"),
    )


def vision_entries(source: str, target: str = "") -> tuple[Entry, ...]:
    """Returns the entries of a vision tower, as `text_entries`. "pre_layrnorm" is transformers' own spelling."""
    return (
        Entry(f"{source}embeddings.class_embedding", f"{target}embedding", ROW),
        Entry(f"{source}embeddings.patch_embedding.weight", f"{target}patch_embed/kernel", PATCHES),
        Entry(f"{source}embeddings.position_embedding.weight", f"{target}positions"),
        *norm(f"{source}pre_layrnorm", f"{target}pre_norm"),
        *_layers(source, target),
        *norm(f"{source}post_layernorm", f"{target}post_norm"),
    )


POSITION_IDS = r".*\.position_ids$"  # a buffer that old versions of transformers stored

# It also reads the text tower of a whole CLIP. transformers 5 dropped the level "text_model" of a tower alone.
TEXT_TABLE = Table(
    entries=text_entries("text_model."),
    aliases=((r"(?=embeddings\.|encoder\.|final_layer_norm\.)", "text_model."),),
    ignore=(r"vision_model\.", r"(text|visual)_projection\.", r"logit_scale$", POSITION_IDS),
)

VISION_TABLE = Table(
    entries=vision_entries("vision_model."),
    aliases=((r"(?=embeddings\.|encoder\.|pre_layrnorm\.|post_layernorm\.)", "vision_model."),),
    ignore=(r"text_model\.", r"(text|visual)_projection\.", r"logit_scale$", POSITION_IDS),
)


WHOLE_ENTRIES = (
    *vision_entries("vision_model.", "image/tower/"),
    Entry("visual_projection.weight", "image/project/kernel", TRANSPOSE),
    *text_entries("text_model.", "text/tower/"),
    Entry("text_projection.weight", "text/project/kernel", TRANSPOSE),
    Entry("logit_scale", "logit_scale"),
)
_CODE = (
    *(e for name in ("image_norm", "patch_norm") for e in norm(f"code.{name}", f"code/{name}")),
    Entry("code.squeeze.weight", "code/squeeze/kernel", TRANSPOSE),
    *linear("code.hidden", "code/hidden"),
    Entry("code.out.weight", "code/out/kernel", TRANSPOSE),
)


def whole_table(config: CameraCLIPConfig) -> Table:
    """Returns the names of both towers with their projections (transformers' CLIPModel).

    A temporal code, which no CLIP of others has, gets names of our own.
    """
    return Table(WHOLE_ENTRIES + (_CODE if config.temporal == "code" else ()), ignore=(POSITION_IDS,))


def whole_config_from_hf(values: Mapping[str, Any]) -> CameraCLIPConfig:
    """Returns the config of a whole CLIP from a transformers config.json: the mean over the frames of a clip."""
    return CameraCLIPConfig(
        text=text_config_from_hf(values),
        vision=vision_config_from_hf(values),
        joint_size=values.get("projection_dim", 512),
        temporal="mean",
    )


def text_config_from_hf(values: Mapping[str, Any]) -> CLIPTextConfig:
    """Returns the config of a text tower from a transformers config.json, of a whole CLIP or of the tower alone.

    Values that are missing there are the defaults of transformers.
    """
    values = values.get("text_config") or values
    own = {"vocab_size": ("vocab_size", 49408), "max_positions": ("max_position_embeddings", 77)}
    return CLIPTextConfig(**_fields(values, own, hidden_size=512, heads=8))


def vision_config_from_hf(values: Mapping[str, Any]) -> CLIPVisionConfig:
    """Returns the config of a vision tower, as `text_config_from_hf`."""
    values = values.get("vision_config") or values
    own = {"patch_size": ("patch_size", 32), "image_size": ("image_size", 224)}
    return CLIPVisionConfig(**_fields(values, own, hidden_size=768, heads=12))


def _fields(
    values: Mapping[str, Any], own: Mapping[str, tuple[str, Any]], hidden_size: int, heads: int
) -> dict[str, Any]:
    """The fields of a tower: those of both, with a tower's own defaults, and its own."""
    fields = {
        "hidden_size": ("hidden_size", hidden_size),
        "num_layers": ("num_hidden_layers", 12),
        "num_heads": ("num_attention_heads", heads),
        "mlp_size": ("intermediate_size", 4 * hidden_size),
        "activation": ("hidden_act", "quick_gelu"),
        "layer_norm_eps": ("layer_norm_eps", 1e-5),
    } | own
    return {ours: values.get(name, default) for ours, (name, default) in fields.items()}


def text_config_from_shapes(tensors: Mapping[str, Any], num_layers: int, num_heads: int) -> CLIPTextConfig:
    """Returns the config of a text tower with the exact GELU from its tensors' shapes; they do not show the heads.

    tensors: anything with shape, by the names of `text_entries("")`.
    """
    vocab_size, hidden_size = tensors["embeddings.token_embedding.weight"].shape
    return CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=num_heads,
        mlp_size=len_of(tensors, "encoder.layers.0.mlp.fc1.weight"),
        max_positions=len_of(tensors, "embeddings.position_embedding.weight"),
    )


def vision_config_from_shapes(tensors: Mapping[str, Any], num_layers: int, num_heads: int) -> CLIPVisionConfig:
    """Returns the config of a vision tower, as `text_config_from_shapes`."""
    hidden_size, _, patch_size, _ = tensors["embeddings.patch_embedding.weight"].shape
    # One position is the class token's; the others are a square of patches.
    side = round((len_of(tensors, "embeddings.position_embedding.weight") - 1) ** 0.5)
    return CLIPVisionConfig(
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=num_heads,
        mlp_size=len_of(tensors, "encoder.layers.0.mlp.fc1.weight"),
        patch_size=patch_size,
        image_size=side * patch_size,
    )


def len_of(tensors: Mapping[str, Any], name: str) -> int:
    """Returns the size of the first axis of a tensor."""
    return tensors[name].shape[0]
