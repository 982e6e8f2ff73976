"""How networks run and are adapted: kernels, precision, the mesh of devices, low-rank adapters."""

import dataclasses
from typing import Any, Literal


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
class LoraConfig:
    """Low-rank adapters: y = x W + (alpha / rank) dropout(x) A B on every linear whose name is in `targets`."""

    rank: int
    alpha: float
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
