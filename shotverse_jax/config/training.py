"""Training runs: the values that every run has, and those of each network's run.

A training config decides all of a run: the network (`model`), its data, the weights to begin with, and how it learns.
`task` names its row in `train/tasks/`. `run.json` in the folder of a run is such a config.
"""

import dataclasses
from typing import Literal

from shotverse_jax.config.controller import ControllerConfig, WanVAEConfig
from shotverse_jax.config.evaluation import PoseNetConfig
from shotverse_jax.config.execution import Execution, LoraConfig, MeshConfig
from shotverse_jax.config.gendop import CLaTrConfig, CLIPTextConfig, GenDoPConfig, clip_text_b32
from shotverse_jax.config.planner import PlannerConfig
from shotverse_jax.config.qwen3_vl import Qwen3VLConfig
from shotverse_jax.config.ranges import (
    Checked,
    Count,
    Decay,
    Frames,
    Scale,
    Seed,
    Share,
    Side,
    Size,
    SizeOrDefault,
    Steps,
    StepsOrNone,
    Weight,
    Workers,
)


@dataclasses.dataclass(frozen=True)
class TrainConfig(Checked):
    """Values that every training run has.

    Attributes:
        steps: number of updates of the whole run.
        batch: samples of one step on all devices together.
        accumulate: number of parts that a batch is computed in, one after the other, where it does not fit into memory;
            their gradients are averaged.
        optimizer: "adamw", or "muon", which orthogonalises the updates of the layers' kernels and scales them to the
            size of AdamW's updates at the same lr; all other parameters use AdamW.
        lr: the peak learning rate, reached after the warmup.
        warmup: steps in which the learning rate rises linearly from 0 to `lr`.
        final_lr: share of `lr` that a cosine falls to at the last step.
        betas: decay of Adam's averages of the gradient and of its square.
        weight_decay: AdamW's weight decay; it acts on matrices only.
        clip: the largest global norm of a gradient; larger ones are scaled down to it.
        ema: decay of the averaged parameters that evaluation and export use; 0 keeps no average.
        seed: of the initial parameters, the order of the data and all noise.
        workers: processes that prepare batches; 0 uses one thread of the training process.
        log_every: steps between two lines of metrics.
        eval_every: steps between two evaluations on held-out data.
        eval_batches: number of held-out batches of an evaluation.
        checkpoint_every: steps between two checkpoints.
        checkpoint_minutes: the longest time between two checkpoints of a run with one process.
        max_bad_steps: a run ends with an error after this number of non-finite steps in a row.
        preview_every: steps between two previews: a planner plans the screenplay `preview` with its averaged
            parameters, a controller films it; 0 makes none.
        preview: file of a screenplay; "" is `examples/last_train.yaml`, which ships.
        mesh: how the devices are arranged.
        execution: how the network runs.
    """

    steps: Steps = 20000
    batch: Size = 32
    accumulate: Size = 1
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: Weight = 1e-3
    warmup: StepsOrNone = 500
    final_lr: Share = 0.1
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    weight_decay: Weight = 0.01
    clip: Scale = 1.0
    ema: Decay = 0.999
    seed: Seed = 0
    workers: Workers = 0
    log_every: Steps = 20
    eval_every: Steps = 500
    eval_batches: Size = 8
    checkpoint_every: Steps = 1000
    checkpoint_minutes: Weight = 10.0
    max_bad_steps: Steps = 10
    preview_every: StepsOrNone = 0
    preview: str = ""
    mesh: MeshConfig = MeshConfig()
    execution: Execution = Execution()

    def __post_init__(self):
        super().__post_init__()
        if self.batch % self.accumulate:
            raise ValueError(f"a batch of {self.batch} does not divide into accumulate={self.accumulate} parts")


@dataclasses.dataclass(frozen=True)
class PlannerTrainConfig(TrainConfig):
    """A planner's run (ShotVerse §3.1, §5.1).

    Attributes:
        task: its row in `train/tasks/`.
        model: the network.
        base_weights: folder of the pre-trained language model; or a whole planner to continue from, by folder or
            shipped name, whose pose tokens may have another form (`model.tokens`); "" begins with random weights.
        data: recorded scenes (`launch/encode.py`), or a table or folder of scenes, or DataDoP's folder, as
            `launch/encode.py` reads them; "" writes scenes of the stage as they are needed. The shot counts of recorded
            scenes are used as they come, and `shot_weights` is ignored.
        test_data: the same for held-out scenes; data and test_data are given together.
        path_weight: weight of the path probe (`train/path_probe.py`) in the loss; 0 trains without it.
        single_shot_steps: number of first steps that see single shots only.
        shot_weights: how often films of 1, 2, … shots come, one number for each shot count.
        text_lengths: length in tokens that captions of 1, 2, … shots are padded to, one number for each shot count.
        move_weights: how often a shot of the stage stands still, moves once, in two ways at the same time, in two or
            three moves one after the other (`grammar/samples.py`).
        even_angles: how often a shot of the stage looks from low, eye level or high with equal chances.
        bpe_examples: number of screenplays whose captions the text tokenizer is learned from.
    """

    task: Literal["planner"] = "planner"
    model: PlannerConfig = PlannerConfig()
    base_weights: str = ""
    data: str = ""
    test_data: str = ""
    path_weight: Weight = 0.0
    single_shot_steps: StepsOrNone = 0
    shot_weights: tuple[Weight, ...] = (0.15, 0.51, 0.255, 0.085)
    text_lengths: tuple[Size, ...] = (80, 128, 176, 224)
    move_weights: tuple[Weight, Weight, Weight, Weight] = (0.10, 0.52, 0.16, 0.22)
    even_angles: Share = 0.0
    bpe_examples: Steps = 20000

    def __post_init__(self):
        super().__post_init__()
        lengths, weights = self.text_lengths, self.shot_weights
        if len(lengths) != len(weights) or not lengths:
            counts = f"{len(lengths)} and {len(weights)}"
            raise ValueError(f"text_lengths and shot_weights have one number for each shot count, got {counts}")
        if list(lengths) != sorted(lengths) or lengths[-1] > self.model.max_text_tokens:
            most = self.model.max_text_tokens
            raise ValueError(f"text_lengths must rise up to model.max_text_tokens={most} at most, got {lengths}")
        for name in ("shot_weights", "move_weights"):
            if not sum(getattr(self, name)):
                raise ValueError(f"one of {name} must be more than 0, got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class GenDoPTrainConfig(TrainConfig):
    """A run of GenDoP (its README and paper, §5.1 and C.1): single shots, conditioned on what `model` has towers for.

    Attributes:
        task: its row in `train/tasks/`.
        model: the network.
        base_weights: folder of a GenDoP to go on from, as `shotverse convert` or a run wrote it; "" begins with random
            weights.
        text_weights: folder of a CLIP text tower to begin with (`shotverse convert --as clip-text`), as the original
            begins with Stable Diffusion 2.1's; "" begins with random weights. Its tokenizer is used.
        vision_weights: the same for the towers of the picture and of its depth (`--as clip-vision`), as the original
            begins with LAION's ViT-H/14.
        freeze_towers: whether the towers stay as they are; the original trains them too.
        data: folder of DataDoP's layout; "" takes shots of the stage.
        test_data: the same for held-out shots; "" takes the part "test" of `data`.
        caption: which caption of a shot of DataDoP: GenDoP's "motion" is "movement" here, its "directorial" is
            "concise".
        code_penalty: λ of the paper's Eq. 3, on the mean square of the prefix; its code, and so the default, has none.
        anchor_weight, screen_weight: of a network with an anchor head, the weights of the errors of the first camera's
            position and of the place in the picture at which it then has the subject (VERTIGO's).
        bpe_examples: number of shots whose captions a tokenizer is learned from, where none is given.
    """

    task: Literal["gendop"] = "gendop"
    model: GenDoPConfig = GenDoPConfig()
    base_weights: str = ""
    text_weights: str = ""
    vision_weights: str = ""
    freeze_towers: bool = False
    data: str = ""
    test_data: str = ""
    caption: Literal["movement", "concise", "detailed"] = "movement"
    code_penalty: Weight = 0.0
    anchor_weight: Weight = 0.2
    screen_weight: Weight = 0.05
    bpe_examples: Steps = 20000


@dataclasses.dataclass(frozen=True)
class VAETrainConfig(TrainConfig):
    """A video VAE's run: L1 and `kl_weight` times the KL divergence on crops of films.

    Attributes:
        task: its row in `train/tasks/`.
        model: the network.
        base_weights: a VAE to begin with, by folder or shipped name; "" begins with random weights.
        data: folder of recorded films (`launch/encode.py`); "" renders clips of the stage as they are needed.
        test_data: the same for held-out films.
        part: "whole" trains encoder and decoder; "decoder" keeps the encoder, and so all latents that were made with
            it, and trains the other half.
        frames: length of a crop.
        height: height of a crop in pixels.
        width: width of a crop in pixels.
        kl_weight: weight of the KL divergence, in nats per latent.
        color_weight: weight of a term that makes a latent's first three channels the mean colour (YCbCr) of its pixels
            and keeps that colour in the decoded video, so that a network which films latents tells colours apart;
            0 (Wan's VAE) trains without it.
    """

    task: Literal["vae"] = "vae"
    model: WanVAEConfig = WanVAEConfig()
    base_weights: str = ""
    data: str = ""
    test_data: str = ""
    part: Literal["whole", "decoder"] = "whole"
    frames: Frames = 9
    height: Side = 64
    width: Side = 64
    kl_weight: Weight = 1e-6
    color_weight: Weight = 0.0


@dataclasses.dataclass(frozen=True)
class PoseNetTrainConfig(TrainConfig):
    """A pose estimator's run: `batch` films a step, all latent frames of each.

    Generated frames are less clean than the stage's. To be ready for them, training frames are worn
    (`train/tasks/pose_net.py`).

    Attributes:
        task: its row in `train/tasks/`.
        model: the network.
        data: folder of recorded films (`launch/encode.py`).
        test_data: the same for held-out films.
        blur: the largest number of passes of a 3x3 binomial filter over a frame.
        noise: the largest standard deviation of the grain that is added to a frame; its values are in [-1, 1].
        tint: the largest change of gain and of offset of a colour channel.
    """

    task: Literal["pose_net"] = "pose_net"
    model: PoseNetConfig = PoseNetConfig()
    data: str = ""
    test_data: str = ""
    blur: Workers = 2
    noise: Weight = 0.08
    tint: Weight = 0.1


@dataclasses.dataclass(frozen=True)
class ControllerTrainConfig(TrainConfig):
    """A controller's run (ShotVerse §5.1): which parameters learn, at which noise.

    Attributes:
        task: its row in `train/tasks/`.
        model: the network.
        expert: "base" trains the whole network without camera and with Wan's 3D RoPE, and the text encoder, at all
            noise levels; "high" trains camera encoders and LoRA at sigma >= boundary; "low" trains LoRA below it.
        base_weights: for "high" and "low", the base model they adapt, by folder or shipped name, or an expert to
            continue from.
        text_tokenizer: for "base", folder or shipped name of the text tokenizer that its text encoder reads with.
        data: folder of encoded films (`launch/encode.py`).
        test_data: the same for held-out films.
        text_dropout: share of samples whose prompt is dropped, for guidance.
        max_shots: the largest number of shots of a film; its prompt gets this number of windows.
        loss_weight: weight of each noise level in the loss: "uniform" (the paper's Eq. 5) or "diffsynth".
        subject_weight: weight in the loss of a latent that shows nothing but a subject, where one without a subject
            has weight 1 (Eq. 5: all 1). Any other value needs films that say where subjects are, as the stage's do.
        preview_weights: folder of the base model that an expert's previews use at the other expert's noise levels; ""
            uses the one that the run started from.
    """

    task: Literal["controller"] = "controller"
    model: ControllerConfig = ControllerConfig()
    expert: Literal["base", "high", "low"] = dataclasses.field(default="high", metadata={"was": "stage"})
    base_weights: str = ""
    text_tokenizer: str = "planner_small"
    data: str = ""
    test_data: str = ""
    text_dropout: Share = 0.1
    max_shots: Count = 4
    loss_weight: Literal["uniform", "diffsynth"] = "uniform"
    subject_weight: Weight = 1.0
    preview_weights: str = ""


@dataclasses.dataclass(frozen=True)
class CLaTrTrainConfig(TrainConfig):
    """A run of CLaTr (robincourant/CLaTr src/models/clatr.py, GenDoP evaluate/CLaTr).

    Attributes:
        task: its row in `train/tasks/`.
        model: the network.
        text: the text tower whose states it reads.
        text_weights: the tower, by folder or name, which stays as it is and names its own config; "" trains a tower
            together with the network, with a text tokenizer learned from the captions.
        data: DataDoP's folder, or a folder or table of scenes (docs/data.md); "" takes shots of the stage as they are
            needed.
        test_data: the same for held-out scenes; "" takes the part "test" of `data`. Only DataDoP's folder has one.
        caption: which caption of DataDoP's shots.
        styles: which captions shots of the stage get, one of them by chance (`data/clatr_source.py`).
        text_length: tokens that captions are cut or padded to; 0 takes all positions of the tower.
        bpe_examples: number of screenplays of the stage whose captions the text tokenizer is learned from.
        reconstruction_weight: weight of the errors of the features that are decoded from both latents.
        kl_weight: weight of the KL divergences between both latents and from each to a normal distribution.
        latent_weight: weight of the distance between both latents.
        contrast_weight: weight of the contrastive loss (InfoNCE).
        temperature: divides the cosines in it.
        noise: factor of the deviations with which latents are drawn in training; 0 takes their means.
        same_text: captions whose end tokens have a larger cosine than that are no wrong answers for each other; it is
            only used with `text_weights`, as a tower that learns would be led to make all captions the same.
    """

    task: Literal["clatr"] = "clatr"
    model: CLaTrConfig = CLaTrConfig()
    text: CLIPTextConfig = dataclasses.field(default_factory=clip_text_b32)
    text_weights: str = ""
    data: str = ""
    test_data: str = ""
    caption: Literal["movement", "concise", "detailed"] = "movement"
    styles: tuple[str, ...] = ("movement", "film", "shot")
    text_length: SizeOrDefault = 0
    bpe_examples: Steps = 20000
    reconstruction_weight: Weight = 1.0
    kl_weight: Weight = 1e-5
    latent_weight: Weight = 1e-5
    contrast_weight: Weight = 0.1
    temperature: Scale = 0.1
    noise: Weight = 1.0
    same_text: Share = 0.99

    def __post_init__(self):
        super().__post_init__()
        if self.accumulate > 1:
            raise ValueError(
                "accumulate must be 1 in a run of clatr: its contrastive loss compares all samples of a batch, and in "
                f"{self.accumulate} parts each would be compared with those of its own part alone"
            )


@dataclasses.dataclass(frozen=True)
class CaptionerTrainConfig(TrainConfig):
    """A captioner's run: Qwen3-VL learns to describe clips (VERTIGO's cinematic VLM; the recipe of CameraBench).

    Attributes:
        task: its row in `train/tasks/`.
        model: the network, with the question that it is asked (`model.prompt`).
        base_weights: folder of a Qwen3-VL to go on from, as `shotverse get` or a run wrote it; "" begins with random
            weights, and learns a text tokenizer from the captions.
        lora: adapters that are trained on the text decoder in place of its weights; None trains all of it.
        freeze_vision: whether the vision tower and its projections into the text stay as they are.
        data: folder of videos, each with its caption in a .txt file beside it; "" takes previews of the stage as they
            are needed.
        test_data: the same for held-out clips; data and test_data are given together.
        height: height of the previews of the stage in pixels, or that videos are reduced to.
        width: width of the previews of the stage in pixels; of videos the usual one, by which patches are counted.
        text_length: tokens that a question and its answer are padded to, pictures included.
        answer_length: the most tokens of an answer.
        patches: patches that frames are padded to; 0 takes those of the previews of the stage.
        bpe_examples: number of shots of the stage whose captions the text tokenizer is learned from.
        view_weight: weight of the view probe (`train/view_probe.py`) in the loss, for previews of the stage; 0 trains
            without it.
    """

    task: Literal["captioner"] = "captioner"
    model: Qwen3VLConfig = Qwen3VLConfig()
    base_weights: str = ""
    lora: LoraConfig | None = None
    freeze_vision: bool = False
    data: str = ""
    test_data: str = ""
    height: Side = 48
    width: Side = 80
    text_length: Size = 256
    answer_length: Size = 64
    patches: SizeOrDefault = 0
    bpe_examples: Steps = 2000
    view_weight: Weight = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.view_weight and self.data:
            raise ValueError("view_weight needs the stage's own cameras, which the clips of data have not")
        if bool(self.data) != bool(self.test_data):
            raise ValueError("data and test_data go together: give the clips to train on and the held-out ones")
        if self.freeze_vision and not self.base_weights:
            raise ValueError("freeze_vision keeps a vision tower as it is, so base_weights must name a network")
        if self.lora is not None and not self.base_weights:
            raise ValueError("lora adapts a network that is there, so base_weights must name one")
