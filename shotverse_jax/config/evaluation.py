"""Networks that look at films to score them."""

import dataclasses

from shotverse_jax.config.ranges import Checked, Count, Scale, Side, Size


@dataclasses.dataclass(frozen=True)
class PoseNetConfig(Checked):
    """The network that estimates the pose of a camera on the stage from one frame: a residual CNN.

    height, width: of the frames that it was trained on, in pixels; other sizes of the same proportions are resized.
    patch: the first layer turns patch x patch pixels into one position.
    channels: the channels at each resolution; each resolution is half of the one before.
    blocks: residual blocks at each resolution.
    squeeze: the last resolution is reduced to this many channels and flattened, so that the place of a feature counts.
    hidden_size: the width of the one hidden layer after that.
    unit: metres per unit of its output for the position.
    """

    height: Side = 64
    width: Side = 96
    patch: Count = 4
    channels: tuple[Size, ...] = (32, 64, 128)
    blocks: Count = 2
    squeeze: Size = 48
    hidden_size: Size = 256
    unit: Scale = 4.0


@dataclasses.dataclass(frozen=True)
class TransNetV2Config(Checked):
    """TransNetV2: the network that finds shot boundaries. The defaults are those of the published network.

    filters: the channels of a dilated convolution in the first stack; twice as many in each following one.
    stacks: the stacks of blocks; each halves the size of the frames.
    blocks: the blocks of a stack.
    hidden_size: the width of the hidden layer before the two heads.
    features: the width of each of the two tables of similarities, and of the features that are compared.
    neighbours: the frames, itself in the middle, that each frame is compared with; odd.
    """

    filters: Size = 16
    stacks: Count = 3
    blocks: Count = 2
    hidden_size: Size = 1024
    features: Size = 128
    neighbours: Size = 101
