"""Names and sizes of GenDoP's published networks for `models/gendop.py`.

The published files are text_motion.safetensors, text_directorial.safetensors and text_rgbd.safetensors; who trains
GenDoP also gets networks of its other modes. VERTIGO's generator has the same names and, where it was trained with
`--use-anchor-head`, those of the head; the form of its tokens is not in a checkpoint.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence

from shotverse_jax.config import MODES, GenDoPConfig, vertigo_tokens

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
    *norm("norm_cond", "norm"),
    *(dataclasses.replace(entry, target=f"decoder/{entry.target}") for entry in gendop_opt.TABLE.entries),
)
# VERTIGO core/models.py: Sequential(LayerNorm, Linear, SiLU, Linear).
_ANCHOR_HEAD = (
    *norm("anchor_head.0", "anchor_head/norm"),
    *linear("anchor_head.1", "anchor_head/hidden"),
    *linear("anchor_head.3", "anchor_head/out"),
)
# The releases have the names of transformers 4, and these are written; transformers 5 drops a level of the towers'.
_SPELLINGS = {
    "aliases": (
        (r"text_encoder\.(?!text_model\.)", _TEXT),
        *((rf"{part}_encoder\.(?!vision_model\.)", _VISION.format(part)) for part in ("image", "depth")),
    ),
    "ignore": (POSITION_IDS,),
}


def table(config: GenDoPConfig) -> Table:
    """Returns the table of a network with the conditions, and the anchor head, of a config."""
    return _table(config.mode, config.tokens.anchor == "head")


@functools.cache
def _table(mode: str, head: bool = False) -> Table:
    conditions, entries = MODES[mode], [*_SHARED, *(_ANCHOR_HEAD if head else ())]
    for part in conditions:
        tower = f"{part}/tower/"
        entries += text_entries(_TEXT, tower) if part == "text" else vision_entries(_VISION.format(part), tower)
        entries += linear(_projection(part, conditions), f"{part}/project")
    return Table(tuple(entries), **_SPELLINGS)


def _projection(part: str, conditions: Sequence[str]) -> str:
    """GenDoP's name of a condition's projection: one condition alone has no suffix."""
    return f"proj_cond_{part}" if len(conditions) > 1 else "proj_cond"


def mode_of(names: Iterable[str]) -> str | None:
    """Returns the mode of the network whose tensors have these names, by its towers; None where it has no such."""
    towers = {name.split("_encoder.")[0] for name in names if "_encoder." in name}
    return next((mode for mode, conditions in MODES.items() if set(conditions) == towers), None)


def config_from_tensors(
    tensors: Tensors, mode: str, tower_heads: int = TOWER_HEADS, decoder_heads: int = gendop_opt.NUM_HEADS
) -> GenDoPConfig:
    """Returns the config of a GenDoP from the shapes of its tensors, which do not show the numbers of heads.

    mode: What the network is conditioned on, a key of `config.MODES`.

    Raises:
        ValueError: The tensors are not such a network's.
    """
    conditions = MODES[mode]
    names = canonical_names(_table(mode), tensors)
    towers, needed = {}, []
    for part in conditions:
        tower = _TEXT if part == "text" else _VISION.format(part)
        first = "token" if part == "text" else "patch"
        needed += [f"{_projection(part, conditions)}.weight", f"{tower}embeddings.{first}_embedding.weight"]
        needed += [f"{tower}embeddings.position_embedding.weight", f"{tower}encoder.layers.0.mlp.fc1.weight"]
        towers[part] = tower
    if missing := [name for name in needed if name not in names]:
        raise ValueError(f"not a GenDoP of {mode}: {', '.join(missing)} missing; give its .safetensors file")

    def sizes(part, read):
        tower = towers[part]
        own = {name.removeprefix(tower): tensors[names[name]] for name in names if name.startswith(tower)}
        layers = {name.split(".")[2] for name in own if name.startswith("encoder.layers.")}
        return read(own, len(layers), tower_heads)

    return GenDoPConfig(
        sizes("text", text_config_from_shapes) if "text" in towers else None,
        sizes("image", vision_config_from_shapes) if "image" in towers else None,
        gendop_opt.config_from_tensors(tensors, decoder_heads),
        depth="depth" in towers or "image" not in towers,
    )


def vertigo_from_tensors(tensors: Tensors) -> GenDoPConfig:
    """Returns the config of VERTIGO's generator, which reads captions; its tokens are those of its launcher.

    Raises:
        ValueError: The tensors are not such a network's.
    """
    head = "head" if any(_ANCHOR_HEAD[0].source in name for name in tensors) else "none"
    tokens = dataclasses.replace(vertigo_tokens(), anchor=head)
    return dataclasses.replace(config_from_tensors(tensors, "text"), tokens=tokens)
