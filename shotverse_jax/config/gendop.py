"""GenDoP and CLaTr: CLIP's towers, the published planner of single shots, and its evaluator."""

import dataclasses
from typing import Annotated, Literal

from shotverse_jax.config.planner import OPTConfig
from shotverse_jax.config.ranges import Checked, Count, Decay, Epsilon, Number, Range, Scale, Side, Size

CLATR_FRAMES = 120
"""Frames of a trajectory that CLaTr reads (DataDoP's shot length)."""


@dataclasses.dataclass(frozen=True)
class CLIPTextConfig(Checked):
    """CLIP's text tower: pre-norm, causal, learned positions; the defaults are Stable Diffusion 2.1's (GenDoP).

    activation: "gelu" is the exact GELU; "quick_gelu" is x sigmoid(1.702 x), which OpenAI's own towers have.
    """

    vocab_size: Size = 49408
    hidden_size: Size = 1024
    num_layers: Count = 23
    num_heads: Count = 16
    mlp_size: Size = 4096
    max_positions: Size = 77
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    layer_norm_eps: Epsilon = 1e-5

    def __post_init__(self):
        super().__post_init__()
        self._check_divides("num_heads", "hidden_size")


@dataclasses.dataclass(frozen=True)
class CLIPVisionConfig(Checked):
    """CLIP's vision tower: pre-norm, a class token before the patches, learned positions; LAION's ViT-H/14."""

    hidden_size: Size = 1280
    num_layers: Count = 32
    num_heads: Count = 16
    mlp_size: Size = 5120
    patch_size: Size = 14
    image_size: Side = 224
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    layer_norm_eps: Epsilon = 1e-5

    def __post_init__(self):
        super().__post_init__()
        self._check_divides("num_heads", "hidden_size")

    @property
    def places(self) -> int:
        """The class token and the patches."""
        return 1 + (self.image_size // self.patch_size) ** 2


MODES = {
    "text": ("text",),
    "image": ("image",),
    "image+text": ("text", "image"),
    "image+depth": ("image", "depth"),
    "depth+image+text": ("text", "image", "depth"),
}
"""GenDoP's names of what a network is conditioned on (`--cond_mode`) → the conditions, in the order of the prefix."""


Height = Annotated[float, Range(0, 100)]


@dataclasses.dataclass(frozen=True)
class GenDoPTokenConfig(Checked):
    """The form in which a shot becomes GenDoP's tokens (`camera/tokens/gendop.py`); the defaults are GenDoP's own.

    world: the frame of the poses. "first_frame" is the first camera, and the longest translation is 1. "origin_global"
        is VERTIGO's: the origin is the subject, y is up, and translations are those from the first camera's position.
    anchor: where the position of the first camera is in the world of "origin_global". "none": nowhere, so that a
        decoded path does not know where its subject is. "head": a layer on the conditions predicts it (VERTIGO).
        "tokens": three more tokens before the first pose, so that the probability of a sequence covers it.
    bins: where a bin is read back, at its lower "edge" (GenDoP and VERTIGO) or at its "centre".
    translation_mean, translation_scale: with "origin_global", which value of each axis x, y, z becomes 0, and how far
        from it the last one is that is not clipped. `shotverse datadop statistics` computes them of a data set.
    anchor_mean, anchor_scale: the same of the first camera's position.
    origin_height: height of the origin above the stage's floor, in its units: by default 1 metre, the waist of a grown
        person. It is above the origin of `Trajectory.stage_34`, where the main subject stands when the film begins.
    without_stage: what a trajectory without a stage is for "origin_global". "refused": an error. "subject": its world
        is taken to have the subject at its origin and y up, as the files that VERTIGO reads.

    Raises:
        ValueError: an anchor in the world of the first camera, where it would always be 0.
    """

    world: Literal["first_frame", "origin_global"] = "first_frame"
    anchor: Literal["none", "head", "tokens"] = "none"
    bins: Literal["edge", "centre"] = "edge"
    translation_mean: tuple[Number, Number, Number] = (0.0, 0.0, 0.0)
    translation_scale: tuple[Scale, Scale, Scale] = (1.0, 1.0, 1.0)
    anchor_mean: tuple[Number, Number, Number] = (0.0, 0.0, 0.0)
    anchor_scale: tuple[Scale, Scale, Scale] = (1.0, 1.0, 1.0)
    origin_height: Height = 1.0
    without_stage: Literal["refused", "subject"] = "refused"

    def __post_init__(self):
        super().__post_init__()
        if self.world == "first_frame" and self.anchor != "none":
            raise ValueError(
                "an anchor is the first camera's position around the subject; it needs the world 'origin_global'"
            )


@dataclasses.dataclass(frozen=True)
class GenDoPConfig(Checked):
    """GenDoP: a pose decoder whose prefix is the states of a caption, of a picture and of its depth map.

    text: the text tower; None for a network that reads no captions.
    vision: the vision tower of pictures; None for a network that sees none.
    decoder: the pose decoder. The published networks have a table of 41,047 positions, with all conditions of 41,561.
    depth: whether a network that sees a picture also sees its depth map, by a tower of its own; default true.
    tokens: the form of its tokens; the published networks have the default.

    Raises:
        ValueError: it has no tower.
    """

    text: CLIPTextConfig | None = CLIPTextConfig()
    vision: CLIPVisionConfig | None = None
    decoder: OPTConfig = OPTConfig(max_positions=41047)
    depth: bool = True
    tokens: GenDoPTokenConfig = GenDoPTokenConfig()

    def __post_init__(self):
        super().__post_init__()
        if self.text is None and self.vision is None:
            raise ValueError("a GenDoP has a tower for captions or one for pictures, or both")

    @property
    def conditions(self) -> tuple[str, ...]:
        """What it is conditioned on: of "text", "image" and "depth" those that it reads, in the prefix's order."""
        pictures = ("image", "depth") if self.depth else ("image",)
        return (("text",) if self.text else ()) + (pictures if self.vision else ())

    @property
    def mode(self) -> str:
        """Its conditions as GenDoP calls them, a key of `MODES`."""
        return next(mode for mode, conditions in MODES.items() if conditions == self.conditions)


@dataclasses.dataclass(frozen=True)
class CLaTrConfig(Checked):
    """CLaTr, the network behind GenDoP's scores: encoders of trajectories and texts into one space, a decoder.

    feature_size: numbers per item of a trajectory, 9 for each of the frames that an item holds: the published network
        reads every frame as an item of its own.
    text_size: the width of the text tower's states (OpenAI's ViT-B/32).
    step_scale: factor of the steps between frames before the network reads them; 1 in the published network, whose
        steps are therefore far smaller than its rotations.
    dropout: probability that a number is dropped in training.
    """

    hidden_size: Size = 256
    num_layers: Count = 6
    num_heads: Count = 4
    mlp_size: Size = 1024
    feature_size: Size = 9
    text_size: Size = 512
    step_scale: Scale = 1.0
    dropout: Decay = 0.1

    def __post_init__(self):
        super().__post_init__()
        self._check_divides("num_heads", "hidden_size")
        if self.feature_size % 9 or CLATR_FRAMES % self.frames_per_item:
            raise ValueError(
                f"an item of a trajectory holds 9 numbers for each of some frames, and {CLATR_FRAMES} frames are whole "
                f"items; got feature_size={self.feature_size}"
            )

    @property
    def frames_per_item(self) -> int:
        """Frames of a trajectory that one item holds."""
        return max(1, self.feature_size // 9)


def gendop_of(mode: str) -> GenDoPConfig:
    """GenDoP in its published size for a mode; those of "text" and "depth+image+text" were published.

    The table of positions is as long as the original makes it: 40,960 for poses, 10 to spare, and the prefix.

    Raises:
        ValueError: the mode is no key of `MODES`.
    """
    if mode not in MODES:
        raise ValueError(f"GenDoP's modes are {', '.join(MODES)}; got {mode!r}")
    text, vision, conditions = CLIPTextConfig(), CLIPVisionConfig(), MODES[mode]
    places = sum(text.max_positions if condition == "text" else vision.places for condition in conditions)
    return GenDoPConfig(
        text if "text" in conditions else None,
        vision if "image" in conditions else None,
        OPTConfig(max_positions=40970 + places),
        depth="depth" in conditions or "image" not in conditions,
    )


def vertigo_tokens() -> GenDoPTokenConfig:
    """The tokens of VERTIGO's base generator, with the statistics of its launcher (33,000 shots of LenScript)."""
    return GenDoPTokenConfig(
        world="origin_global",
        anchor="head",
        translation_mean=(0.0008104850254545796, -0.007684390541918893, -0.07576538240686936),
        translation_scale=(2.354125261025455, 0.9527430714580813, 2.816293688241268),
        anchor_mean=(0.012779172054545453, -0.016163940687878634, -0.07471872632121161),
        anchor_scale=(5.1405228406134365, 1.5854810593121214, 5.313145813205207),
        without_stage="subject",
    )


def clip_text_b32() -> CLIPTextConfig:
    """The text tower of OpenAI's ViT-B/32, whose states CLaTr reads."""
    return CLIPTextConfig(hidden_size=512, num_layers=12, num_heads=8, mlp_size=2048, activation="quick_gelu")


def clatr_small() -> CLaTrConfig:
    """The CLaTr that ships, trained on shots of the stage: eight frames an item, steps in units per second."""
    return CLaTrConfig(
        hidden_size=128, num_layers=3, mlp_size=384, feature_size=72, text_size=128, step_scale=30.0, dropout=0.0
    )


def clip_text_small() -> CLIPTextConfig:
    """The text tower of the CLaTr that ships, trained with it."""
    return CLIPTextConfig(vocab_size=2048, hidden_size=128, num_layers=1, num_heads=4, mlp_size=384, max_positions=64)
