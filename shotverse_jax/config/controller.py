"""The controller: the text encoder, the video autoencoder, the video transformer, and named presets."""

import dataclasses
from typing import Literal

from shotverse_jax.config.execution import LoraConfig
from shotverse_jax.config.ranges import (
    Checked,
    Count,
    CountOrNone,
    Decay,
    DenoisingSteps,
    Epsilon,
    Frames,
    Guidance,
    Number,
    Rate,
    Scale,
    Share,
    Side,
    Size,
    Weight,
)

# What guidance steers away from, the default of Wan2.2 (wan/configs/shared_config.py) and HoloCine.
NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，"
    "手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)


@dataclasses.dataclass(frozen=True)
class UMT5Config(Checked):
    """UMT5's encoder: relative positions with a table in every layer, gated GELU, RMSNorm, no biases; UMT5-XXL."""

    vocab_size: Size = 256384
    hidden_size: Size = 4096
    num_layers: Count = 24
    num_heads: Count = 64
    head_dim: Size = 64
    mlp_size: Size = 10240
    buckets: Size = 32
    max_distance: Size = 128
    rms_norm_eps: Epsilon = 1e-6


@dataclasses.dataclass(frozen=True)
class WanVAEConfig(Checked):
    """Wan2.1's causal video VAE: a latent stands for 8 x 8 pixels of 4 frames, the first latent for 1 frame.

    latent_channels: channels of a latent.
    base_size, multipliers: the channels at each resolution are base_size times its multiplier.
    res_blocks: residual blocks at each resolution of the encoder; the decoder has one more.
    temporal: whether each halving of the picture halves time too.
    latent_mean, latent_std: latents are normalised per channel, (mu - latent_mean) / latent_std.
    """

    latent_channels: Size = 16
    base_size: Size = 96
    multipliers: tuple[Size, ...] = (1, 2, 4, 4)
    res_blocks: CountOrNone = 2
    temporal: tuple[bool, ...] = (False, True, True)
    latent_mean: tuple[Number, ...] = (
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
    )  # fmt: skip
    latent_std: tuple[Scale, ...] = (
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
    )  # fmt: skip

    def __post_init__(self):
        super().__post_init__()
        if len(self.temporal) != len(self.multipliers) - 1:
            raise ValueError(
                f"WanVAEConfig: {len(self.multipliers)} multipliers need {len(self.multipliers) - 1} values of "
                f"temporal, one per halving of the resolution, got {len(self.temporal)}"
            )
        for name in ("latent_mean", "latent_std"):
            if len(getattr(self, name)) != self.latent_channels:
                raise ValueError(
                    f"WanVAEConfig: {name} needs one value per latent channel ({self.latent_channels}), "
                    f"got {len(getattr(self, name))}"
                )


@dataclasses.dataclass(frozen=True)
class WanDiTConfig(Checked):
    """One expert of Wan2.2-T2V-A14B's video transformer, with the additions of HoloCine and ShotVerse as values.

    frequency_size: the width of the sinusoidal features of the timestep.
    text_size: the width of the text encoder's states.
    patch: latent frames, rows and columns of one token.
    rope: "wan3d" is Wan's table over (frame, height, width); "shotverse4d" is ShotVerse's over (shot, frame, height,
        width).
    camera: every block has a camera encoder (`models/camera_encoder.py`).
    self_attention: "full", every token attends to every token; "sparse" is HoloCine's inter-shot attention, in which a
        token attends to its own shot and to the first latent frame of every shot.
    rounding: "float32" computes the time embedding, the modulation and the residual gates in float32 (Wan's own code);
        "holocine" computes them in the dtype of the activations, with the timestep in bfloat16 (HoloCine's code).
    """

    hidden_size: Size = 5120
    num_layers: Count = 40
    num_heads: Count = 40
    mlp_size: Size = 13824
    frequency_size: Size = 256
    text_size: Size = 4096
    latent_channels: Size = 16
    patch: tuple[Count, Count, Count] = (1, 2, 2)
    eps: Epsilon = 1e-6
    rope: Literal["wan3d", "shotverse4d"] = "shotverse4d"
    rope_theta: Scale = 10000.0
    camera: bool = True
    self_attention: Literal["full", "sparse"] = "full"
    rounding: Literal["float32", "holocine"] = "float32"

    def __post_init__(self):
        super().__post_init__()
        self._check_divides("num_heads", "hidden_size")

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads


@dataclasses.dataclass(frozen=True)
class ControllerConfig(Checked):
    """ShotVerse's controller: two experts of one architecture, a text encoder and a VAE (paper §3.2, §5.1).

    dit: the architecture of the experts.
    text, vae: folders of the text encoder and of the video autoencoder, or the names of shipped ones.
    lora: the adapters that training adds to each frozen expert; None has no adapters (an export, which merged them).
    camera: which experts have camera encoders: "high", the expert of noise levels sigma >= boundary (the paper),
        "both", or "none" (Table 7).
    camera_frame: the world in which the camera encoder reads poses. "scene" is the paper's: the first camera is the
        origin and the largest distance from it is the unit. "stage" is the frame of the stage in metres, in which a
        pose itself says what is in view.
    windows: the text that the tokens of a shot attend to. "clean": the global caption and the caption of the shot;
        "holocine": in addition HoloCine's one token after each of them; "none": all of the text.
    see_padding: video tokens attend to the padding of the text too, as Wan's do.
    negative: the prompt that guidance steers away from.
    boundary: the noise level sigma from which the expert "high" works; below it "low" does.
    shift: the shift of the noise schedule, sigma' = shift sigma / (1 + (shift - 1) sigma).
    shared_noise: the share of the noise that all frames of a film have in common (`flow.noise.film_noise`).
    text_length: tokens of a prompt, padding included.
    frames, height, width, fps: the size of the films that it was trained on, and the default of the films that it
        makes.
    steps, guidance: the default number of denoising steps, and the default strength of text guidance (1 is none).
    velocity_change: how much the velocity changes at each step of a run of that many steps since the step before, as a
        share of its size; measured (`infer.denoise.measure_change`), and () where it was not. Steps are skipped by it.
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
    boundary: Share = 0.875
    shift: Scale = 5.0
    shared_noise: Decay = 0.0
    text_length: Size = 512
    frames: Frames = 249
    height: Side = 480
    width: Side = 832
    fps: Rate = 16.0
    steps: DenoisingSteps = 50
    guidance: Guidance = 5.0
    velocity_change: tuple[Weight, ...] = ()

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


def vae_small() -> WanVAEConfig:
    """The VAE that ships: Wan's with fewer channels."""
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
    """The controller that ships, trained on the stage from scratch; 33 frames of 64 x 96 are 216 tokens.

    A film of few tokens is decided at lower noise levels than one of many, because fewer tokens carry the same
    information (arXiv 2403.03206 §5.3.2: sigma / (1 - sigma) grows with the square root of their number). Wan has
    98,280 tokens. `shift` and `boundary` are lower here for that reason; each expert then has about the same share of
    the work as in the large model.
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
