"""Training runs: the values that every run has, and those of each network's."""

import dataclasses
from typing import Literal

from shotverse_jax.config.execution import Execution, MeshConfig


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Values that every training run has.

    optimizer: "muon" orthogonalises the updates of the layers' kernels and scales them as AdamW's, at the same lr; all
    else takes AdamW. lr is the peak of a linear warmup and a cosine down to `final_lr` of it; weight_decay acts on
    matrices only; ema is the decay of the averaged parameters that evaluation and export use (0: no average).
    Checkpoints come each `checkpoint_every` steps or `checkpoint_minutes`. max_bad_steps non-finite steps in a row end
    the run. accumulate: so many parts of a batch are taken one after the other and their gradients averaged, where a
    batch does not fit into memory. preview_every: after so many steps a planner's or a controller's run plans or films
    the screenplay `preview` (empty: `examples/last_train.yaml`, which ships) with its averaged parameters (0: never).
    """

    steps: int = 20000
    batch: int = 32
    accumulate: int = 1
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-3
    warmup: int = 500
    final_lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    workers: int = 0
    log_every: int = 20
    eval_every: int = 500
    eval_batches: int = 8
    checkpoint_every: int = 1000
    checkpoint_minutes: float = 10.0
    max_bad_steps: int = 10
    preview_every: int = 0
    preview: str = ""
    mesh: MeshConfig = MeshConfig()
    execution: Execution = Execution()


@dataclasses.dataclass(frozen=True)
class PlannerTrainConfig(TrainConfig):
    """A planner's run: shot_weights and text_lengths have one entry per shot count (text_lengths: padded length).

    The first `single_shot_steps` steps see single shots only. path_weight is that of `train/path_probe.py` (0: no
    probe). bpe_examples: screenplays whose captions the text tokenizer is learned from. data, test_data: recorded
    scenes (`launch/encode.py`), or a table or folder of scenes or DataDoP's as that takes them, in place of the stage;
    they come as often as they are, whatever shot_weights says. move_weights: how often a shot of the
    stage stands still, moves once, in two ways at once, in two or three moves in a row; even_angles: how often it looks
    from low, eye level or high alike (`grammar/samples.py`).
    """

    data: str = ""
    test_data: str = ""
    path_weight: float = 0.0
    single_shot_steps: int = 0
    shot_weights: tuple[float, ...] = (0.15, 0.51, 0.255, 0.085)
    text_lengths: tuple[int, ...] = (80, 128, 176, 224)
    move_weights: tuple[float, ...] = (0.10, 0.52, 0.16, 0.22)
    even_angles: float = 0.0
    bpe_examples: int = 20000


@dataclasses.dataclass(frozen=True)
class VAETrainConfig(TrainConfig):
    """A video VAE's run: crops of `frames` x `height` x `width` of films; L1 and `kl_weight` times KL divergence.

    color_weight: of a term that makes a latent's first three channels the mean colour (YCbCr) of its pixels, and keeps
    that colour in what is decoded, so that a network which films latents tells colours apart; 0 (Wan's VAE): none.
    part: "decoder" keeps the encoder, and so all latents that were made with it, and trains the other half.
    """

    part: Literal["whole", "decoder"] = "whole"
    frames: int = 9
    height: int = 64
    width: int = 64
    kl_weight: float = 1e-6
    color_weight: float = 0.0


@dataclasses.dataclass(frozen=True)
class PoseNetTrainConfig(TrainConfig):
    """A pose estimator's run: `batch` films a step, all latent frames of each.

    data, test_data: folders of recorded films (`launch/encode.py`). blur, noise, tint: how much frames are worn, so
    that generated ones are no surprise (`train/tasks/pose_net.py`).
    """

    data: str = ""
    test_data: str = ""
    blur: int = 2
    noise: float = 0.08
    tint: float = 0.1


@dataclasses.dataclass(frozen=True)
class ControllerTrainConfig(TrainConfig):
    """A controller's run (ShotVerse §5.1): which parameters learn, at which noise.

    expert: "base" trains the whole network without camera and with Wan's 3D RoPE, and the text encoder, at all noise
    levels; "high" camera encoders and LoRA at sigma >= boundary; "low" LoRA below it. data, test_data: folders of
    encoded films (`launch/encode.py`). text_dropout: share of samples whose prompt is dropped, for guidance.
    max_shots: the most that a film has; its prompt gets so many windows. loss_weight: of each noise level in the loss,
    none (the paper's Eq. 5) or DiffSynth's. subject_weight: how much a latent that shows nothing but a subject counts
    in the loss, where one without counts 1 (Eq. 5: all 1); the films must say where subjects are, as the stage's do.
    preview_weights: folder of the base model that previews of an expert have at the other's noise levels; empty: the
    one that it starts from.
    """

    expert: Literal["base", "high", "low"] = dataclasses.field(default="high", metadata={"was": "stage"})
    data: str = ""
    test_data: str = ""
    text_dropout: float = 0.1
    max_shots: int = 4
    loss_weight: Literal["uniform", "diffsynth"] = "uniform"
    subject_weight: float = 1.0
    preview_weights: str = ""
