"""Pi3 (arXiv 2507.13347): the network that finds cameras and points from frames, in its published size and smaller."""

import dataclasses

from shotverse_jax.config.ranges import Checked, Count, Pixels, Scale, Size


@dataclasses.dataclass(frozen=True)
class Pi3Config(Checked):
    """Pi3: a DINOv2 encoder with registers, a decoder of frame-wise and scene-wise blocks in turn, and three heads.

    The defaults are those of the published network. Every MLP is four times as wide as its block.

    hidden_size: the width of the encoder and of the decoder.
    head_dim: the width of an attention head, everywhere. RoPE2D gives half of it to the row, half to the column.
    encoder_layers: the blocks of the encoder.
    encoder_registers: the learned tokens of the encoder beside its class token.
    position_grid: the number of rows, and of columns, of the encoder's table of positions.
    decoder_layers: the blocks of the decoder. Those at even places attend within a frame, the others within the scene.
    registers: the learned tokens that begin every frame in the decoder.
    tower_size, tower_layers: the width and the blocks of each of the three towers, of points, confidence and camera.
    camera_size: the width of the layers that make a pose.
    patch_size: the pixels of a patch are patch_size x patch_size.
    rope_theta: the base of RoPE2D's frequencies.
    pixels: the most pixels of a frame; frames are resized to nearly so many.
    """

    hidden_size: Size = 1024
    head_dim: Size = 64
    encoder_layers: Count = 24
    encoder_registers: Count = 4
    position_grid: Count = 37
    decoder_layers: Count = 36
    registers: Count = 5
    tower_size: Size = 1024
    tower_layers: Count = 5
    camera_size: Size = 512
    patch_size: Count = 14
    rope_theta: Scale = 100.0
    pixels: Pixels = 255_000

    def __post_init__(self):
        super().__post_init__()
        self._check_divides("head_dim", "hidden_size")
        self._check_divides("head_dim", "tower_size")
        if self.head_dim % 4 or self.decoder_layers % 2:
            got = f"head_dim={self.head_dim}, decoder_layers={self.decoder_layers}"
            raise ValueError(f"head_dim of Pi3Config is a multiple of 4 and decoder_layers is even, got {got}")
        if self.pixels < self.patch_size**2:
            raise ValueError(f"pixels of Pi3Config are those of one patch at least, got {self.pixels}")


_SIZES = {
    "large": {},
    # The project's code has these decoders as well. Its encoder is as wide only in the large one; here it is the DINOv2
    # of the decoder's width.
    "base": {"hidden_size": 768, "encoder_layers": 12, "decoder_layers": 24},
    "small": {"hidden_size": 384, "encoder_layers": 12, "decoder_layers": 24},
    # For tests and for a network that one trains on a laptop, 10 million parameters.
    "tiny": {
        "hidden_size": 192,
        "encoder_layers": 6,
        "position_grid": 16,
        "decoder_layers": 8,
        "tower_size": 192,
        "tower_layers": 3,
        "camera_size": 96,
    },
}


def pi3(size: str = "large") -> Pi3Config:
    """Pi3 in one of its sizes. Weights are published of "large" alone; the others are "base", "small" and "tiny".

    Raises:
        ValueError: a size of another name.
    """
    if size not in _SIZES:
        raise ValueError(f"Pi3's sizes are {', '.join(_SIZES)}; got {size!r}")
    return Pi3Config(**_SIZES[size])
