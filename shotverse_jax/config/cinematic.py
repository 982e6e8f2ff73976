"""CameraCLIP: a CLIP that scores how well a clip shows a class of cinematic language, and its training."""

import dataclasses
from typing import Literal

from shotverse_jax.config.gendop import CLIPTextConfig, CLIPVisionConfig, clip_text_b32
from shotverse_jax.config.ranges import (
    Checked,
    Count,
    Share,
    Side,
    Size,
    SizeOrDefault,
    Steps,
    Weight,
    Workers,
)
from shotverse_jax.config.training import TrainConfig


def clip_vision_b32() -> CLIPVisionConfig:
    """The vision tower of OpenAI's ViT-B/32."""
    return CLIPVisionConfig(
        hidden_size=768, num_layers=12, num_heads=12, mlp_size=3072, patch_size=32, activation="quick_gelu"
    )


@dataclasses.dataclass(frozen=True)
class CameraCLIPConfig(Checked):
    """Both towers of a CLIP in one joint space, and how the frames of a clip become one vector there.

    text, vision: the towers; the defaults are OpenAI's ViT-B/32.
    joint_size: numbers of a vector in the joint space.
    frames: frames of a clip that are read, spread evenly over it.
    temporal: "mean" takes the mean over the frames, as the paper does. It cannot tell a clip from the same clip played
        backwards. "code" adds to it what changes from frame to frame (`models/camera_clip.py`).
    code_size: of "code", numbers of the state of two neighbouring frames.
    layout_size: of "code", numbers that are kept of every patch.
    fit: how a picture becomes the square that the vision tower reads: "crop" cuts its sides off, as CLIP does;
        "stretch" keeps all of it.

    Raises:
        ValueError: a temporal code of one frame.
    """

    text: CLIPTextConfig = dataclasses.field(default_factory=clip_text_b32)
    vision: CLIPVisionConfig = dataclasses.field(default_factory=clip_vision_b32)
    joint_size: Size = 512
    frames: Count = 8
    temporal: Literal["mean", "code"] = "code"
    code_size: Size = 512
    layout_size: Size = 8
    fit: Literal["crop", "stretch"] = "crop"

    def __post_init__(self):
        super().__post_init__()
        if self.temporal == "code" and self.frames < 2:
            raise ValueError('temporal="code" reads what changes between frames, so frames must be 2 or more')


def clip_small() -> CameraCLIPConfig:
    """The CameraCLIP for clips of the stage, trained from random weights; 1.6 M parameters."""
    return CameraCLIPConfig(
        text=CLIPTextConfig(
            vocab_size=1024, hidden_size=128, num_layers=2, num_heads=4, mlp_size=384, max_positions=40
        ),
        vision=CLIPVisionConfig(
            hidden_size=128, num_layers=4, num_heads=4, mlp_size=384, patch_size=8, image_size=64, activation="gelu"
        ),
        joint_size=128,
        code_size=256,
        fit="stretch",
    )


@dataclasses.dataclass(frozen=True)
class CameraCLIPTrainConfig(TrainConfig):
    """A run of CameraCLIP ("Can video generation replace cinematographers?", arXiv 2412.12223).

    Attributes:
        task: its row in `train/tasks/`.
        model: the network.
        base_weights: a CLIP or CameraCLIP to begin with, by folder or name; a temporal code that it has not is added.
            "" begins with random weights and learns a text tokenizer from the captions.
        trained: "last" trains `image_layers` and `text_layers`, the final norms, both projections, the temporal code
            and the temperature, as the paper does; "all" trains the whole network.
        image_layers, text_layers: of "last", how many of the towers' last blocks learn.
        data: folder of Cinematic2K's form (docs/cinematic.md), of which the split "train" is trained on and "val" is
            held out; "" renders clips of the stage as they are needed.
        targets: of a folder, which texts of a batch are right for a clip: those equal to its "caption", or those of
            clips of its "class". Of the stage it is known of every text whether it is true of a clip.
        phrases: share of the texts that are a phrase of the class alone, as scores of a class use them.
        height, width: size of the clips in pixels, rendered or read.
        text_length: tokens that texts are cut or padded to; 0 takes all positions of the tower.
        bpe_examples: number of clips of the stage whose captions the text tokenizer is learned from.
        temperature: what the cosines are divided by at the beginning; it learns. 0 keeps that of `base_weights`.
        blur, noise, tint: how much frames are worn in training, so that made films are read too; as those of
            `PoseNetTrainConfig`.
        view_weight: weight of the view probe, which reads what the camera does between two frames from the temporal
            code (`train/view_probe.py`); for clips of the stage. 0 trains without it.

    Raises:
        ValueError: values that do not go together.
    """

    task: Literal["camera_clip"] = "camera_clip"
    model: CameraCLIPConfig = CameraCLIPConfig()
    base_weights: str = ""
    trained: Literal["all", "last"] = "all"
    image_layers: Count = 4
    text_layers: Count = 2
    data: str = ""
    targets: Literal["caption", "class"] = "caption"
    phrases: Share = 0.25
    height: Side = 64
    width: Side = 96
    text_length: SizeOrDefault = 0
    bpe_examples: Steps = 2000
    temperature: Weight = 0.07
    blur: Workers = 0
    noise: Weight = 0.0
    tint: Weight = 0.0
    view_weight: Weight = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.accumulate > 1:
            raise ValueError(
                "accumulate must be 1 in a run of camera_clip: its contrastive loss compares all samples of a batch, "
                f"and in {self.accumulate} parts each would be compared with those of its own part alone"
            )
        if not self.base_weights and (self.trained == "last" or not self.temperature):
            raise ValueError('trained="last" and temperature=0 keep parts of a network, so base_weights must name one')
        for tower, count in ((self.model.vision, self.image_layers), (self.model.text, self.text_layers)):
            if self.trained == "last" and count > tower.num_layers:
                raise ValueError(f"{count} layers cannot be trained of a tower that has {tower.num_layers}")
        if self.view_weight and (self.data or self.model.temporal != "code"):
            raise ValueError('view_weight needs the stage\'s own cameras and temporal="code"')
