"""How networks run and are adapted: kernels, precision, the mesh of devices, low-rank adapters."""

import dataclasses
from typing import Any, Literal

from shotverse_jax.config.ranges import Checked, Decay, Devices, Number, Size


@dataclasses.dataclass(frozen=True)
class Execution(Checked):
    """How a network runs: this changes speed and memory, not what is computed. A network is built with it.

    attention: the kernel, a row of the table in `nn/attention.py`.
    remat: what the backward pass computes again in each block of a stack: nothing ("none"), everything ("full"), or
        everything but the results that the attention kernel keeps for its own gradient ("save_attention").
    dtype: of activations and matrix products. Parameters keep the dtype that they were loaded with.
    unroll: runs a stack of blocks as a Python loop instead of a scan. It is faster for forward passes on a CPU; deep
        stacks that are trained should be scanned, because an unrolled one takes long to compile.
    spread: the layout of activations on a mesh (`parallel.sequence.spread` makes it). None leaves it to the compiler.
    """

    attention: Literal["xla", "cudnn", "splash"] = "xla"
    remat: Literal["none", "full", "save_attention"] = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"
    unroll: bool = False
    spread: Any = None


@dataclasses.dataclass(frozen=True)
class MeshConfig(Checked):
    """The number of devices along each axis of the mesh (`parallel/mesh.py`); one axis may be -1, the rest.

    data: splits the batch; parameters are copied.
    fsdp: splits the batch and the parameters.
    sequence: splits the tokens of the video transformer (exchanged for heads around attention).
    tensor: splits heads and hidden layers.
    """

    data: Devices = -1
    fsdp: Devices = 1
    sequence: Devices = 1
    tensor: Devices = 1


@dataclasses.dataclass(frozen=True)
class LoraConfig(Checked):
    """Low-rank adapters: y = x W + (alpha / rank) dropout(x) A B on the linear layers named in `targets`.

    rank: the width of A B.
    alpha: the scale of the adapter is alpha / rank.
    dropout: the share of inputs that training drops before A.
    targets: names of linear layers in our parameter tree.
    """

    rank: Size
    alpha: Number
    dropout: Decay = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
