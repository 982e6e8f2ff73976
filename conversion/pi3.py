"""Names and sizes of Pi3's checkpoints (github.com/yyfz/Pi3, its state_dict) for `models/pi3.py`."""

from collections.abc import Mapping
from typing import Any

from shotverse_jax.config import Pi3Config

from .clip import PATCHES
from .core import Entry, Table, Transform, canonical_names, linear, norm

ROW = Transform(lambda w: w[0], lambda w: w[None])  # [1, tokens, width]
FRAME_ROW = Transform(lambda w: w[0, 0], lambda w: w[None, None])  # [1, 1, tokens, width]
CHANNELS = Transform(lambda w: w[0, :, 0, 0], lambda w: w[None, :, None, None])  # [1, channels, 1, 1]


def _block(source: str, target: str, gains: bool = False, normed: bool = False) -> tuple[Entry, ...]:
    """The entries of a block: with its two gains, and with norms of its queries and keys."""
    return (
        *(e for i in (1, 2) for e in norm(f"{source}.norm{i}", f"{target}/norm{i}")),
        *(e for name in ("qkv", "proj") for e in linear(f"{source}.attn.{name}", f"{target}/{name}")),
        *(e for name in ("fc1", "fc2") for e in linear(f"{source}.mlp.{name}", f"{target}/{name}")),
        *(Entry(f"{source}.ls{i}.gamma", f"{target}/gain{i}/scale") for i in (1, 2) if gains),
        *(e for x in "qk" if normed for e in norm(f"{source}.attn.{x}_norm", f"{target}/{x}_norm")),
    )


def _tower(source: str, target: str) -> tuple[Entry, ...]:
    return (
        *linear(f"{source}.projects", f"{target}/tower/project"),
        *_block(f"{source}.blocks.{{i}}", f"{target}/tower/blocks"),
        *linear(f"{source}.linear_out", f"{target}/tower/out"),
    )


_CAMERA = {"more_mlps.0": "hidden1", "more_mlps.2": "hidden2", "fc_t": "translation", "fc_rot": "rotation"}

TABLE = Table(
    entries=(
        *(Entry(name, name, CHANNELS) for name in ("image_mean", "image_std")),
        Entry("encoder.cls_token", "encoder/embedding", ROW),
        Entry("encoder.pos_embed", "encoder/positions", ROW),
        Entry("encoder.register_tokens", "encoder/registers", ROW),
        *linear("encoder.patch_embed.proj", "encoder/patch_embed", PATCHES),
        *_block("encoder.blocks.{i}", "encoder/blocks", gains=True),
        *norm("encoder.norm", "encoder/norm"),
        Entry("register_token", "registers", FRAME_ROW),
        *_block("decoder.{2i}", "decoder/frame", gains=True, normed=True),
        *_block("decoder.{2i+1}", "decoder/scene", gains=True, normed=True),
        *(e for ours, name in (("points", "point"), ("confidence", "conf")) for e in _tower(f"{name}_decoder", ours)),
        *_tower("camera_decoder", "camera"),
        *linear("point_head.proj", "points/head"),
        *linear("conf_head.proj", "confidence/head"),
        *(
            e
            for i in (1, 2, 3)
            for e in linear(f"camera_head.res_conv.{{i}}.res_conv{i}", f"camera/residual/hidden{i}")
        ),
        *(e for name, ours in _CAMERA.items() for e in linear(f"camera_head.{name}", f"camera/{ours}")),
    ),
    # DINOv2's own file has it; Pi3 removes it.
    ignore=(r"encoder\.mask_token$",),
)


def config_from_tensors(tensors: Mapping[str, Any]) -> Pi3Config:
    """Returns the config of a Pi3 from the shapes of its tensors. All heads are as wide as the decoder's.

    Raises:
        ValueError: The tensors are not a Pi3's.
    """
    names = canonical_names(TABLE, tensors)
    sized = {  # and how many axes each has
        "patches": ("encoder.patch_embed.proj.weight", 4),
        "positions": ("encoder.pos_embed", 3),
        "encoder_registers": ("encoder.register_tokens", 3),
        "registers": ("register_token", 4),
        "head": ("decoder.0.attn.q_norm.weight", 1),
        "tower": ("point_decoder.projects.weight", 2),
        "camera": ("camera_decoder.linear_out.weight", 2),
    }
    shapes = {part: tensors[names[name]].shape if name in names else () for part, (name, _) in sized.items()}
    if wrong := [name for part, (name, axes) in sized.items() if len(shapes[part]) != axes]:
        raise ValueError(f"not a Pi3: {', '.join(wrong)} missing or of another shape")

    def layers(stack: str) -> int:
        return len({name.removeprefix(stack).split(".")[0] for name in names if name.startswith(stack)})

    return Pi3Config(
        hidden_size=shapes["patches"][0],
        head_dim=shapes["head"][0],
        encoder_layers=layers("encoder.blocks."),
        encoder_registers=shapes["encoder_registers"][1],
        position_grid=round((shapes["positions"][1] - 1) ** 0.5),
        decoder_layers=layers("decoder."),
        registers=shapes["registers"][2],
        tower_size=shapes["tower"][0],
        tower_layers=layers("point_decoder.blocks."),
        camera_size=shapes["camera"][0],
        patch_size=shapes["patches"][2],
    )
