"""The registry of networks that can be converted: how each is told from a checkpoint, read and written."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from shotverse_jax.config import (
    CLaTrConfig,
    ControllerConfig,
    GenDoPConfig,
    OPTConfig,
    Qwen3VLConfig,
    Qwen3VLTextConfig,
    UMT5Config,
    WanDiTConfig,
    WanVAEConfig,
    clip_text_b32,
    gendop_text_rgbd,
)

from . import clatr, clip, gendop, gendop_opt, qwen3_vl, umt5, wan_dit, wan_vae
from .core import Table
from .sources import Source


@dataclasses.dataclass(frozen=True)
class Network:
    """styles: {name of a spelling: the table that writes it}; the first is the one that reads, by its aliases.

    config: the network's config of a checkpoint, ValueError when it is another network's. abstract: its parameter tree
    as shapes. default: a config, to know the names by. windows: of the controller that an expert is of.
    """

    title: str
    config: Callable[[Source], Any]
    abstract: Callable[[Any, str], dict[str, Any]]
    styles: Mapping[str, Callable[[Any], Table]]
    default: Any
    reads_text: bool = False
    windows: str | None = None

    @property
    def is_expert(self) -> bool:
        return self.windows is not None

    @property
    def folder_class(self) -> type:
        return ControllerConfig if self.is_expert else type(self.default)

    def table(self, config: Any, style: str | None = None) -> Table:
        """ValueError for a spelling that the network does not have."""
        style = style or next(iter(self.styles))
        if style not in self.styles:
            raise ValueError(f"{self.title} has no names {style!r}; it has {', '.join(self.styles)}")
        return self.styles[style](config)


def _beside(source: Source) -> dict[str, Any] | None:
    """The config.json in the folder of a checkpoint."""
    path = source.files[0].parent / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


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
    return dataclasses.replace(config, rope="shotverse4d" if config.camera else "wan3d")


def _wan_vae_config(source: Source) -> WanVAEConfig:
    values = _beside(source) or {}
    latents = {ours: tuple(values[name]) for ours, name in _LATENTS if name in values}
    return wan_vae.config_from_tensors(source.shapes, **latents)


_LATENTS = (("latent_mean", "latents_mean"), ("latent_std", "latents_std"))


def _expert(title: str, windows: str) -> Network:
    styles = {"wan": wan_dit.table, "diffusers": lambda config: wan_dit.table(config, "diffusers")}
    return Network(title, _wan_dit_config, wan_dit.abstract, styles, WanDiTConfig(camera=True), windows=windows)


def _gendop(title: str, default: GenDoPConfig) -> Network:
    vision = default.vision is not None
    return Network(
        title,
        lambda source: gendop.config_from_tensors(source.shapes, vision),
        gendop.abstract,
        {"gendop": gendop.table},
        default,
        reads_text=True,
    )


NETWORKS = {
    "qwen3-vl": Network(
        "Qwen3-VL",
        lambda source: qwen3_vl.full_config_from_hf(_hf_values(source, "Qwen3-VL")),
        qwen3_vl.full_abstract,
        {"transformers": lambda _: qwen3_vl.FULL_TABLE},
        Qwen3VLConfig(),
        reads_text=True,
    ),
    "qwen3-vl-text": Network(
        "Qwen3-VL's text decoder",
        lambda source: qwen3_vl.config_from_hf(_hf_values(source, "Qwen3-VL")),
        qwen3_vl.abstract,
        {"transformers": lambda _: qwen3_vl.TABLE},
        Qwen3VLTextConfig(),
        reads_text=True,
    ),
    "wan-dit": _expert("an expert of Wan2.2 or ShotVerse", windows="none"),
    "holocine": _expert("an expert of HoloCine", windows="holocine"),
    "umt5": Network(
        "UMT5's encoder",
        lambda source: umt5.config_from_tensors(source.shapes),
        umt5.abstract,
        {"wan": lambda _: umt5.TABLE, "transformers": lambda _: umt5.HF_TABLE},
        UMT5Config(),
        reads_text=True,
    ),
    "wan-vae": Network(
        "Wan2.1's video VAE",
        _wan_vae_config,
        wan_vae.abstract,
        {"wan": wan_vae.table, "diffusers": lambda config: wan_vae.table(config, "diffusers")},
        WanVAEConfig(),
    ),
    "gendop-opt": Network(
        "GenDoP's decoder",
        lambda source: gendop_opt.config_from_tensors(source.shapes, gendop_opt.NUM_HEADS),
        gendop_opt.abstract,
        {"gendop": lambda _: gendop_opt.TABLE, "transformers": lambda _: gendop_opt.HF_TABLE},
        OPTConfig(),
    ),
    "gendop-text-motion": _gendop("GenDoP for captions of the camera's motion", GenDoPConfig()),
    "gendop-text-directorial": _gendop("GenDoP for captions of what is shown and why", GenDoPConfig()),
    "gendop-text-rgbd": _gendop("GenDoP that sees the first frame and its depth", gendop_text_rgbd()),
    "clip-text": Network(
        "CLIP's text tower",
        lambda source: clip.text_config_from_hf(_hf_values(source, "CLIP")),
        clip.text_abstract,
        {"transformers": lambda _: clip.TEXT_TABLE},
        clip_text_b32(),
        reads_text=True,
    ),
    "clatr": Network(
        "CLaTr",
        lambda source: clatr.config_from_tensors(source.shapes),
        clatr.abstract,
        {"clatr": lambda _: clatr.TABLE},
        CLaTrConfig(),
    ),
}


def network(name: str) -> Network:
    """ValueError for a name that is not in the registry."""
    if name not in NETWORKS:
        raise ValueError(f"there is no network {name!r}; known: {', '.join(NETWORKS)}")
    return NETWORKS[name]


def recognise(names: Iterable[str]) -> list[tuple[str, str, float]]:
    """(network, style, share of the stored names that it has) of every network that has any, best first.

    A style is that of the checkpoint when most names are its own, before any alias.
    """
    names, found = list(names), []
    for key, candidate in NETWORKS.items():
        table = candidate.table(candidate.default)
        known = [name for name in names if not any(re.match(pattern, name) for pattern in table.ignore)]
        own = {style: _hits(candidate.table(candidate.default, style), known) for style in candidate.styles}
        style = max(own, key=lambda s: len(own[s]))
        hits = own[style] | _hits(table, known, rewrite=True)
        if hits:
            share = (len(hits) + len(names) - len(known)) / len(names)
            # Of two networks that have all names, the one that leaves fewer out, and then the smaller.
            found.append((share, len(hits), -len(table.entries), key, style))
    return [(key, style, share) for share, _, _, key, style in sorted(found, reverse=True)]


def _hits(table: Table, names: list[str], rewrite: bool = False) -> set[str]:
    pattern = re.compile("|".join(_pattern(entry.source) for entry in table.entries))
    return {name for name in names if pattern.fullmatch(_rewritten(table, name) if rewrite else name)}


def _pattern(source: str) -> str:
    return re.escape(source).replace(r"\{i\}", r"\d+")


def _rewritten(table: Table, name: str) -> str:
    for pattern, replacement in table.aliases:
        name = re.sub(rf"^(?:{pattern})", replacement, name)
    return name
