"""Speed and memory of `shotverse convert` beside a plain copy of the same bytes on the same disk, taken in turn.

    python -m benchmarks.convert              # a Wan2.2 expert of full width, 2 of its 40 layers, bfloat16: 1.9 GB
    python -m benchmarks.convert --network umt5 --back      # UMT5-XXL, 11 GB, and that it comes back byte for byte

The checkpoint has all names and the real shapes of the network, filled with noise. It is read from the page cache by
both, and both end with a sync. Nearly every matrix is transposed on the way. --back converts to the checkpoint's
format again, the source being gone, and compares every tensor's bytes.
"""

import argparse
import dataclasses
import json
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np

from shotverse_jax.conversion import commands, prepare, qwen3_vl
from shotverse_jax.conversion.core import torch_shapes
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.conversion.sources import open_checkpoint
from shotverse_jax.weights.safetensors import nbytes, write_safetensors
from shotverse_jax.weights.trees import flatten

NOISE = 1 << 24

# How the config of a network is written beside its tensors, where these do not tell all (Qwen3-VL-2B, ViT-B/32).
BESIDE = {
    "qwen3-vl": qwen3_vl.config_to_hf,
    "qwen3-vl-text": qwen3_vl.config_to_hf,
    "clip-text": lambda _: {"text_config": {}},
}


def released(name: str, layers: int | None) -> Any:
    """The config of a network as it was released, or with fewer layers."""
    config = NETWORKS[name].example_config
    if name in ("wan-dit", "holocine"):
        config = dataclasses.replace(config, camera=False, rope="wan3d")
    return config if layers is None else dataclasses.replace(config, num_layers=layers)


def contents(shapes: Mapping[str, jax.ShapeDtypeStruct]) -> Iterator[tuple[str, np.ndarray]]:
    """Iterates over (name, array) of noise for every tensor; tensors of one shape differ by a shift of the noise."""
    noise = np.random.default_rng(0).normal(size=NOISE).astype(ml_dtypes.bfloat16)
    for number, (name, shape) in enumerate(shapes.items()):
        # Every tensor has a shift of its own (7919 is a prime), so that two that are swapped by mistake differ.
        yield name, np.resize(np.roll(noise, 7919 * number), shape.shape)


def compare(path: Path, shapes: Mapping[str, jax.ShapeDtypeStruct]) -> int:
    """Checks that a checkpoint has the tensors of `contents`, bit by bit; returns their number.

    Raises:
        AssertionError: at the first tensor that differs.
    """
    back = open_checkpoint(path)
    assert set(back) == set(shapes), sorted(set(back) ^ set(shapes))
    for name, wanted in contents(shapes):
        tensor = np.asarray(back[name])
        assert tensor.shape == wanted.shape and tensor.dtype == wanted.dtype, name
        assert np.array_equal(tensor.view(np.uint16), wanted.view(np.uint16)), name
    return len(shapes)


def peak() -> float:
    """Returns the largest memory of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="wan-dit")
    parser.add_argument("--layers", type=int, help="of how many (default: 2 of wan-dit's, all of any other's)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--back", action="store_true", help="convert to the checkpoint's format again and compare")
    parser.add_argument("--target-dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--mesh", type=int, default=8, help="devices of the fsdp axis that chunks are made for")
    parser.add_argument("--folder", help="where to write (default: the system's folder for temporary files)")
    args = parser.parse_args()
    kind, layers = NETWORKS[args.network], args.layers or (2 if args.network == "wan-dit" else None)
    expert = "high" if kind.is_expert else None
    config = released(args.network, layers)
    shapes = torch_shapes(kind.table(config), flatten(kind.abstract(config, "bfloat16")))
    total = sum(map(nbytes, shapes.values()))
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        source, copied, out = (Path(scratch) / name for name in ("source.safetensors", "copy", "ours"))
        write_safetensors(source, shapes, contents(shapes), {"format": "pt"})
        if args.network in BESIDE:
            (Path(scratch) / "config.json").write_text(json.dumps(BESIDE[args.network](config)))
        times: dict[str, list[float]] = {"copy": [], "convert": []}
        for number in range(args.rounds):
            os.sync()
            used, start = time.process_time(), time.perf_counter()
            shutil.copyfile(source, copied)
            os.sync()
            times["copy"].append(time.perf_counter() - start)
            print(f"copy: {time.process_time() - used:.1f} s of processor time")
            copied.unlink()
            os.sync()
            before, used, start = peak(), time.process_time(), time.perf_counter()
            conversion = prepare.prepare(open_checkpoint(source), args.network, args.target_dtype, {"fsdp": args.mesh})
            commands.convert(conversion, out, expert)
            times["convert"].append(time.perf_counter() - start)
            used = time.process_time() - used
            print(f"convert: {used:.1f} s of processor time, peak {peak():.2f} GB, before it {before:.2f} GB")
            if number < args.rounds - 1 or not args.back:
                shutil.rmtree(out)
        copy, convert = (statistics.median(times[what]) for what in ("copy", "convert"))
        print(f"{total / 1e9:.2f} GB: copy {total / copy / 1e6:.0f} MB/s, convert {total / convert / 1e6:.0f} MB/s")
        print(f"convert runs at {copy / convert:.0%} of the copy; all: {times}")
        if args.back:
            source.unlink()
            commands.convert_back(out, next(iter(kind.styles)), Path(scratch) / "back.safetensors", expert=expert)
            shutil.rmtree(out)
            print(f"back: {compare(Path(scratch) / 'back.safetensors', shapes)} tensors, all bytes the same")


if __name__ == "__main__":
    main()
