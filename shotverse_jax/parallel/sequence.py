"""Where activations are on a mesh, and attention over split tokens: DeepSpeed-Ulysses' exchange (arXiv 2309.14509).

Between attentions a device of the mesh axis `sequence` has some of the tokens, with all their channels. Attention needs
all tokens, but treats every head by itself. So the devices exchange (all-to-all): each gives away its tokens' other
heads and receives the other tokens' of its own heads; the result is exchanged back. Within attention, masks and shots
included, a device thus runs the program of a single device, and the gradient is exact.

Axes: X tokens of the video, S tokens that are never split (the text), N heads, H head width, D width.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from shotverse_jax.config import Execution
from shotverse_jax.nn.attention import KERNELS
from shotverse_jax.parallel.mesh import BATCH

Arrays = tuple[jax.Array, ...]


@dataclasses.dataclass(frozen=True)
class Ulysses:
    """Places a transformer's activations on a mesh; the value of `Execution.spread`.

    mesh: one of `make_mesh`.
    by_hand: attention runs device by device (`jax.shard_map`) also where no tokens are exchanged. Kernels that the
        compiler cannot split over devices need it (`partitioned` in `nn.attention.KERNELS`).
    """

    mesh: Mesh
    by_hand: bool = False

    def samples(self, x_B: jax.Array) -> jax.Array:
        """The same array, its samples split over data and fsdp; the other axes stay as they are.

        Without this constraint the compiler may split states the way that parameters are split, and then gather states
        instead of parameters at every layer.
        """
        rest = (P.UNCONSTRAINED,) * (x_B.ndim - 1)
        return jax.lax.with_sharding_constraint(x_B, NamedSharding(self.mesh, P(self._batch(x_B), *rest)))

    def tokens(self, x_BXD: jax.Array) -> jax.Array:
        """The same array, its samples split over data and fsdp and its tokens over sequence.

        Raises:
            ValueError: the number of tokens is no multiple of the devices along sequence.
        """
        self._check("tokens", x_BXD.shape[1], "sequence")
        place = NamedSharding(self.mesh, P(self._batch(x_BXD), "sequence"))
        return jax.lax.with_sharding_constraint(x_BXD, place)

    def mix(
        self,
        mixer: Callable[..., jax.Array],
        split_BXNH: Arrays,
        whole_BSNH: Arrays = (),
        masks_B: Arrays = (),
        *,
        exchange: bool = True,
    ) -> jax.Array:
        """mixer(*split, *whole, *masks) [B, X, N, H], run on every device for its own samples and heads.

        Args:
            mixer: attention, with whatever is done to its inputs.
            split_BXNH: arrays whose tokens are split over sequence.
            whole_BSNH: arrays of which every device has all tokens.
            masks_B: masks of the device's samples. [B, X, ...] without exchange, any shape [B, ...] with it.
            exchange: True: the mixer sees all tokens of the device's heads. False: it sees all heads (of the tensor
                axis) of the device's own tokens, which is enough where queries need no other queries' tokens.

        Raises:
            ValueError: heads or tokens that do not divide over the mesh.
        """
        if self.mesh.shape["sequence"] == 1 and not self.by_hand:
            return mixer(*split_BXNH, *whole_BSNH, *masks_B)  # the compiler splits it by samples and heads
        tokens, heads = split_BXNH[0].shape[1:3]
        self._check("tokens", tokens, "sequence")
        self._check("heads", heads, *(("tensor", "sequence") if exchange else ("tensor",)))
        exchange = exchange and self.mesh.shape["sequence"] > 1

        def local(*arrays):
            split, rest = arrays[: len(split_BXNH)], arrays[len(split_BXNH) :]
            if not exchange:
                return mixer(*split, *rest)
            # [B, X / n, N, H] -> [B, X, N / n, H]: heads are cut into n parts, tokens come together; then the reverse.
            split = (jax.lax.all_to_all(x, "sequence", split_axis=2, concat_axis=1, tiled=True) for x in split)
            return jax.lax.all_to_all(mixer(*split, *rest), "sequence", split_axis=1, concat_axis=2, tiled=True)

        # What every device has whole enters by the heads that the device will mix: after the exchange its share of
        # the tensor axis is cut once more, in the order in which all_to_all cuts.
        batch = self._batch(split_BXNH[0])
        split = P(batch, "sequence", "tensor")
        whole = P(batch, None, ("tensor", "sequence") if exchange else "tensor")
        masks = P(batch, None if exchange else "sequence")
        specs = (split,) * len(split_BXNH) + (whole,) * len(whole_BSNH) + (masks,) * len(masks_B)
        run = jax.shard_map(local, mesh=self.mesh, in_specs=specs, out_specs=split, check_vma=False)
        return run(*split_BXNH, *whole_BSNH, *masks_B)

    def own_queries(
        self, mixer: Callable[..., jax.Array], q_BXNH: jax.Array, whole_BSNH: Arrays, rest_B: Arrays = ()
    ) -> jax.Array:
        """mixer(q, *whole, *rest) [B, X, N, H], run on every device for its share of the queries and for its heads.

        The queries are split over data and fsdp, that is over the devices that samples are split over elsewhere, and
        every device gathers all keys and values: for few samples of many tokens, such as one scene of many frames.
        Queries that do not divide over these devices are computed by all of them.

        Raises:
            ValueError: heads that do not divide over the mesh.
        """
        self._check("heads", q_BXNH.shape[2], "tensor")
        parts = math.prod(self.mesh.shape[axis] for axis in BATCH)
        split = P(None, None if q_BXNH.shape[1] % parts else BATCH, "tensor")
        specs = (split, *[P(None, None, "tensor")] * len(whole_BSNH), *[P()] * len(rest_B))
        run = jax.shard_map(mixer, mesh=self.mesh, in_specs=specs, out_specs=split, check_vma=False)
        return run(q_BXNH, *whole_BSNH, *rest_B)

    def _batch(self, x_B: jax.Array) -> tuple[str, ...] | None:
        """The mesh axes that samples are split over; None, all samples on every device, where they do not divide."""
        return None if len(x_B) % math.prod(self.mesh.shape[axis] for axis in BATCH) else BATCH

    def _check(self, what: str, count: int, *axes: str) -> None:
        if count % math.prod(self.mesh.shape[axis] for axis in axes):
            shown = " x ".join(f"{axis}={self.mesh.shape[axis]}" for axis in axes)
            raise ValueError(f"{count} {what} do not divide over {shown} devices; choose a mesh that divides them")


def spread(execution: Execution, mesh: Mesh) -> Execution:
    """The execution of a network on `mesh`.

    It is unchanged on one device, and where samples alone are split and the compiler can split the attention kernel.
    """
    by_hand = not KERNELS[execution.attention].partitioned
    if mesh.size == 1 or (mesh.shape["data"] == mesh.size and not by_hand):
        return execution
    return dataclasses.replace(execution, spread=Ulysses(mesh, by_hand))
