"""The planner: Qwen3-VL, the pose decoder, the pose tokens, and named presets."""

import dataclasses
from typing import Literal

from shotverse_jax.config.execution import LoraConfig


@dataclasses.dataclass(frozen=True)
class Qwen3VLTextConfig:
    """Qwen3-VL's text decoder (RMSNorm, GQA, per-head q/k norm, interleaved M-RoPE, SwiGLU, tied head)."""

    vocab_size: int = 151936
    hidden_size: int = 2048
    num_layers: int = 28
    num_heads: int = 16
    num_kv_heads: int = 8
    head_dim: int = 128
    mlp_size: int = 6144
    rope_theta: float = 5e6
    mrope_section: tuple[int, int, int] = (24, 20, 20)
    rms_norm_eps: float = 1e-6


@dataclasses.dataclass(frozen=True)
class Qwen3VLVisionConfig:
    """Qwen3-VL's vision tower: pre-LN blocks within one frame, 2-D rope, a learned square table of positions.

    A patch is patch_size x patch_size pixels of temporal_patch_size frames; merge_size x merge_size patches become one
    token of out_size channels. deepstack_layers: the blocks (from 0) whose states are also merged, in rising order; the
    k-th of them is added after the k-th layer of the text decoder. position_grid: side of the table.
    """

    hidden_size: int = 1024
    num_layers: int = 24
    num_heads: int = 16
    mlp_size: int = 4096
    out_size: int = 2048
    in_channels: int = 3
    patch_size: int = 16
    temporal_patch_size: int = 2
    merge_size: int = 2
    position_grid: int = 48
    deepstack_layers: tuple[int, ...] = (5, 11, 17)
    rope_theta: float = 10000.0
    layer_norm_eps: float = 1e-6

    @property
    def patch_values(self) -> int:
        """Numbers in one patch."""
        return self.in_channels * self.temporal_patch_size * self.patch_size**2

    @property
    def merged_patches(self) -> int:
        """Patches that one token stands for."""
        return self.merge_size**2


@dataclasses.dataclass(frozen=True)
class Qwen3VLConfig:
    """Both towers of Qwen3-VL and the ids that stand for one merged patch of an image or of a video; the 2B."""

    text: Qwen3VLTextConfig = Qwen3VLTextConfig()
    vision: Qwen3VLVisionConfig = Qwen3VLVisionConfig()
    image_token: int = 151655
    video_token: int = 151656


@dataclasses.dataclass(frozen=True)
class OPTConfig:
    """GenDoP's OPT-style decoder: learned positions from index 0, post-LN blocks, ReLU, untied head without bias.

    `vocab_size` 260: PAD 0, BOS 1, EOS 2, then bins; ShotVerse has 256 bins and SEP 259, GenDoP 257 bins.
    `ffn_size` 0 means 4 * hidden_size.
    """

    vocab_size: int = 260
    hidden_size: int = 1024
    num_layers: int = 12
    num_heads: int = 8
    ffn_size: int = 0
    max_positions: int = 4096
    dropout: float = 0.1

    @property
    def mlp_size(self) -> int:
        return self.ffn_size or 4 * self.hidden_size


@dataclasses.dataclass(frozen=True)
class PoseTokenConfig:
    """The form in which a multi-shot trajectory becomes decoder tokens (`camera/tokens/shotverse.py`).

    bins: number of levels per value.
    poses: "every" keeps one pose each `every` frames (the paper's latent frames); "count" keeps `count` poses, spread
        evenly over each shot, and interpolates between them.
    origin: where the floor and the subject of the scene are written. "none": nowhere, and the world is the first camera
        (the paper). "header": the world is the first camera, and the pose of the stage comes before the poses, as 12
        tokens. "world": the stage is the world, so that a pose itself says from where and how far the subject is seen.
    path: the frame of the poses of a shot after its first pose. "world": the world (the paper). "shot": the frame of
        the shot's first camera; a move has the same tokens wherever it is filmed. "step": the frame of the pose before;
        a move has the same tokens whatever moves came before it.
    """

    bins: int = 256
    poses: Literal["every", "count"] = "every"
    every: int = 4
    count: int = 5
    origin: Literal["none", "header", "world"] = dataclasses.field(default="header", metadata={"was": "stage"})
    path: Literal["world", "shot", "step"] = "world"


@dataclasses.dataclass(frozen=True)
class PlannerConfig:
    """The ShotVerse planner: text encoder with trajectory queries, linear projection, OPT decoder.

    encoder: "queries" (the paper), "text" (no query tokens: every text state is a camera code) or "none" (no VLM:
    token embeddings are the prefix). decoder: "opt" (the paper) or "native" (the VLM continues with pose tokens).
    These are the ablations of the paper's Table 6. code_penalty is λ of the paper's Eq. 4 on the mean square.
    max_shots: the most shots it was trained on; longer screenplays are refused rather than guessed.
    """

    text: Qwen3VLTextConfig = Qwen3VLTextConfig()
    decoder: OPTConfig = OPTConfig()
    tokens: PoseTokenConfig = PoseTokenConfig()
    lora: LoraConfig | None = LoraConfig(rank=32, alpha=32.0)
    num_queries: int = 32
    encoder: Literal["queries", "text", "none"] = "queries"
    decoder_kind: Literal["opt", "native"] = "opt"
    code_penalty: float = 1e-4
    max_text_tokens: int = 1024
    max_shots: int = 4


def planner_qwen3vl_2b() -> PlannerConfig:
    """The paper's planner: Qwen3-VL-2B with LoRA r=32 and a 12-layer, 1024-wide decoder."""
    return PlannerConfig()


def planner_small() -> PlannerConfig:
    """The small planner: same code, trained from scratch on the stage, so there is no frozen base and no LoRA.

    The one that ships goes on from it with poses told step by step, see configs/planner/small_steps.py.
    """
    return PlannerConfig(
        text=Qwen3VLTextConfig(
            vocab_size=4096,
            hidden_size=192,
            num_layers=3,
            num_heads=3,
            num_kv_heads=1,
            head_dim=64,
            mlp_size=512,
            mrope_section=(12, 10, 10),
        ),
        decoder=OPTConfig(hidden_size=192, num_layers=6, num_heads=3, max_positions=512, dropout=0.0),
        tokens=PoseTokenConfig(poses="count", count=5, origin="world", path="shot"),
        lora=None,
        num_queries=8,
        max_text_tokens=448,
    )


def planner_nano() -> PlannerConfig:
    """For tests: seconds to compile and train."""
    return PlannerConfig(
        text=Qwen3VLTextConfig(
            vocab_size=512,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            num_kv_heads=2,
            head_dim=16,
            mlp_size=64,
            mrope_section=(4, 2, 2),
        ),
        decoder=OPTConfig(hidden_size=32, num_layers=2, num_heads=4, max_positions=256, dropout=0.0),
        tokens=PoseTokenConfig(poses="count", count=3),
        lora=None,
        num_queries=2,
        max_text_tokens=256,
    )


PLANNERS = {
    "planner_qwen3vl_2b": planner_qwen3vl_2b,
    "planner_small": planner_small,
    "planner_nano": planner_nano,
}
