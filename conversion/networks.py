"""The networks that can be converted: rows over the catalogue of `weights/` that say how a checkpoint is read.

A row adds to a kind of the catalogue how its config is found in a checkpoint and which tables name its tensors. One
kind can have several rows: GenDoP was published three times, and an expert may be HoloCine's or another one.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from shotverse_jax.config import (
    CameraCLIPConfig,
    WanDiTConfig,
    WanVAEConfig,
    clip_text_b32,
    gendop_of,
    vertigo_tokens,
)
from shotverse_jax.files import read_json
from shotverse_jax.weights import KINDS, abstract

from . import clatr, clip, core, gendop, gendop_opt, pi3, qwen3_vl, transnetv2, umt5, wan_dit, wan_vae
from .core import Table, Tensors
from .sources import Source


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that can be converted.

    Attributes:
        title: Its name in messages to people.
        kind: Its name in the catalogue.
        config: Reads the config of a checkpoint; raises ValueError when the checkpoint is another network's.
        styles: The tables by the name of their spelling. The first one reads every spelling through its aliases; each
            writes its own.
        default: A config whose tables are used to recognise names; the default of the kind unless given.
        windows: `ControllerConfig.windows` of the controller that an expert belongs to; None for all other networks.
    """

    title: str
    kind: str
    config: Callable[[Source], Any]
    styles: Mapping[str, Callable[[Any], Table]]
    default: Any = None
    windows: str | None = None

    @property
    def is_expert(self) -> bool:
        """True for one of the experts of a controller."""
        return self.windows is not None

    @property
    def folder_kind(self) -> str:
        """The kind of the folder that it is converted to: that of its controller for an expert."""
        return "controller" if self.is_expert else self.kind

    @property
    def read_tokenizer(self) -> Callable | None:
        """Reads the tokenizer.json beside its weights; None for a network that reads no text."""
        kind = KINDS[self.kind]
        return kind.read_tokenizer if kind.reads_text(self.example_config) else None

    @property
    def tokenizer_hint(self) -> str:
        """Which tokenizer.json it needs, for people."""
        if self.kind in ("gendop", "clip_text", "camera_clip"):
            return "CLIP's, which is the same in all of its sizes (for one that of openai/clip-vit-large-patch14)"
        return "the one of the repository that the checkpoint is from"

    @property
    def example_config(self) -> Any:
        """A config whose tables are used to recognise its names."""
        return self.default or KINDS[self.kind].config()

    def table(self, config: Any, style: str | None = None) -> Table:
        """Returns the table of a config; by default the one that reads. Raises ValueError for an unknown spelling."""
        style = style or next(iter(self.styles))
        if style not in self.styles:
            raise ValueError(f"{self.title} has no names {style!r}; it has {', '.join(self.styles)}")
        return self.styles[style](config)

    def abstract(self, config: Any, dtype: str = "float32") -> dict[str, Any]:
        """Returns its parameters as shapes."""
        return abstract(self.kind, config, dtype=dtype)

    def from_torch(self, tensors: Tensors, config: Any, dtype: str = "float32") -> dict[str, Any]:
        """Returns its parameters in `dtype` from the tensors of a checkpoint, in any of the spellings.

        Raises:
            ValueError: The tensors are not exactly those of the network; all problems are listed.
        """
        return core.to_flax(self.table(config), tensors, self.abstract(config, dtype), cast=True)

    def to_torch(self, params: Mapping[str, Any], config: Any, style: str | None = None) -> dict[str, np.ndarray]:
        """Returns the tensors of a checkpoint from its parameters (or their gradients), in one of the spellings."""
        return core.to_torch(self.table(config, style), params)


def _beside(source: Source) -> dict[str, Any] | None:
    """The values of the config.json in the folder of a checkpoint; None when there is none."""
    path = source.files[0].parent / "config.json"
    return read_json(path) if path.is_file() else None


def _hf_values(source: Source, title: str) -> dict[str, Any]:
    values = _beside(source)
    if values is None:
        raise ValueError(f"{source.files[0].parent} has no config.json; a {title} checkpoint comes with one")
    return values


def _wan_dit_config(source: Source) -> WanDiTConfig:
    values, fields = _beside(source) or {}, {}
    if heads := values.get("num_attention_heads", values.get("num_heads")):
        fields["num_heads"] = heads
    config = wan_dit.config_from_tensors(source.shapes, **fields)
    # Tensors do not show the rope. Only ShotVerse has camera encoders, and its rope is the 4D one.
    return dataclasses.replace(config, rope="shotverse4d" if config.camera else "wan3d")


def _wan_vae_config(source: Source) -> WanVAEConfig:
    values = _beside(source) or {}
    latents = {ours: tuple(values[name]) for ours, name in _LATENTS if name in values}
    return wan_vae.config_from_tensors(source.shapes, **latents)


_LATENTS = (("latent_mean", "latents_mean"), ("latent_std", "latents_std"))


def _expert(title: str, windows: str) -> Network:
    styles = {"wan": wan_dit.table, "diffusers": lambda config: wan_dit.table(config, "diffusers")}
    return Network(title, "wan_dit", _wan_dit_config, styles, windows=windows)


def _gendop(title: str, mode: str) -> Network:
    return Network(
        title,
        "gendop",
        lambda source: gendop.config_from_tensors(source.shapes, mode),
        {"gendop": gendop.table},
        gendop_of(mode),
    )


NETWORKS = {
    "qwen3-vl": Network(
        "Qwen3-VL",
        "qwen3_vl",
        lambda source: qwen3_vl.full_config_from_hf(_hf_values(source, "Qwen3-VL")),
        {"transformers": qwen3_vl.full_table},
    ),
    "qwen3-vl-text": Network(
        "Qwen3-VL's text decoder",
        "language_model",
        lambda source: qwen3_vl.config_from_hf(_hf_values(source, "Qwen3-VL")),
        {"transformers": qwen3_vl.table},
    ),
    "wan-dit": _expert("an expert of Wan2.2 or ShotVerse", windows="none"),
    "holocine": _expert("an expert of HoloCine", windows="holocine"),
    "umt5": Network(
        "UMT5's encoder",
        "text_encoder",
        lambda source: umt5.config_from_tensors(source.shapes),
        {"wan": lambda _: umt5.TABLE, "transformers": lambda _: umt5.HF_TABLE},
    ),
    "wan-vae": Network(
        "Wan2.1's video VAE",
        "vae",
        _wan_vae_config,
        {"wan": wan_vae.table, "diffusers": lambda config: wan_vae.table(config, "diffusers")},
    ),
    "gendop-opt": Network(
        "GenDoP's decoder",
        "opt",
        lambda source: gendop_opt.config_from_tensors(source.shapes, gendop_opt.NUM_HEADS),
        {"gendop": lambda _: gendop_opt.TABLE, "transformers": lambda _: gendop_opt.HF_TABLE},
    ),
    "gendop-text-motion": _gendop("GenDoP for captions of the camera's motion", "text"),
    "gendop-text-directorial": _gendop("GenDoP for captions of what is shown and why", "text"),
    "gendop-text-rgbd": _gendop("GenDoP that sees the first frame and its depth", "depth+image+text"),
    # Their names are GenDoP's own modes; nobody has published such networks.
    "gendop-image": _gendop("GenDoP that reads no caption and sees the first frame", "image"),
    "gendop-image-text": _gendop("GenDoP that sees the first frame", "image+text"),
    "gendop-image-depth": _gendop("GenDoP that reads no caption and sees the first frame and its depth", "image+depth"),
    # Nobody has published this network either, but its code.
    "gendop-vertigo": Network(
        "VERTIGO's generator, a GenDoP in the world of the subject",
        "gendop",
        lambda source: gendop.vertigo_from_tensors(source.shapes),
        {"gendop": gendop.table},
        dataclasses.replace(gendop_of("text"), tokens=vertigo_tokens()),
    ),
    "clip-text": Network(
        "CLIP's text tower",
        "clip_text",
        lambda source: clip.text_config_from_hf(_hf_values(source, "CLIP")),
        {"transformers": lambda _: clip.TEXT_TABLE},
        clip_text_b32(),
    ),
    "clip-vision": Network(
        "CLIP's vision tower",
        "clip_vision",
        lambda source: clip.vision_config_from_hf(_hf_values(source, "CLIP")),
        {"transformers": lambda _: clip.VISION_TABLE},
    ),
    "clip": Network(
        "CLIP, both towers and their projections",
        "camera_clip",
        lambda source: clip.whole_config_from_hf(_hf_values(source, "CLIP")),
        {"transformers": clip.whole_table},
        CameraCLIPConfig(temporal="mean"),
    ),
    "clatr": Network(
        "CLaTr",
        "clatr",
        lambda source: clatr.config_from_tensors(source.shapes),
        {"clatr": lambda _: clatr.TABLE},
    ),
    "transnetv2": Network(
        "TransNetV2",
        "transnetv2",
        lambda source: transnetv2.config_from_tensors(source.shapes),
        {"pytorch": transnetv2.table},
    ),
    "pi3": Network(
        "Pi3",
        "pi3",
        lambda source: pi3.config_from_tensors(source.shapes),
        {"pi3": lambda _: pi3.TABLE},
    ),
}


def network(name: str) -> Network:
    """Returns the network of a name. Raises ValueError for a name that is unknown."""
    if name not in NETWORKS:
        raise ValueError(f"there is no network {name!r}; known: {', '.join(NETWORKS)}")
    return NETWORKS[name]


def recognise(names: Iterable[str]) -> list[tuple[str, str, float]]:
    """Recognises a checkpoint by the names of its tensors.

    Returns (network, spelling, share of the names that the network has) for every network that has any, best first. The
    spelling is the one that has most of the names without an alias.
    """
    names, found = list(names), []
    for key, candidate in NETWORKS.items():
        table = candidate.table(candidate.example_config)
        known = [name for name in names if not table.ignores(name)]
        own = {
            style: {name for name in known if plain.canonical(name)}
            for style in candidate.styles
            for plain in [dataclasses.replace(candidate.table(candidate.example_config, style), aliases=())]
        }
        style = max(own, key=lambda s: len(own[s]))
        hits = own[style] | {name for name in known if table.canonical(name)}
        if hits:
            # Names that the table ignores count as known: they are left out on purpose.
            share = (len(hits) + len(names) - len(known)) / len(names)
            # Of two networks that have all names, the one that leaves fewer out, and then the smaller.
            found.append((share, len(hits), -len(table.entries), key, style))
    return [(key, style, share) for share, _, _, key, style in sorted(found, reverse=True)]
