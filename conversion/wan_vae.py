"""Names and sizes of Wan's video VAE (Wan2.1_VAE.pth or diffusers' AutoencoderKLWan) for `models/wan_vae.py`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from shotverse_jax.config import WanVAEConfig

from .core import COPY, Entry, Table, Transform, unwrapped

CONV3D = Transform(lambda w: w.transpose(2, 3, 4, 1, 0), lambda w: w.transpose(4, 3, 0, 1, 2))  # OITHW <-> THWIO
CONV2D = Transform(lambda w: w.transpose(2, 3, 1, 0), lambda w: w.transpose(3, 2, 0, 1))  # OIHW <-> HWIO
LINEAR_3D = Transform(lambda w: w.reshape(w.shape[:2]).T, lambda w: w.T[..., None, None, None])  # [out, in, 1, 1, 1]
LINEAR_2D = Transform(lambda w: w.reshape(w.shape[:2]).T, lambda w: w.T[..., None, None])
GAMMA_3D = Transform(lambda w: w.reshape(w.shape[0]), lambda w: w[:, None, None, None])
GAMMA_2D = Transform(lambda w: w.reshape(w.shape[0]), lambda w: w[:, None, None])

# (Wan's name, diffusers' name, our path, transform of the weight) of a module. A norm has a gamma and no bias.
Module = tuple[str, str, str, Transform]


def _below(root: tuple[str, str, str], modules: tuple[Module, ...]) -> list[Module]:
    """The modules with `root` (original, diffusers, ours) before their names."""
    original, diffusers, ours = root
    return [(f"{original}.{a}", f"{diffusers}.{b}", f"{ours}/{c}", kind) for a, b, c, kind in modules]


def _res(shortcut: bool) -> tuple[Module, ...]:
    modules = (
        ("residual.0", "norm1", "norm1", GAMMA_3D),
        ("residual.2", "conv1", "conv1", CONV3D),
        ("residual.3", "norm2", "norm2", GAMMA_3D),
        ("residual.6", "conv2", "conv2", CONV3D),
    )
    return modules + ((("shortcut", "conv_shortcut", "shortcut", LINEAR_3D),) if shortcut else ())


ATTENTION = (
    ("norm", "norm", "norm", GAMMA_2D),
    ("to_qkv", "to_qkv", "qkv", LINEAR_2D),
    ("proj", "proj", "out", LINEAR_2D),
)


def _resample(temporal: bool) -> tuple[Module, ...]:
    modules = (("resample.1", "resample.1", "conv", CONV2D),)
    return modules + ((("time_conv", "time_conv", "time_conv", CONV3D),) if temporal else ())


def _ends_and_middle(half: str) -> Iterator[Module]:
    yield f"{half}.conv1", f"{half}.conv_in", f"{half}/conv_in", CONV3D
    for i in range(2):
        names = f"{half}.middle.{2 * i}", f"{half}.mid_block.resnets.{i}", f"{half}/middle/res_{i}"
        yield from _below(names, _res(shortcut=False))
    yield from _below((f"{half}.middle.1", f"{half}.mid_block.attentions.0", f"{half}/middle/attention"), ATTENTION)
    yield f"{half}.head.0", f"{half}.norm_out", f"{half}/norm_out", GAMMA_3D
    yield f"{half}.head.2", f"{half}.conv_out", f"{half}/conv_out", CONV3D


def _encoder(config: WanVAEConfig) -> Iterator[Module]:
    yield from _ends_and_middle("encoder")
    index, width = 0, 1
    for stage, multiplier in enumerate(config.multipliers):
        # A shortcut is stored only where the number of channels changes.
        parts = [(f"res_{i}", _res(i == 0 and multiplier != width)) for i in range(config.res_blocks)]
        if stage < len(config.temporal):
            parts.append(("down", _resample(config.temporal[stage])))
        for part, modules in parts:
            names = f"encoder.downsamples.{index}", f"encoder.down_blocks.{index}", f"encoder/stage_{stage}_{part}"
            yield from _below(names, modules)
            index += 1
        width = multiplier


def _decoder(config: WanVAEConfig) -> Iterator[Module]:
    yield from _ends_and_middle("decoder")
    index, width = 0, config.multipliers[-1] * config.base_size
    for stage, multiplier in enumerate(config.multipliers[::-1]):
        # Wan numbers the parts of its decoder in one list, diffusers within each stage; so both numbers are counted
        # here.
        block = f"decoder.up_blocks.{stage}"
        parts = [
            (f"{block}.resnets.{i}", f"res_{i}", _res(i == 0 and multiplier * config.base_size != width))
            for i in range(config.res_blocks + 1)
        ]
        if stage < len(config.temporal):
            parts.append((f"{block}.upsamplers.0", "up", _resample(config.temporal[::-1][stage])))
        for diffusers, part, modules in parts:
            yield from _below((f"decoder.upsamples.{index}", diffusers, f"decoder/stage_{stage}_{part}"), modules)
            index += 1
        # The convolution of an upsampler halves the channels, so the next stage begins with half of them.
        width = multiplier * config.base_size // 2


def _tensors(config: WanVAEConfig) -> Iterator[tuple[str, str, str, Transform]]:
    """(original name, diffusers name, our path, transform) of every tensor."""
    quant = (("conv1", "quant_conv", "quant", LINEAR_3D), ("conv2", "post_quant_conv", "post_quant", LINEAR_3D))
    for original, diffusers, ours, kind in [*_encoder(config), *quant, *_decoder(config)]:
        if kind in (GAMMA_3D, GAMMA_2D):
            yield f"{original}.gamma", f"{diffusers}.gamma", f"{ours}/scale", kind
        else:
            yield f"{original}.weight", f"{diffusers}.weight", f"{ours}/kernel", kind
            yield f"{original}.bias", f"{diffusers}.bias", f"{ours}/bias", COPY


def table(config: WanVAEConfig, names: Literal["wan", "diffusers"] = "wan") -> Table:
    """Returns the table of a config. It reads both spellings and writes `names`."""
    rows = [(a, b, *rest) if names == "wan" else (b, a, *rest) for a, b, *rest in _tensors(config)]
    return Table(
        entries=tuple(Entry(name, target, transform) for name, _, target, transform in rows),
        aliases=tuple((f"{re.escape(other)}$", name) for name, other, _, _ in rows),
    )


def config_from_tensors(tensors: Mapping[str, Any], **latents: tuple[float, ...]) -> WanVAEConfig:
    """Returns the config of a checkpoint in either spelling, from the names and shapes of its encoder.

    latents: latent_mean and latent_std, which the tensors do not show. Only Wan2.1's own VAE may go without them.

    Raises:
        ValueError: latent_mean or latent_std is missing, or the tensors are not a Wan VAE's.
    """
    shapes = {}
    for name, tensor in tensors.items():
        *_, name = unwrapped(name)
        name = re.sub(r"^encoder\.(down_blocks|downsamples)\.", "", name)
        shapes[re.sub(r"^(\d+\.)residual\.2\.", r"\1conv1.", name)] = tensor.shape
    quant = shapes.get("conv2.weight", shapes.get("post_quant_conv.weight"))
    first = shapes.get("encoder.conv1.weight", shapes.get("encoder.conv_in.weight"))
    if quant is None or first is None or "0.conv1.weight" not in shapes:
        raise ValueError("not a Wan VAE: its first convolutions are missing; give Wan2.1's VAE or a diffusers one")
    # Both spellings number the encoder's parts in one list, so walking along it shows where each stage ends.
    stages, temporal, index = [[]], [], 0
    while True:
        if (res := shapes.get(f"{index}.conv1.weight")) is not None:
            stages[-1].append(res[0] // first[0])
        elif f"{index}.resample.1.weight" in shapes:
            temporal.append(f"{index}.time_conv.weight" in shapes)
            stages.append([])
        else:
            break
        index += 1
    sizes = {
        "latent_channels": quant[0],
        "base_size": first[0],
        "multipliers": tuple(stage[0] for stage in stages if stage),
        "res_blocks": len(stages[0]),
        "temporal": tuple(temporal),
    }
    wan = WanVAEConfig()
    if latents.keys() != {"latent_mean", "latent_std"}:
        if latents or any(getattr(wan, name) != size for name, size in sizes.items()):
            raise ValueError(
                "the latents' mean and standard deviation are not among the tensors and this is not Wan2.1's own VAE; "
                "give latent_mean and latent_std (diffusers: latents_mean and latents_std of its config.json)"
            )
        return wan
    return WanVAEConfig(**sizes, **latents)
