"""Networks that look at films to score them."""

import dataclasses


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
