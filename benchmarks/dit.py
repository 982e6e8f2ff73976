"""Speed of the video transformer beside diffusers', same weights and machine, in turn; and of its sparse attention.

    python -m benchmarks.dit                # 4 blocks, 512 wide, 5 latent frames of 16x16 tokens, 64 text tokens
    python -m benchmarks.dit --json dit.json

First the network forward and forward with the gradients of all weights, in float32 on CPU and bfloat16 on a GPU; the
outputs are compared too. Then HoloCine's sparse inter-shot attention against full attention on films of more and more
shots: medians, and the ratio of their operations as `shotverse_jax/cost/flops.py` counts them.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.config import Execution, WanDiTConfig
from shotverse_jax.conversion import wan_dit
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.cost import flops
from shotverse_jax.models.wan_dit import WanDiT

Programs = dict[str, Callable[[], object]]


def draw(config: WanDiTConfig, frames: int, side: int, text: int):
    """Draws latents_BTHWC with frames of side x side tokens, timestep_B and context_BSD."""
    rng = np.random.default_rng(0)
    shape = 1, frames, side * config.patch[1], side * config.patch[2], config.latent_channels
    latents_BTHWC, context_BSD = (rng.normal(size=s).astype(np.float32) for s in (shape, (1, text, config.text_size)))
    return latents_BTHWC, np.full(1, 500, np.float32), context_BSD


def our_programs(model: WanDiT, params, inputs, **static) -> Programs:
    """Returns two programs: the forward pass, and the gradients of a weighted sum of the velocity."""

    def velocity(params, inputs):
        """The forward pass."""
        return model.apply({"params": params}, *inputs, **static)

    def loss(params, inputs):
        """A weighted sum of the velocity."""
        return jnp.vdot(velocity(params, inputs), inputs[0])

    forward, backward = jax.jit(velocity), jax.jit(jax.grad(loss))
    inputs = jax.device_put(inputs)
    return {
        "forward": lambda: jax.block_until_ready(forward(params, inputs)),
        "forward+backward": lambda: jax.block_until_ready(backward(params, inputs)),
    }


def diffusers_programs(params, config: WanDiTConfig, inputs) -> Programs:
    """Returns both programs of diffusers' `WanTransformer3DModel` with our weights.

    Its forward pass runs in inference mode, which keeps no values for gradients.
    """
    import torch
    from diffusers import WanTransformer3DModel

    model = WanTransformer3DModel(**wan_dit.config_to_diffusers(config))
    tensors = NETWORKS["wan-dit"].to_torch(jax.tree.map(np.asarray, params), config, "diffusers")
    model.load_state_dict({name: torch.tensor(array) for name, array in tensors.items()})
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    model = model.to(device)
    for name, parameter in model.named_parameters():
        if not any(kept in name for kept in model._keep_in_fp32_modules):
            parameter.data = parameter.data.to(dtype)
    latents_BTHWC, timestep_B, context_BSD = (torch.tensor(x, device=device) for x in inputs)
    arguments = latents_BTHWC.permute(0, 4, 1, 2, 3).to(dtype), timestep_B, context_BSD.to(dtype)

    def done(result):
        """Waits for the GPU, then returns the result."""
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    def forward():
        """The forward pass."""
        with torch.inference_mode():
            return done(model(*arguments, return_dict=False)[0].permute(0, 2, 3, 4, 1))

    def backward():
        """Forward pass and gradients."""
        model.zero_grad()
        (model(*arguments, return_dict=False)[0] * arguments[0]).sum().backward()
        return done(model)

    return {"forward": forward, "forward+backward": backward}


def medians(programs: Programs, rounds: int) -> dict[str, float]:
    """Returns the median seconds of each program. In every round they run in turn; each must have run before."""
    taken = {name: [] for name in programs}
    for _ in range(rounds):
        for name, run in programs.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def compare(config: WanDiTConfig, execution: Execution, args) -> dict:
    """Measures forward and forward+backward beside diffusers, prints a row for each, and returns them."""
    inputs = draw(config, args.frames, args.side, args.text)
    params = jax.jit(WanDiT(config).init)(jax.random.key(0), *inputs)["params"]
    ours = our_programs(WanDiT(config, execution), params, inputs)
    theirs = diffusers_programs(params, config, inputs)
    a, b = (np.asarray(x.float().cpu() if hasattr(x, "cpu") else x) for x in (ours["forward"](), theirs["forward"]()))
    print(f"outputs agree to {np.max(np.abs(a - b)) / np.sqrt(np.mean(b**2)):.1e} of their RMS")
    rows = {}
    for kind in ours:
        pair = {"shotverse_jax": ours[kind], "diffusers": theirs[kind]}
        for run in pair.values():  # compiles, warms up
            run()
        seconds = medians(pair, args.rounds)
        rows[kind] = seconds | {"ratio": seconds["diffusers"] / seconds["shotverse_jax"]}
        times = "  ".join(f"{name} {1e3 * seconds[name]:7.0f} ms" for name in pair)
        print(f"{kind:>16}  {times}  {rows[kind]['ratio']:5.2f}x")
    return rows


def sparse_curve(config: WanDiTConfig, execution: Execution, args) -> list[dict]:
    """Measures forward passes of films of 2, 4, 8, … shots of `args.shot` latent frames with both attentions."""
    frame, rows = args.side**2, []
    full = dataclasses.replace(config, self_attention="full")
    sparse = dataclasses.replace(config, self_attention="sparse")
    params = None
    print(f"{'shots':>5} {'tokens':>7} {'full ms':>8} {'sparse ms':>9} {'ratio':>6} {'formula':>8}")
    for shots in args.shots:
        inputs, lengths = draw(config, shots * args.shot, args.side, args.text), (args.shot,) * shots
        # Parameters depend neither on the length nor on the kind of attention, so one set serves all films.
        if params is None:
            params = jax.jit(WanDiT(full).init)(jax.random.key(0), *inputs)["params"]
        runs = {
            c.self_attention: our_programs(WanDiT(c, execution), params, inputs, shot_lengths=lengths)["forward"]
            for c in (full, sparse)
        }
        for run in runs.values():
            run()
        seconds = medians(runs, args.rounds)
        latents, tokens = inputs[0].shape[1:4], shots * args.shot * frame
        works = (flops.dit(c, *latents, args.text, shots=lengths)[0].forward for c in (full, sparse))
        formula = next(works) / next(works)
        rows.append(
            {"shots": shots, "tokens": tokens, **seconds, "ratio": seconds["full"] / seconds["sparse"]}
            | {"formula": formula}
        )
        print(
            f"{shots:5} {tokens:7} {1e3 * seconds['full']:8.0f} {1e3 * seconds['sparse']:9.0f} "
            f"{rows[-1]['ratio']:5.2f}x {formula:7.2f}x"
        )
    return rows


def main():
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--mlp", type=int, default=2048)
    parser.add_argument("--frames", type=int, default=5, help="latent frames beside diffusers")
    parser.add_argument("--side", type=int, default=16, help="a latent frame has side x side tokens")
    parser.add_argument("--text", type=int, default=64, help="text tokens")
    parser.add_argument("--shots", type=int, nargs="*", default=[1, 2, 4, 8], help="films of the second part")
    parser.add_argument("--shot", type=int, default=3, help="latent frames of a shot there")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--alone", action="store_true", help="without diffusers")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    args = parser.parse_args()
    config = WanDiTConfig(
        hidden_size=args.width,
        num_layers=args.layers,
        num_heads=args.heads,
        mlp_size=args.mlp,
        text_size=args.width,
        rope="wan3d",
        camera=False,
    )
    gpu = jax.default_backend() == "gpu"
    execution = Execution(attention="cudnn", dtype="bfloat16") if gpu else Execution()
    print(f"{config.num_layers} blocks, {config.hidden_size} wide, {jax.devices()[0].device_kind}, {execution.dtype}")
    numbers = {"beside_diffusers": {} if args.alone else compare(config, execution, args)}
    numbers["sparse"] = sparse_curve(config, execution, args)
    if args.json:
        args.json.write_text(json.dumps(numbers, indent=2))


if __name__ == "__main__":
    main()
