"""The keys of adapter files: which tensor of the network one is for, and which part of an adapter it holds.

A key is a prefix, the name of a linear and a part: `diffusion_model.blocks.0.self_attn.q.lora_A.weight`. Programs
differ in all three. A prefix is a chain of attributes (`core.unwrapped`), or a word of kohya's before names with "_" in
place of ".".
"""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from .core import Table, unwrapped

_FLAT = re.compile(r"(?:lora_[a-z0-9]+|lycoris(?:_unet|_transformer)?)__?(?:(?:diffusion_)?model_|transformer_)?")
_TAIL = re.compile(
    r"(?P<name>.+?)\."
    r"(?:lora_(?P<low>A|B|a|b|down|up)(?:\.(?!weight$|bias$)[^.]+)?(?:\.(?P<kind>weight|bias))?"
    r"|lora(?:_linear_layer)?\.(?P<old>down|up)\.(?P<old_kind>weight|bias)"
    r"|(?P<whole>(?:lora_|network_)?alpha|diff|diff_b|diff_m))"
)
# diffusers' names of the time when its attention had processors with adapters of their own.
_PROCESSOR = re.compile(r"(?:processor\.)?to_(q|k|v|out)_lora\.(?=down\.|up\.)")
_PARTS = {"A": "a", "a": "a", "down": "a", "B": "b", "b": "b", "up": "b"}
_TENSORS = {"diff": ".weight", "diff_b": ".bias", "diff_m": ".modulation"}  # the last is lightx2v's, of a block
_IMAGE = re.compile(
    r"(?:^|[._])(?:norm_)?[kv]_img(?:[._]|$)|(?:^|[._])img_emb[._]|[._]add_[kv]_proj(?:[._]|$)|norm_added_[kqv](?:[._]|$)"
    r"|image_embedder[._]"
)


@dataclass(frozen=True)
class Key:
    """A key of an adapter file.

    Attributes:
        prefix: What stands before the name.
        name: The name of the linear, as the file spells it.
        tensor: The tensor of the network, as the table's entries name it; None when it has none of that name.
        part: "a", "b", "alpha", "bias" (that of B) or "delta".
        paired: "AB" or "down/up", how the file calls A and B; "" for other parts.
    """

    prefix: str
    name: str
    tensor: str | None
    part: str
    paired: str = ""


class Keys:
    """Reads keys for a network, whose tensors the tables name, each in another spelling."""

    def __init__(self, tables: Iterable[Table]):
        self._tables = tuple(tables)

    def read(self, key: str) -> Key | None:
        """Returns what a key is; None when it is not one of a LoRA."""
        match = _TAIL.fullmatch(_PROCESSOR.sub(lambda m: f"to_{m[1]}{'.0' * (m[1] == 'out')}.lora.", key))
        if match is None:
            return None
        low, kind = match["low"] or match["old"], match["kind"] or match["old_kind"]
        if low and _PARTS[low] == "a" and kind == "bias":
            return None
        if match["whole"] is None:
            part = "bias" if kind == "bias" else _PARTS[low]
        else:
            part = "alpha" if match["whole"].endswith("alpha") else "delta"
        paired = "" if not low else "AB" if low in "ABab" else "down/up"
        prefix, name, tensor = self._place(match["name"], _TENSORS.get(match["whole"], ".weight"))
        return Key(prefix, name, tensor, part, paired)

    def _place(self, stem: str, end: str) -> tuple[str, str, str | None]:
        """(prefix, name, tensor) of what stands before the part of a key."""
        if (flat := _FLAT.match(stem)) and (name := self._unflat(stem[flat.end() :].replace(".", "_"))):
            return flat[0], name, self._tables[0].canonical(name + end)
        if tensor := self._tables[0].canonical(stem + end):
            known = [name for name in unwrapped(stem) if self._tables[0].canonical(name + end)]
            return known[0].removesuffix(known[-1]), known[-1], tensor
        return "", stem, None

    @functools.cached_property
    def _flat_names(self) -> list[tuple[re.Pattern, str]]:
        names = dict.fromkeys(entry.source.rpartition(".")[0] for table in self._tables for entry in table.entries)
        return [(re.compile(name.replace(".", "_").replace("{i}", r"(\d+)")), name) for name in names if name]

    def _unflat(self, flat: str) -> str | None:
        # "_" stands for "." and is also a letter of the names, so only the list of all linears can undo it.
        for pattern, name in self._flat_names:
            if match := pattern.fullmatch(flat):
                return name.replace("{i}", match[1]) if "{i}" in name else name
        return None


def is_image_branch(key: str) -> bool:
    """Returns True for a key of the image conditioning of image-to-video models, which text-to-video models lack."""
    return _IMAGE.search(key) is not None
