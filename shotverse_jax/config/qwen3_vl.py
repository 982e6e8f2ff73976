"""Qwen3-VL: the text decoder, the vision tower, how pictures are prepared, and the published sizes."""

import dataclasses

from shotverse_jax.config.ranges import Checked, Count, Epsilon, Index, Pixels, Rate, Scale, Size

CAPTION_PROMPT = (
    "Describe this shot in two or three short sentences: how the camera moves and turns, from the first frame to the "
    "last; the size of the shot and the angle of the camera; who is seen, and where in the frame."
)
"""What a captioner is asked where its folder and its user say nothing else."""


@dataclasses.dataclass(frozen=True)
class Qwen3VLTextConfig(Checked):
    """Qwen3-VL's text decoder: RMSNorm, grouped-query attention with normed queries and keys, SwiGLU.

    The defaults are those of the 2B model. `mrope_section` is the number of rotary frequencies that turn with time, row
    and column; the three are interleaved (M-RoPE). `tied` says that the table of embeddings is the output head too; the
    8B and 32B models have a head of their own.
    """

    vocab_size: Size = 151936
    hidden_size: Size = 2048
    num_layers: Count = 28
    num_heads: Count = 16
    num_kv_heads: Count = 8
    head_dim: Size = 128
    mlp_size: Size = 6144
    rope_theta: Scale = 5e6
    mrope_section: tuple[Index, Index, Index] = (24, 20, 20)
    rms_norm_eps: Epsilon = 1e-6
    tied: bool = True

    def __post_init__(self):
        super().__post_init__()
        self._check_divides("num_kv_heads", "num_heads")
        if 2 * sum(self.mrope_section) != self.head_dim:
            got = f"head_dim={self.head_dim}, mrope_section={self.mrope_section}"
            raise ValueError(f"the sum of mrope_section of Qwen3VLTextConfig must be half of head_dim, got {got}")


@dataclasses.dataclass(frozen=True)
class Qwen3VLVisionConfig(Checked):
    """Qwen3-VL's vision tower: pre-norm blocks within one frame, 2-D RoPE, and a learned square table of positions.

    The defaults are those of the 2B model.
    patch_size, temporal_patch_size: a patch is patch_size x patch_size pixels of temporal_patch_size frames.
    merge_size, out_size: merge_size x merge_size patches become one token with out_size channels.
    position_grid: the number of rows, and of columns, of the table of positions.
    deepstack_layers: the blocks, counted from 0 in rising order, whose states are also merged into tokens. The k-th of
        them is added to the text decoder's states after its k-th layer.
    """

    hidden_size: Size = 1024
    num_layers: Count = 24
    num_heads: Count = 16
    mlp_size: Size = 4096
    out_size: Size = 2048
    in_channels: Count = 3
    patch_size: Size = 16
    temporal_patch_size: Count = 2
    merge_size: Count = 2
    position_grid: Count = 48
    deepstack_layers: tuple[Index, ...] = (5, 11, 17)
    rope_theta: Scale = 10000.0
    layer_norm_eps: Epsilon = 1e-6

    def __post_init__(self):
        super().__post_init__()
        self._check_divides("num_heads", "hidden_size")

    @property
    def patch_values(self) -> int:
        """Numbers in one patch."""
        return self.in_channels * self.temporal_patch_size * self.patch_size**2

    @property
    def merged_patches(self) -> int:
        """Patches that one token stands for."""
        return self.merge_size**2


@dataclasses.dataclass(frozen=True)
class Qwen3VLConfig(Checked):
    """Both towers of Qwen3-VL, its tokens for pictures, and how pictures are prepared.

    The defaults are those of the 2B model and of the settings that are published beside it.
    image_token, video_token: the ids that stand for one merged patch of an image and of a video.
    image_pixels: least and most pixels of an image; one outside is resized.
    video_pixels: the same of all frames of a video together.
    fps: frames that are taken of a second of a video.
    frames: least and most frames that are taken of a video.
    prompt: what a captioner is asked about a shot; a fine-tuned one is asked what it was trained with.
    """

    text: Qwen3VLTextConfig = Qwen3VLTextConfig()
    vision: Qwen3VLVisionConfig = Qwen3VLVisionConfig()
    image_token: Index = 151655
    video_token: Index = 151656
    image_pixels: tuple[Pixels, Pixels] = (65_536, 16_777_216)
    video_pixels: tuple[Pixels, Pixels] = (4_096, 25_165_824)
    fps: Rate = 2.0
    frames: tuple[Count, Count] = (4, 768)
    prompt: str = CAPTION_PROMPT

    def __post_init__(self):
        super().__post_init__()
        for name in ("image_pixels", "video_pixels", "frames"):
            least, most = getattr(self, name)
            if least > most:
                raise ValueError(f"{name} of Qwen3VLConfig are the least and the most, got {least} and {most}")
        if self.vision.out_size != self.text.hidden_size:
            got = f"vision.out_size={self.vision.out_size}, text.hidden_size={self.text.hidden_size}"
            raise ValueError(f"the tokens of the vision tower must be as wide as the text, got {got}")


def qwen3_vl(size: str) -> Qwen3VLConfig:
    """The config of a published size: "2b", "4b", "8b" or "32b" (the instruct models' config.json).

    Raises:
        ValueError: another size.
    """
    if size not in SIZES:
        raise ValueError(f"Qwen3-VL is published in the sizes {', '.join(SIZES)}, got {size!r}")
    width, mlp, layers, heads, tied = SIZES[size]
    text = Qwen3VLTextConfig(hidden_size=width, mlp_size=mlp, num_layers=layers, num_heads=heads, tied=tied)
    # The two larger models see with a larger tower.
    large = {} if tied else dict(hidden_size=1152, num_layers=27, mlp_size=4304, deepstack_layers=(8, 16, 24))
    return Qwen3VLConfig(text, Qwen3VLVisionConfig(**large, out_size=width))


SIZES = {
    "2b": (2048, 6144, 28, 16, True),
    "4b": (2560, 9728, 36, 32, True),
    "8b": (4096, 12288, 36, 32, False),
    "32b": (5120, 25600, 64, 64, False),
}
"""Published sizes: width, hidden layer, layers and heads of the text decoder, and whether its head is tied."""


def captioner_small() -> Qwen3VLConfig:
    """The small captioner, trained from scratch on previews of the stage: 16 frames of a shot, 32 x 48 pixels.

    A token is 16 x 16 pixels of two frames, so that a shot is 8 x 6 tokens.
    """
    return Qwen3VLConfig(
        text=Qwen3VLTextConfig(
            vocab_size=512,
            hidden_size=128,
            num_layers=3,
            num_heads=2,
            num_kv_heads=1,
            head_dim=64,
            mlp_size=384,
            rope_theta=1e4,
            mrope_section=(12, 10, 10),
        ),
        vision=Qwen3VLVisionConfig(
            hidden_size=128,
            num_layers=3,
            num_heads=4,
            mlp_size=384,
            out_size=128,
            patch_size=8,
            position_grid=6,
            deepstack_layers=(1,),
            rope_theta=100.0,
        ),
        image_token=5,
        video_token=6,
        # 32 x 48 or 32 x 64 pixels of all usual pictures.
        image_pixels=(1536, 2048),
        video_pixels=(24_576, 32_768),
        frames=(16, 16),
        prompt="Describe the shot.",
    )


def captioner_nano() -> Qwen3VLConfig:
    """For tests: seconds to compile and train."""
    return Qwen3VLConfig(
        text=Qwen3VLTextConfig(
            vocab_size=300,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            num_kv_heads=2,
            head_dim=16,
            mlp_size=64,
            mrope_section=(4, 2, 2),
        ),
        vision=Qwen3VLVisionConfig(
            hidden_size=16,
            num_layers=2,
            num_heads=2,
            mlp_size=32,
            out_size=32,
            patch_size=4,
            position_grid=6,
            deepstack_layers=(0,),
        ),
        image_token=5,
        video_token=6,
        image_pixels=(64, 1536),
        video_pixels=(64, 1536),
        frames=(4, 4),
        prompt="Describe the shot.",
    )
