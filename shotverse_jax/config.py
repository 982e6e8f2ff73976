"""Every model, execution and training setting, declared once as frozen dataclasses with named presets."""

import dataclasses
import types
import typing
from typing import Any, Literal

# What guidance steers away from, the default of Wan2.2 (wan/configs/shared_config.py) and HoloCine.
NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，"
    "手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a network runs, not what it computes; handed to a network once.

    attention: kernel of `nn/attention.py`. remat: what the backward pass recomputes of each block.
    dtype: activations and matmuls ("float32" or "bfloat16"); parameters keep their own dtype.
    unroll: run a stack of blocks as a Python loop instead of a scan (faster on CPU forward, never for deep backward).
    spread: how activations lie on a mesh (`parallel/sequence.py` makes it); None: the compiler decides.
    """

    attention: Literal["xla", "cudnn", "splash"] = "xla"
    remat: Literal["none", "full", "save_attention"] = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"
    unroll: bool = False
    spread: Any = None


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters: y = x W + (alpha / rank) dropout(x) A B on every linear whose name is in `targets`."""

    rank: int
    alpha: float
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


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
    """How a multi-shot trajectory becomes decoder tokens (`camera/tokenizer.py`).

    bins: levels per value. poses: "every" takes a pose each `every` frames (the paper's latent frames), "count" takes
    `count` poses spread evenly over each shot and interpolates between them. stage: where the scene's floor and subject
    are told. "none": nowhere, the world is the first camera (the paper); "header": so too, and the stage pose comes
    before the poses (12 tokens); "world": the stage is the world, so that a pose says by itself from where and how far
    the subject is seen. path: the poses of a shot after its first are told in the world too (the paper), in the frame
    of its first camera ("shot"), where a move has the same tokens from wherever it is filmed, or each in the frame of
    the one before ("step"), where it also has them whatever moves came before it.
    """

    bins: int = 256
    poses: Literal["every", "count"] = "every"
    every: int = 4
    count: int = 5
    stage: Literal["none", "header", "world"] = "header"
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


@dataclasses.dataclass(frozen=True)
class UMT5Config:
    """UMT5's encoder (relative positions with a table in every layer, gated GELU, RMSNorm, no biases); UMT5-XXL."""

    vocab_size: int = 256384
    hidden_size: int = 4096
    num_layers: int = 24
    num_heads: int = 64
    head_dim: int = 64
    mlp_size: int = 10240
    buckets: int = 32
    max_distance: int = 128
    rms_norm_eps: float = 1e-6


@dataclasses.dataclass(frozen=True)
class CLIPTextConfig:
    """CLIP's text tower (pre-LN, causal, learned positions); Stable Diffusion 2.1's, which GenDoP trains on.

    activation: the exact GELU, or x sigmoid(1.702 x) ("quick_gelu"), which OpenAI's own towers have.
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
    """CLIP's vision tower (pre-LN, one class token before the patches, learned positions); LAION's ViT-H/14."""

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
    """GenDoP: the states of a text tower, and with `vision` those of an image's and of a depth map's, are the prefix of
    the pose decoder. The published networks have a table of 41,047 positions, 41,561 with vision."""

    text: CLIPTextConfig = CLIPTextConfig()
    vision: CLIPVisionConfig | None = None
    decoder: OPTConfig = OPTConfig(max_positions=41047)


@dataclasses.dataclass(frozen=True)
class CLaTrConfig:
    """CLaTr, the network behind GenDoP's scores: encoders of trajectories and of texts into one space, and a decoder.

    feature_size: numbers per frame; text_size: width of the text tower's states (OpenAI's ViT-B/32).
    """

    hidden_size: int = 256
    num_layers: int = 6
    num_heads: int = 4
    mlp_size: int = 1024
    feature_size: int = 9
    text_size: int = 512


@dataclasses.dataclass(frozen=True)
class WanVAEConfig:
    """Wan2.1's causal video VAE: 8x8 in space (2 per stage), 4 in time (2 per stage of `temporal`).

    base_size channels times `multipliers` per resolution; `res_blocks` per resolution in the encoder and one more in
    the decoder. Latents are normalised per channel, (mu - latent_mean) / latent_std.
    """

    latent_channels: int = 16
    base_size: int = 96
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    res_blocks: int = 2
    temporal: tuple[bool, ...] = (False, True, True)
    latent_mean: tuple[float, ...] = (
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
    )  # fmt: skip
    latent_std: tuple[float, ...] = (
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class WanDiTConfig:
    """Wan2.2-T2V-A14B's video transformer, one expert, with HoloCine's and ShotVerse's additions by value.

    rope: Wan's (frame, height, width) table or ShotVerse's (shot, frame, height, width). camera: whether every block
    has a camera encoder. self_attention: every token to every token, or HoloCine's sparse inter-shot attention (own
    shot and the first latent frame of every shot). rounding: float32 for the time embedding, modulation and residual
    gates (Wan's own), or all of it in the activations' dtype and the timestep in bfloat16 ("holocine").
    """

    hidden_size: int = 5120
    num_layers: int = 40
    num_heads: int = 40
    mlp_size: int = 13824
    frequency_size: int = 256
    text_size: int = 4096
    latent_channels: int = 16
    patch: tuple[int, int, int] = (1, 2, 2)
    eps: float = 1e-6
    rope: Literal["wan3d", "shotverse4d"] = "shotverse4d"
    rope_theta: float = 10000.0
    camera: bool = True
    self_attention: Literal["full", "sparse"] = "full"
    rounding: Literal["float32", "holocine"] = "float32"

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads


@dataclasses.dataclass(frozen=True)
class ControllerConfig:
    """ShotVerse's controller: two experts of one architecture, text encoder and VAE (paper §3.2, §5.1).

    text, vae: folders of the text encoder and of the video autoencoder, or names of shipped ones. The expert for noise
    levels sigma >= boundary sees the camera through its camera encoders; `camera` moves that to both or to none (Table
    7). camera_frame: the world that its poses are told in, the first camera's with the largest distance as the unit
    ("scene") or the stage's in metres ("stage"), so that a pose says by itself what is in view. lora: what stage 1 and
    2 train on each frozen expert. windows: what text a shot's tokens attend to: the global caption and its own
    ("clean"), with HoloCine's one token more ("holocine"), or all ("none"); see_padding: whether they also attend to
    the padding, as Wan's do. negative: the prompt that guidance steers away from. frames, height, width, fps: of the
    films it was trained on, and with steps and guidance the default of the films it makes. shared_noise: how much of
    the noise all frames of a film have in common (`film_noise`).
    """

    dit: WanDiTConfig = WanDiTConfig()
    text: str = "umt5_xxl"
    vae: str = "wan2.1_vae"
    lora: LoraConfig | None = LoraConfig(
        rank=128, alpha=128.0, targets=("q_proj", "k_proj", "v_proj", "o_proj", "ffn_in", "ffn_out")
    )
    camera: Literal["high", "both", "none"] = "high"
    camera_frame: Literal["scene", "stage"] = "scene"
    windows: Literal["holocine", "clean", "none"] = "holocine"
    see_padding: bool = True
    negative: str = NEGATIVE_PROMPT
    boundary: float = 0.875
    shift: float = 5.0
    shared_noise: float = 0.0
    text_length: int = 512
    frames: int = 249
    height: int = 480
    width: int = 832
    fps: float = 16.0
    steps: int = 50
    guidance: float = 5.0

    def expert(self, name: Literal["high", "low", "base"]) -> WanDiTConfig:
        """The architecture of one expert, or of the model that both start from: HoloCine's, with Wan's 3D RoPE.

        Raises:
            ValueError: another name.
        """
        if name not in ("high", "low", "base"):
            raise ValueError(f'a controller has the experts "high", "low" and "base", got "{name}"')
        if name == "base":
            return dataclasses.replace(self.dit, camera=False, rope="wan3d")
        return dataclasses.replace(self.dit, camera=self.camera in ("both", name))


@dataclasses.dataclass(frozen=True)
class PoseNetConfig:
    """The network that tells a camera's pose on the stage from one frame: a residual CNN.

    channels: per resolution, each half of the one before; the first is 1 / patch of the frame, and each has `blocks`
    blocks. The last is squeezed to `squeeze` channels and flattened into one hidden layer, which keeps places apart.
    unit: metres per unit of its position output.
    """

    height: int = 64
    width: int = 96
    patch: int = 4
    channels: tuple[int, ...] = (32, 64, 128)
    blocks: int = 2
    squeeze: int = 48
    hidden_size: int = 256
    unit: float = 4.0


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How many devices lie along each axis of the mesh (`parallel/mesh.py`); one may be -1, the rest of the devices.

    data: the batch is split, parameters are copied. fsdp: the batch is split and so are parameters. sequence: the
    tokens of the video transformer are split. tensor: heads and hidden layers are split.
    """

    data: int = -1
    fsdp: int = 1
    sequence: int = 1
    tensor: int = 1


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Values that every training run has.

    optimizer: "muon" orthogonalises the updates of the layers' kernels and scales them as AdamW's, at the same lr; all
    else takes AdamW. lr is the peak of a linear warmup and a cosine down to `final_lr` of it; weight_decay acts on
    matrices only; ema is the decay of the averaged parameters that evaluation and export use (0: no average).
    Checkpoints come each `checkpoint_every` steps or `checkpoint_minutes`. max_bad_steps non-finite steps in a row end
    the run. accumulate: so many parts of a batch are taken one after the other and their gradients averaged, where a
    batch does not fit into memory. preview_every: after so many steps a planner's or a controller's run plans or films
    the screenplay `preview` with its averaged parameters (0: never).
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
    preview: str = "examples/last_train.yaml"
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
    from low, eye level or high alike (`stage/grammar.py`).
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

    stage: "base" trains the whole network without camera and with Wan's 3D RoPE, and the text encoder, at all noise
    levels; "high" camera encoders and LoRA at sigma >= boundary; "low" LoRA below it. data, test_data: folders of
    encoded films (`launch/encode.py`). text_dropout: share of samples whose prompt is dropped, for guidance.
    max_shots: the most that a film has; its prompt gets so many windows. loss_weight: of each noise level in the loss,
    none (the paper's Eq. 5) or DiffSynth's. subject_weight: how much a latent that shows nothing but a subject counts
    in the loss, where one without counts 1 (Eq. 5: all 1); the films must say where subjects are, as the stage's do.
    preview_weights: folder of the base model that previews of an expert have at the other's noise levels; empty: the
    one that it starts from.
    """

    stage: Literal["base", "high", "low"] = "high"
    data: str = ""
    test_data: str = ""
    text_dropout: float = 0.1
    max_shots: int = 4
    loss_weight: Literal["uniform", "diffsynth"] = "uniform"
    subject_weight: float = 1.0
    preview_weights: str = ""


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
        tokens=PoseTokenConfig(poses="count", count=5, stage="world", path="shot"),
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


def gendop_text_rgbd() -> GenDoPConfig:
    """The published GenDoP that also sees the first frame and its depth."""
    return GenDoPConfig(vision=CLIPVisionConfig(), decoder=OPTConfig(max_positions=41561))


def clip_text_b32() -> CLIPTextConfig:
    """OpenAI's ViT-B/32, whose states CLaTr reads."""
    return CLIPTextConfig(hidden_size=512, num_layers=12, num_heads=8, mlp_size=2048, activation="quick_gelu")


def vae_small() -> WanVAEConfig:
    """The VAE that ships: Wan's, thinner."""
    return WanVAEConfig(
        base_size=16,
        multipliers=(1, 2, 3, 4),
        res_blocks=1,
        latent_mean=(0.0,) * 16,
        latent_std=(1.0,) * 16,
    )


VAES = {"wan2.1_vae": WanVAEConfig, "vae_small": vae_small}


def text_small() -> UMT5Config:
    """The text encoder of `controller_small`; its tokenizer is the planner's."""
    return UMT5Config(vocab_size=4096, hidden_size=128, num_layers=2, num_heads=2, head_dim=64, mlp_size=384)


TEXT_ENCODERS = {"umt5_xxl": UMT5Config, "text_small": text_small}


def controller_14b() -> ControllerConfig:
    """The paper's controller: HoloCine's two experts of Wan2.2-T2V-A14B."""
    return ControllerConfig()


def controller_small() -> ControllerConfig:
    """The controller that ships: same code, trained on the stage from scratch; 33 frames of 64 x 96 are 216 tokens.

    What Wan decides at a noise level sigma with 98,280 tokens, 216 tokens decide at a lower one, as fewer of them say
    the same (arXiv 2403.03206 §5.3.2: sigma / (1 - sigma) goes with the square root of their number). Hence shift and
    boundary: the experts' shares of the work stay about those of the large model.
    """
    return ControllerConfig(
        dit=WanDiTConfig(hidden_size=192, num_layers=6, num_heads=3, mlp_size=768, frequency_size=128, text_size=128),
        text="text_small",
        vae="vae_small",
        lora=LoraConfig(rank=64, alpha=64.0, targets=("q_proj", "k_proj", "v_proj", "o_proj", "ffn_in", "ffn_out")),
        camera_frame="stage",
        windows="clean",
        see_padding=False,
        negative="",
        boundary=0.5,
        shift=1.0,
        frames=33,
        height=64,
        width=96,
        fps=8.0,
        steps=30,
        guidance=3.0,
    )


CONTROLLERS = {"controller_14b": controller_14b, "controller_small": controller_small}


def from_dict(cls, values: dict):
    """Nested plain values (JSON, ConfigDict) → frozen dataclass; lists become tuples.

    Raises:
        ValueError: unknown fields, or a value that is none of a field's choices.
    """
    fields = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}; its fields are {', '.join(fields)}")
    for name, value in values.items():
        choices = typing.get_args(fields[name])
        if typing.get_origin(fields[name]) is Literal and value not in choices:
            raise ValueError(f"{name} of {cls.__name__} is {' or '.join(map(repr, choices))}, got {value!r}")
    return cls(**{name: _value(fields[name], value) for name, value in values.items()})


def _value(kind, value):
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    nested = next((option for option in options if dataclasses.is_dataclass(option)), None)
    if nested is not None and value is not None:
        return from_dict(nested, value)
    return tuple(value) if isinstance(value, (list, tuple)) else value
