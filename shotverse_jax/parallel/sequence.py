"""How activations lie on a mesh, and attention over split tokens: DeepSpeed-Ulysses' exchange (arXiv 2309.14509).

Between attentions every device has some tokens and all of their channels. For attention the devices of the axis
`sequence` exchange them (all-to-all), so that each has all tokens of some heads; the result is exchanged back. What
happens between, masks and shots included, is the program of one device, and its gradient is exact.
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
    """How the activations of a transformer lie on `mesh`; the value of `Execution.spread`.

    by_hand: attention runs device by device also where no tokens are exchanged, for kernels that the compiler cannot
    split.
    """

    mesh: Mesh
    by_hand: bool = False

    def samples(self, x_B: jax.Array) -> jax.Array:
        """Samples over data and fsdp, the rest as it is. Where nobody says so, the compiler may split states the way
        parameters are and gather them, instead of the parameters, at every layer."""
        rest = (P.UNCONSTRAINED,) * (x_B.ndim - 1)
        return jax.lax.with_sharding_constraint(x_B, NamedSharding(self.mesh, P(self._batch(x_B), *rest)))

    def tokens(self, x_BND: jax.Array) -> jax.Array:
        """Samples over data and fsdp, tokens over sequence.

        Raises:
            ValueError: tokens that do not divide over it.
        """
        self._check("tokens", x_BND.shape[1], "sequence")
        place = NamedSharding(self.mesh, P(self._batch(x_BND), "sequence"))
        return jax.lax.with_sharding_constraint(x_BND, place)

    def mix(
        self,
        mixer: Callable[..., jax.Array],
        split_BNAH: Arrays,
        whole_BSAH: Arrays = (),
        masks_B: Arrays = (),
        *,
        exchange: bool = True,
    ) -> jax.Array:
        """mixer(*split, *whole, *masks) [B, N, heads, H], run on every device for its samples and heads.

        split_BNAH: arrays with tokens over sequence. whole_BSAH: arrays whose tokens every device has. exchange: the
        mixer sees all tokens, of the device's heads; without it, the device's own tokens, and masks are [B, N, ...].

        Raises:
            ValueError: heads or tokens that do not divide over the mesh.
        """
        if self.mesh.shape["sequence"] == 1 and not self.by_hand:
            return mixer(*split_BNAH, *whole_BSAH, *masks_B)
        tokens, heads = split_BNAH[0].shape[1:3]
        self._check("tokens", tokens, "sequence")
        self._check("heads", heads, *(("tensor", "sequence") if exchange else ("tensor",)))
        exchange = exchange and self.mesh.shape["sequence"] > 1

        def local(*arrays):
            split, rest = arrays[: len(split_BNAH)], arrays[len(split_BNAH) :]
            if not exchange:
                return mixer(*split, *rest)
            split = (jax.lax.all_to_all(x, "sequence", split_axis=2, concat_axis=1, tiled=True) for x in split)
            return jax.lax.all_to_all(mixer(*split, *rest), "sequence", split_axis=1, concat_axis=2, tiled=True)

        batch = self._batch(split_BNAH[0])
        split = P(batch, "sequence", "tensor")
        whole = P(batch, None, ("tensor", "sequence") if exchange else "tensor")
        masks = P(batch, None if exchange else "sequence")
        specs = (split,) * len(split_BNAH) + (whole,) * len(whole_BSAH) + (masks,) * len(masks_B)
        run = jax.shard_map(local, mesh=self.mesh, in_specs=specs, out_specs=split, check_vma=False)
        return run(*split_BNAH, *whole_BSAH, *masks_B)

    def _batch(self, x_B: jax.Array) -> tuple[str, ...] | None:
        """The axes of the samples; every device has all of them where they are too few to be split."""
        return None if len(x_B) % math.prod(self.mesh.shape[axis] for axis in BATCH) else BATCH

    def _check(self, what: str, count: int, *axes: str) -> None:
        if count % math.prod(self.mesh.shape[axis] for axis in axes):
            shown = " x ".join(f"{axis}={self.mesh.shape[axis]}" for axis in axes)
            raise ValueError(f"{count} {what} do not divide over {shown} devices; choose a mesh that divides them")


def spread(execution: Execution, mesh: Mesh) -> Execution:
    """The execution of a network on `mesh`; where samples alone are split, nothing need be said."""
    by_hand = not KERNELS[execution.attention].partitioned
    if mesh.size == 1 or (mesh.shape["data"] == mesh.size and not by_hand):
        return execution
    return dataclasses.replace(execution, spread=Ulysses(mesh, by_hand))
