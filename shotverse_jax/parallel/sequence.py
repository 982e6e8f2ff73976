"""Attention over tokens that are split over devices: DeepSpeed-Ulysses' exchange (arXiv 2309.14509).

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
from shotverse_jax.parallel.mesh import BATCH

Arrays = tuple[jax.Array, ...]


@dataclasses.dataclass(frozen=True)
class Ulysses:
    """How the activations of a transformer lie on `mesh`; the value of `Execution.spread`."""

    mesh: Mesh

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
    """The execution of a transformer on `mesh`: its attention by `Ulysses` where tokens are split, and where the kernel
    is one that the compiler cannot split."""
    if mesh.size == 1 or (mesh.shape["sequence"] == 1 and execution.attention == "xla"):
        return execution
    return dataclasses.replace(execution, spread=Ulysses(mesh))
