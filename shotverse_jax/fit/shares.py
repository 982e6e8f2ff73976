"""The shares of a device's peak and bandwidth that inference is predicted with, and where they come from."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Shares:
    """What inference reaches of a device's data sheet.

    Attributes:
        film: of the peak, in the video transformer and the text encoder.
        decode: of the peak, in the video autoencoder's decoder.
        text: of the peak, in the planner's language model.
        tokens: of the bandwidth, where the planner writes pose tokens.
        source: where the numbers come from, for people.
    """

    film: float
    decode: float
    text: float
    tokens: float
    source: str


# Of benchmarks/records/nvidia_h200.json, over the data sheet's peak and bandwidth: `film` is the forward pass of 98,280
# tokens (584 of 989 TFLOP/s), `decode` the VAE's in bfloat16 (285), `text` the planner's training step (274), for want
# of its forward pass alone. `tokens` is then what is left of 64 rows of 401 tokens (517 ms) for the decoder.
_HOPPER = 0.59, 0.288, 0.277, 0.42
MEASURED = {
    "h200": Shares(*_HOPPER, "measured on an H200, docs/gpu.md"),
    "h100": Shares(*_HOPPER, "measured on an H200, whose peak is that of an H100, docs/gpu.md"),
}
HOST = 25.0
"""GB a second from the memory of the host to a device: an assumption, half of what PCIe 5 promises."""

ASSUMED = Shares(0.4, 0.2, 0.2, 0.3, "assumed: nothing was measured on this device; --mfu gives another")


def shares(device: str, film: float | None = None) -> Shares:
    """The shares for a device by its name in `cost.accelerators`.

    film: takes the place of the share that films are predicted with; None keeps it.

    Raises:
        ValueError: a share outside 0 to 1.
    """
    if film is not None and not 0 < film <= 1:
        raise ValueError(f"a share of the peak is above 0 and at most 1, got {film:g}")
    found = MEASURED.get(device, ASSUMED)
    return found if film is None else dataclasses.replace(found, film=film, text=film, source="given by --mfu")
