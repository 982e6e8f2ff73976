"""GenDoP and CLaTr: CLIP's towers, the published planner of single shots, and its evaluator."""

import dataclasses
from typing import Literal

from shotverse_jax.config.planner import OPTConfig


@dataclasses.dataclass(frozen=True)
class CLIPTextConfig:
    """CLIP's text tower: pre-norm, causal, learned positions; the defaults are Stable Diffusion 2.1's (GenDoP).

    activation: "gelu" is the exact GELU; "quick_gelu" is x sigmoid(1.702 x), which OpenAI's own towers have.
    """

    vocab_size: int = 49408
    hidden_size: int = 1024
    num_layers: int = 23
    num_heads: int = 16
    mlp_size: int = 4096
    max_positions: int = 77
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    layer_norm_eps: float = 1e-5


@dataclasses.dataclass(frozen=True)
class CLIPVisionConfig:
    """CLIP's vision tower: pre-norm, a class token before the patches, learned positions; LAION's ViT-H/14."""

    hidden_size: int = 1280
    num_layers: int = 32
    num_heads: int = 16
    mlp_size: int = 5120
    patch_size: int = 14
    image_size: int = 224
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    layer_norm_eps: float = 1e-5

    @property
    def places(self) -> int:
        """The class token and the patches."""
        return 1 + (self.image_size // self.patch_size) ** 2


@dataclasses.dataclass(frozen=True)
class GenDoPConfig:
    """GenDoP: a pose decoder whose prefix is the states of a text, and with `vision` of an image and a depth map.

    text: the text tower.
    vision: the vision tower, which reads the image and the depth map; None reads text only.
    decoder: the pose decoder. The published networks have a table of 41,047 positions, with vision one of 41,561.
    """

    text: CLIPTextConfig = CLIPTextConfig()
    vision: CLIPVisionConfig | None = None
    decoder: OPTConfig = OPTConfig(max_positions=41047)


@dataclasses.dataclass(frozen=True)
class CLaTrConfig:
    """CLaTr, the network behind GenDoP's scores: encoders of trajectories and texts into one space, a decoder.

    feature_size: numbers per frame of a trajectory.
    text_size: the width of the text tower's states (OpenAI's ViT-B/32).
    """

    hidden_size: int = 256
    num_layers: int = 6
    num_heads: int = 4
    mlp_size: int = 1024
    feature_size: int = 9
    text_size: int = 512


def gendop_text_rgbd() -> GenDoPConfig:
    """The published GenDoP that also reads the first frame and its depth map."""
    return GenDoPConfig(vision=CLIPVisionConfig(), decoder=OPTConfig(max_positions=41561))


def clip_text_b32() -> CLIPTextConfig:
    """The text tower of OpenAI's ViT-B/32, whose states CLaTr reads."""
    return CLIPTextConfig(hidden_size=512, num_layers=12, num_heads=8, mlp_size=2048, activation="quick_gelu")
