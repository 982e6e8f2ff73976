"""Every model, execution and training setting, declared once as frozen dataclasses with named presets.

One file per system; every name can be imported from here.
"""

from shotverse_jax.config.controller import (
    CONTROLLERS,
    NEGATIVE_PROMPT,
    TEXT_ENCODERS,
    VAES,
    ControllerConfig,
    UMT5Config,
    WanDiTConfig,
    WanVAEConfig,
    controller_14b,
    controller_small,
    text_small,
    vae_small,
)
from shotverse_jax.config.evaluation import PoseNetConfig
from shotverse_jax.config.execution import Execution, LoraConfig, MeshConfig
from shotverse_jax.config.gendop import (
    CLATR_FRAMES,
    MODES,
    CLaTrConfig,
    CLIPTextConfig,
    CLIPVisionConfig,
    GenDoPConfig,
    clatr_small,
    clip_text_b32,
    clip_text_small,
    gendop_of,
)
from shotverse_jax.config.planner import (
    PLANNERS,
    OPTConfig,
    PlannerConfig,
    PoseTokenConfig,
    Qwen3VLConfig,
    Qwen3VLTextConfig,
    Qwen3VLVisionConfig,
    planner_nano,
    planner_qwen3vl_2b,
    planner_small,
)
from shotverse_jax.config.preference import PreferenceTrainConfig
from shotverse_jax.config.reader import from_dict
from shotverse_jax.config.training import (
    CLaTrTrainConfig,
    ControllerTrainConfig,
    GenDoPTrainConfig,
    PlannerTrainConfig,
    PoseNetTrainConfig,
    TrainConfig,
    VAETrainConfig,
)

__all__ = [
    "CLATR_FRAMES",
    "CLIPTextConfig",
    "CLIPVisionConfig",
    "CLaTrConfig",
    "CLaTrTrainConfig",
    "CONTROLLERS",
    "ControllerConfig",
    "ControllerTrainConfig",
    "Execution",
    "MODES",
    "GenDoPConfig",
    "GenDoPTrainConfig",
    "LoraConfig",
    "MeshConfig",
    "NEGATIVE_PROMPT",
    "OPTConfig",
    "PLANNERS",
    "PlannerConfig",
    "PlannerTrainConfig",
    "PoseNetConfig",
    "PoseNetTrainConfig",
    "PoseTokenConfig",
    "PreferenceTrainConfig",
    "Qwen3VLConfig",
    "Qwen3VLTextConfig",
    "Qwen3VLVisionConfig",
    "TEXT_ENCODERS",
    "TrainConfig",
    "UMT5Config",
    "VAES",
    "VAETrainConfig",
    "WanDiTConfig",
    "WanVAEConfig",
    "clatr_small",
    "clip_text_b32",
    "clip_text_small",
    "controller_14b",
    "controller_small",
    "from_dict",
    "gendop_of",
    "planner_nano",
    "planner_qwen3vl_2b",
    "planner_small",
    "text_small",
    "vae_small",
]
