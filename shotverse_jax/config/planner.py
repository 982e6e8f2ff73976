"""The planner: the pose decoder, the pose tokens, and named presets."""

import dataclasses
from typing import Literal

from shotverse_jax.config.execution import LoraConfig
from shotverse_jax.config.qwen3_vl import Qwen3VLTextConfig
from shotverse_jax.config.ranges import Checked, Count, Decay, Size, SizeOrDefault, Weight


@dataclasses.dataclass(frozen=True)
class OPTConfig(Checked):
    """GenDoP's OPT-style decoder: learned positions from 0, post-norm blocks, ReLU, an untied head without bias.

    vocab_size: 260 ids: PAD 0, BOS 1, EOS 2, then the bins. ShotVerse has 256 bins and SEP 259, GenDoP has 257 bins.
    ffn_size: the width of the hidden layer; 0 means 4 * hidden_size.
    """

    vocab_size: Size = 260
    hidden_size: Size = 1024
    num_layers: Count = 12
    num_heads: Count = 8
    ffn_size: SizeOrDefault = 0
    max_positions: Size = 4096
    dropout: Decay = 0.1

    def __post_init__(self):
        super().__post_init__()
        self._check_divides("num_heads", "hidden_size")

    @property
    def mlp_size(self) -> int:
        return self.ffn_size or 4 * self.hidden_size


@dataclasses.dataclass(frozen=True)
class PoseTokenConfig(Checked):
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

    bins: Size = 256
    poses: Literal["every", "count"] = "every"
    every: Count = 4
    count: Count = 5
    origin: Literal["none", "header", "world"] = dataclasses.field(default="header", metadata={"was": "stage"})
    path: Literal["world", "shot", "step"] = "world"


@dataclasses.dataclass(frozen=True)
class PlannerConfig(Checked):
    """The ShotVerse planner: a text encoder with trajectory queries, a projection and the OPT decoder (paper §3.1).

    text, decoder, tokens: the three parts: Qwen3-VL's text decoder, the pose decoder, and the form of its tokens.
    lora: the adapters that are trained on the text decoder; None trains all of it, or follows an export that merged
        them.
    num_queries: learnable query tokens after each shot's caption.
    encoder: "queries" (the paper); "text" has no query tokens, and every text state is a camera code; "none" has no
        language model, and token embeddings are the decoder's prefix (ablations of the paper's Table 6).
    decoder_kind: "opt" (the paper), or "native": the language model itself continues with pose tokens (Table 6).
    code_penalty: λ of the paper's Eq. 4, on the mean square of the camera codes.
    max_text_tokens: the longest prompt that it takes, query tokens included.
    max_shots: the most shots that it was trained on. A longer screenplay is refused, not guessed at.
    """

    text: Qwen3VLTextConfig = Qwen3VLTextConfig()
    decoder: OPTConfig = OPTConfig()
    tokens: PoseTokenConfig = PoseTokenConfig()
    lora: LoraConfig | None = LoraConfig(rank=32, alpha=32.0)
    num_queries: Count = 32
    encoder: Literal["queries", "text", "none"] = "queries"
    decoder_kind: Literal["opt", "native"] = "opt"
    code_penalty: Weight = 1e-4
    max_text_tokens: Size = 1024
    max_shots: Count = 4


def planner_qwen3vl_2b() -> PlannerConfig:
    """The paper's planner: Qwen3-VL-2B with LoRA r=32 and a 12-layer, 1024-wide decoder."""
    return PlannerConfig()


def planner_small() -> PlannerConfig:
    """The small planner, trained from scratch on the stage; it has no frozen base and therefore no LoRA.

    The planner that ships was trained on from it, with poses written step by step (configs/planner/small_steps.py).
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
