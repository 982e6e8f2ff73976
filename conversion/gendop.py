"""Names and sizes of GenDoP's published networks for `models/gendop.py`.

The files are text_motion.safetensors, text_directorial.safetensors and text_rgbd.safetensors.
"""

import dataclasses

from shotverse_jax.config import GenDoPConfig

from . import gendop_opt
from .clip import (
    POSITION_IDS,
    text_config_from_shapes,
    text_entries,
    vision_config_from_shapes,
    vision_entries,
)
from .core import Table, Tensors, canonical_names, linear, norm

TOWER_HEADS = 16  # in the releases; the tensors do not show it
_TEXT, _VISION = "text_encoder.text_model.", "{}_encoder.vision_model."

_SHARED = (
    *text_entries(_TEXT, "text/tower/"),
    *norm("norm_cond", "norm"),
    *(dataclasses.replace(entry, target=f"decoder/{entry.target}") for entry in gendop_opt.TABLE.entries),
)
# The releases have the names of transformers 4, and these are written; transformers 5 drops a level of the towers'.
_SPELLINGS = {
    "aliases": (
        (r"text_encoder\.(?!text_model\.)", _TEXT),
        *((rf"{part}_encoder\.(?!vision_model\.)", _VISION.format(part)) for part in ("image", "depth")),
    ),
    "ignore": (POSITION_IDS,),
}
TEXT_TABLE = Table((*_SHARED, *linear("proj_cond", "text/project")), **_SPELLINGS)
RGBD_TABLE = Table(
    (
        *_SHARED,
        *(e for part in ("text", "image", "depth") for e in linear(f"proj_cond_{part}", f"{part}/project")),
        *(e for part in ("image", "depth") for e in vision_entries(_VISION.format(part), f"{part}/tower/")),
    ),
    **_SPELLINGS,
)


def table(config: GenDoPConfig) -> Table:
    """Returns the table of a network that reads text alone, or that sees pictures too."""
    return TEXT_TABLE if config.vision is None else RGBD_TABLE


def config_from_tensors(
    tensors: Tensors, vision: bool, tower_heads: int = TOWER_HEADS, decoder_heads: int = gendop_opt.NUM_HEADS
) -> GenDoPConfig:
    """Returns the config of a GenDoP from the shapes of its tensors, which do not show the numbers of heads.

    vision: Whether the network sees an image and its depth.

    Raises:
        ValueError: The tensors are not such a network's.
    """
    names = canonical_names(RGBD_TABLE if vision else TEXT_TABLE, tensors)
    needed = ["proj_cond_text.weight" if vision else "proj_cond.weight", f"{_TEXT}embeddings.token_embedding.weight"]
    towers = [(_TEXT, text_config_from_shapes)]
    if vision:
        towers.append((_VISION.format("image"), vision_config_from_shapes))
        needed.append(f"{_VISION.format('image')}embeddings.patch_embedding.weight")
    for tower, _ in towers:
        needed += [f"{tower}embeddings.position_embedding.weight", f"{tower}encoder.layers.0.mlp.fc1.weight"]
    if missing := [name for name in needed if name not in names]:
        kind = "that sees image and depth" if vision else "of text alone"
        raise ValueError(f"not a GenDoP {kind}: {', '.join(missing)} missing; give its .safetensors file")
    configs = []
    for tower, sizes in towers:
        own = {name.removeprefix(tower): tensors[names[name]] for name in names if name.startswith(tower)}
        layers = {name.split(".")[2] for name in own if name.startswith("encoder.layers.")}
        configs.append(sizes(own, len(layers), tower_heads))
    decoder = gendop_opt.config_from_tensors(tensors, decoder_heads)
    return GenDoPConfig(configs[0], configs[1] if vision else None, decoder)
