"""Speed and memory of the controller's training step at a slice of its released size, on one device.

    python -m benchmarks.train_step             # 8 of 40 blocks, 5120 wide, 81 frames at 480 x 832: for 80 GB of memory
    python -m benchmarks.train_step --small     # a laptop, in seconds

It is the step of `configs/controller/pod.py`, expert "high": frozen base in the dtype of activations, LoRA and camera
encoders learn by AdamW, recorded text states, random weights and films. MFU counts what the mathematics of a step needs
(`shotverse_jax/cost/flops.py`), nothing that is computed again. Peak memory is that of the process so far, as the
device says; hence `full`, which needs less, comes first.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from shotverse_jax.config import (
    ControllerConfig,
    ControllerTrainConfig,
    Execution,
    MeshConfig,
    UMT5Config,
    WanDiTConfig,
    from_dict,
)
from shotverse_jax.configs.controller import pod
from shotverse_jax.cost import flops
from shotverse_jax.cost.accelerators import peak
from shotverse_jax.fit.program import Memory
from shotverse_jax.models.controller import Controller
from shotverse_jax.nn.attention import KERNELS, kernels_on
from shotverse_jax.parallel.mesh import make_mesh
from shotverse_jax.parallel.rules import create
from shotverse_jax.parallel.sequence import spread
from shotverse_jax.train.placement import Placement
from shotverse_jax.train.state import init_state, make_optimizer
from shotverse_jax.train.step import make_train_step
from shotverse_jax.train.tasks.controller import adapt, latents, make_loss
from shotverse_jax.weights import init

SMALL = {"layers": 2, "hidden": 128, "heads": 4, "mlp": 256, "text": 64, "text_size": 64, "frames": 17}
SMALL |= {"height": 64, "width": 96, "rank": 8, "dtype": "float32"}
SHOTS = 4


def configs(args) -> tuple[ControllerConfig, ControllerTrainConfig]:
    """Returns the pod's model and run, with the sizes asked for."""
    values = pod.get_config().to_dict()
    run, kernel = from_dict(ControllerTrainConfig, values), kernels_on(jax.default_backend())[0]
    config = run.model
    sizes = {"num_layers": args.layers, "hidden_size": args.hidden, "num_heads": args.heads, "mlp_size": args.mlp}
    config = dataclasses.replace(
        config,
        dit=dataclasses.replace(config.dit, text_size=args.text_size, **sizes),
        lora=dataclasses.replace(config.lora, rank=args.rank),
        text_length=args.text,
        frames=args.frames,
        height=args.height,
        width=args.width,
    )
    execution = Execution(attention=args.attention or kernel, dtype=args.dtype)
    return config, dataclasses.replace(run, batch=args.batch, mesh=MeshConfig(), execution=execution)


def films(config: ControllerConfig, run: ControllerTrainConfig) -> dict[str, np.ndarray]:
    """Returns a random batch like those of `data/controller_source.py` for films with text states."""
    rng = np.random.default_rng(0)
    frames, *sides = latents(config)
    shot_T = (np.arange(frames) * SHOTS // frames).astype(np.int32)
    window_KS = rng.random((SHOTS, config.text_length)) < 0.5

    def copies(x):
        """The same value for every film."""
        return np.broadcast_to(x, (run.batch, *x.shape))

    return {
        "latents_BTHWC": rng.normal(size=(run.batch, frames, *sides, config.dit.latent_channels)).astype(np.float16),
        "shot_BT": copies(shot_T),
        "camera_BTP": rng.normal(size=(run.batch, frames, 12)).astype(np.float32),
        "real_BS": copies(np.ones(config.text_length, bool)),
        "window_BKS": copies(window_KS),
        "context_BSD": rng.normal(size=(run.batch, config.text_length, config.dit.text_size)).astype(np.float16),
    }


def draw(architecture: WanDiTConfig, dtype: str, mesh) -> dict:
    """Returns random weights of a video transformer in one dtype; each device makes its own part."""

    def make():
        """Random weights of the network, in the dtype of the activations."""
        params = init("wan_dit", architecture, jax.random.key(0))
        return jax.tree.map(lambda leaf: leaf.astype(dtype), params)

    return create(make, mesh)


def setup(config: ControllerConfig, run: ControllerTrainConfig, mesh):
    """Returns (optimizer and schedule, state, frozen) with random weights, as the task has them."""
    base = draw(config.expert("base"), run.execution.dtype, mesh)
    controller = Controller(config, UMT5Config(), run.expert, run.execution)
    trainable, frozen = adapt(config, controller, base, None, jax.random.key(0), mesh)
    optimizer = make_optimizer(run)
    return optimizer, init_state(trainable, optimizer[0], ema=run.ema > 0), frozen


def loss_of(config: ControllerConfig, run: ControllerTrainConfig, mesh) -> Callable:
    """Returns the loss of a run on a mesh."""
    return make_loss(Controller(config, UMT5Config(), run.expert, spread(run.execution, mesh)), run)


def measure(loss, run, mesh, optimizer, state, frozen, batch, rounds, layout=None):
    """Returns (state, seconds to compile, seconds of a step, memory of the compiled program)."""
    place = Placement.of(run, state, frozen, mesh)
    step = make_train_step(loss, *optimizer, run.ema, place)
    key = jax.device_put(jax.random.key(0), place.replicated)
    state, frozen = place.put(state, frozen)
    batch = place.put_batch(batch)
    start = time.perf_counter()
    compiled = step.lower(state, frozen, batch, key, layout).compile()
    compile_seconds, taken = time.perf_counter() - start, []
    for _ in range(rounds + 1):  # the first warms up
        start = time.perf_counter()
        state, metrics = compiled(state, frozen, batch, key)
        # This reading waits for the step; without it only the time to start the step would be measured.
        bad = int(metrics["bad_steps"])
        taken.append(time.perf_counter() - start)
    assert not bad, "a step was not finite"
    return state, compile_seconds, statistics.median(taken[1:]), Memory.of(compiled).total


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns the options in `words`; without them those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=8, help="of the 40 blocks")
    parser.add_argument("--hidden", type=int, default=5120)
    parser.add_argument("--heads", type=int, default=40)
    parser.add_argument("--mlp", type=int, default=13824)
    parser.add_argument("--rank", type=int, default=128, help="of the adapters")
    parser.add_argument("--text", type=int, default=512, help="text tokens")
    parser.add_argument("--text-size", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--frames", type=int, default=81, help="of the film, 4t+1")
    parser.add_argument("--height", type=int, default=480, help="pixels")
    parser.add_argument("--width", type=int, default=832, help="pixels")
    parser.add_argument("--attention", choices=tuple(KERNELS), help="default: the device's own")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--remat", nargs="+", choices=("none", "full", "save_attention"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="other default sizes: for a laptop")
    parser.set_defaults(remat=["full", "save_attention"])
    # The words are parsed twice, so that sizes given beside --small win over those of --small.
    if parser.parse_args(words).small:
        parser.set_defaults(**SMALL)
    return parser.parse_args(words)


def main():
    """Runs the benchmark."""
    args = arguments()
    config, run = configs(args)
    mesh = make_mesh(run.mesh, jax.devices()[:1])
    batch = films(config, run)
    frames, height, width = latents(config)
    work = flops.dit(config.expert(run.expert), frames, height, width, config.text_length, lora=config.lora)
    useful = run.batch * sum(part.step() for part in work)
    optimizer, state, frozen = setup(config, run, mesh)
    learning, fixed = (sum(x.size for x in jax.tree.leaves(tree)) / 1e6 for tree in (state.params, frozen))
    device, patch = mesh.devices.flat[0], config.dit.patch
    fastest = peak(device.device_kind)
    print(f"{device.device_kind}, jax {jax.__version__}, {run.execution.attention}, {run.execution.dtype}")
    print(
        f"{args.layers} blocks, {args.hidden} wide, {fixed:.4g} M parameters frozen and {learning:.4g} M learning; "
        f"batch {run.batch}, {args.frames} frames of {args.height}x{args.width}: "
        f"{frames * height * width // (patch[1] * patch[2])} tokens; {useful / 1e12:.4g} TFLOP a step"
    )
    print(
        f"{'remat':>14} {'compile s':>9} {'ms/step':>9} {'TFLOP/s':>8} {'MFU':>6} {'program GiB':>11} {'peak GiB':>8}"
    )
    for remat in args.remat:
        run = dataclasses.replace(run, execution=dataclasses.replace(run.execution, remat=remat))
        # A step takes the memory of the state that it is given, so the next measurement goes on from the last state.
        state, compiling, seconds, size = measure(
            loss_of(config, run, mesh), run, mesh, optimizer, state, frozen, batch, args.rounds
        )
        stats = device.memory_stats() or {}
        mfu = f"{useful / seconds / fastest:.1%}" if fastest else "n/a"
        most = f"{stats['peak_bytes_in_use'] / 2**30:.2f}" if "peak_bytes_in_use" in stats else "n/a"
        rate = useful / seconds / 1e12
        print(
            f"{remat:>14} {compiling:9.1f} {1e3 * seconds:9.1f} {rate:8.3g} {mfu:>6} {size / 2**30:11.2f} {most:>8}",
            flush=True,
        )


if __name__ == "__main__":
    main()
