"""Speed and memory of `shotverse convert` beside a plain copy of the same bytes on the same disk, taken in turn.

    python -m benchmarks.convert                 # a Wan2.2 expert of full width, 2 of its 40 layers, bfloat16: 1.9 GB

The source is read from the page cache by both, and both end with a sync. Every matrix is transposed on the way.
"""

import argparse
import os
import resource
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
from flax.traverse_util import flatten_dict

from shotverse_jax.config import WanDiTConfig
from shotverse_jax.conversion import commands, wan_dit
from shotverse_jax.conversion.sources import nbytes, open_checkpoint, write_safetensors


def write_checkpoint(path: Path, config: WanDiTConfig) -> int:
    """An expert of random weights; → its bytes."""
    noise = np.random.default_rng(0).normal(size=1 << 24).astype(ml_dtypes.bfloat16)
    leaves, shapes = flatten_dict(wan_dit.abstract(config, "bfloat16"), sep="/"), {}
    for entry in wan_dit.table(config).entries:
        leaf = leaves[entry.target]
        part = np.empty(leaf.shape[1:] if entry.stacked else leaf.shape, leaf.dtype)
        shape = entry.transform.to_torch(part).shape
        for i in range(config.num_layers if entry.stacked else 1):
            shapes[entry.name(i)] = jax.ShapeDtypeStruct(shape, leaf.dtype)
    tensors = ((name, np.resize(noise, shape.shape)) for name, shape in shapes.items())
    write_safetensors(path, shapes, tensors, {"format": "pt"})
    return sum(map(nbytes, shapes.values()))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--target-dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--mesh", type=int, default=8, help="devices of the fsdp axis that chunks are made for")
    parser.add_argument("--folder", help="where to write (default: the system's folder for temporary files)")
    args = parser.parse_args()
    config = replace(WanDiTConfig(), num_layers=args.layers, camera=False)
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        source, out = Path(scratch) / "source.safetensors", Path(scratch) / "ours"
        total = write_checkpoint(source, config)
        times: dict[str, list[float]] = {"copy": [], "convert": []}
        for _ in range(args.rounds):
            os.sync()
            used, start = time.process_time(), time.perf_counter()
            shutil.copyfile(source, Path(scratch) / "copy")
            os.sync()
            times["copy"].append(time.perf_counter() - start)
            print(f"copy: {time.process_time() - used:.1f} s of processor time")
            (Path(scratch) / "copy").unlink()
            os.sync()
            before, used, start = peak(), time.process_time(), time.perf_counter()
            conversion = commands.prepare(open_checkpoint(source), "wan-dit", args.target_dtype, {"fsdp": args.mesh})
            commands.convert(conversion, out, expert="high")
            times["convert"].append(time.perf_counter() - start)
            used = time.process_time() - used
            print(f"convert: {used:.1f} s of processor time, peak {peak():.2f} GB, before it {before:.2f} GB")
            shutil.rmtree(out)
        copy, convert = (statistics.median(times[what]) for what in ("copy", "convert"))
        print(f"{total / 1e9:.2f} GB: copy {total / copy / 1e6:.0f} MB/s, convert {total / convert / 1e6:.0f} MB/s")
        print(f"convert runs at {copy / convert:.0%} of the copy; all: {times}")


if __name__ == "__main__":
    main()
