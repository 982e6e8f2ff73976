"""Speed of pose decoding beside transformers' `generate`, same sizes and machine, runs taken in turn.

    python -m benchmarks.decode            # GenDoP's decoder: 12 layers, 1024 wide, prefix 77, 300 tokens, greedy

Both programs get the same random weights; their tokens are compared too. A step must read every weight and the cache
so far; that many bytes over the time of a step is given beside the speed at which this machine reads memory.
"""

import argparse
import statistics
import time

import jax
import numpy as np

from shotverse_jax.camera.tokens.shotverse import BOS
from shotverse_jax.config import Execution, OPTConfig
from shotverse_jax.conversion import gendop_opt
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.infer.decode import GREEDY, Draw, Grammar, decode_opt
from shotverse_jax.models.opt import OPTDecoder, decode_weights


def torch_model(params, config: OPTConfig):
    """Returns transformers' OPT with our weights."""
    import torch
    import transformers

    hf_config = transformers.OPTConfig(**gendop_opt.config_to_hf(config), bos_token_id=BOS, eos_token_id=None)
    model = transformers.OPTForCausalLM(hf_config).eval()
    tensors = NETWORKS["gendop-opt"].to_torch(params, config, "transformers")
    model.load_state_dict({name: torch.tensor(array) for name, array in tensors.items()})
    return model


def torch_decode(model, prefix_BPD, tokens: int, bins: int):
    """Decodes ids [B, tokens] greedily by transformers' `generate` from the prefix and BOS; only values are allowed."""
    import torch

    banned = [i for i in range(model.config.vocab_size) if not 3 <= i < 3 + bins]
    prefix = torch.from_numpy(np.array(prefix_BPD))
    bos = model.get_input_embeddings()(torch.full((len(prefix), 1), BOS))
    inputs = torch.cat([prefix, bos], dim=1)
    with torch.inference_mode():
        ids = model.generate(
            inputs_embeds=inputs,
            attention_mask=torch.ones(inputs.shape[:2], dtype=torch.long),
            do_sample=False,
            max_new_tokens=tokens,
            suppress_tokens=banned,
        )
    return ids.numpy()


def read_speed() -> float:
    """Returns the bytes read from memory per second: the better of numpy's max in threads and a matrix-vector product.

    Both read 1 GB.
    """
    from concurrent.futures import ThreadPoolExecutor
    from os import cpu_count

    # 1 GB is far more than any cache of a processor holds.
    array = np.ones((16384, 16384), np.float32)
    parts = np.array_split(array, cpu_count())
    on_device, vector = jax.numpy.asarray(array), jax.numpy.ones(16384)
    product = jax.jit(lambda a, x: a @ x)
    with ThreadPoolExecutor(len(parts)) as pool:
        probes = (
            lambda: list(pool.map(np.max, parts)),
            lambda: jax.block_until_ready(product(on_device, vector)),
        )
        return max(array.nbytes / min(seconds(probe) for _ in range(5)) for probe in probes)


def seconds(run) -> float:
    """Returns the seconds that one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def bytes_per_step(weights, config: OPTConfig, batch: int, prefix: int, tokens: int) -> float:
    """Returns the bytes that a mean step must read: all weights, and the keys and values of the places before it."""
    read = sum(x.nbytes for x in jax.tree.leaves((weights["layers"], weights["lm_head"])))
    cached = 2 * config.num_layers * batch * (prefix + tokens / 2) * config.hidden_size
    return read + cached * weights["lm_head"].dtype.itemsize


def main():
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--prefix", type=int, default=77)
    parser.add_argument("--tokens", type=int, default=300, help="new tokens")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="without transformers")
    args = parser.parse_args()
    config = OPTConfig(
        hidden_size=args.width,
        num_layers=args.layers,
        num_heads=args.heads,
        max_positions=args.prefix + args.tokens + 1,
        dropout=0.0,
    )
    start = np.zeros((1, 1, args.width), np.float32), np.zeros((1, 1), np.int32)
    params = jax.jit(OPTDecoder(config, Execution()).init)(jax.random.key(0), *start)["params"]
    weights = jax.jit(decode_weights, static_argnums=1)(params, config)
    model = None if args.alone else torch_model(params, config)
    grammar = Grammar.of_gendop(args.tokens)
    bandwidth = read_speed()
    count = sum(x.size for x in jax.tree.leaves(params))
    print(f"{count / 1e6:.0f} M parameters, {jax.devices()[0].device_kind}, memory read {bandwidth / 1e9:.1f} GB/s")
    print(f"{'batch':>5} {'program':>13} {'ms/step':>8} {'tok/s':>8} {'GB/s':>6} {'of read':>8} {'ratio':>6}")
    for batch in args.batch:
        prefix_BPD = jax.random.normal(jax.random.key(1), (batch, args.prefix, args.width))
        programs = {
            "shotverse_jax": lambda p=prefix_BPD: np.asarray(
                decode_opt(weights, config, p, Draw.of(grammar, jax.random.key(0), len(p), GREEDY)).ids_BN[:, 1:]
            )
        }
        if model is not None:
            programs["transformers"] = lambda p=prefix_BPD: torch_decode(model, p, args.tokens, grammar.bins)
        tokens = [run() for run in programs.values()]  # compiles, warms up
        taken = {name: [] for name in programs}
        for _ in range(args.rounds):
            for name, run in programs.items():
                taken[name].append(seconds(run))
        size = bytes_per_step(weights, config, batch, args.prefix, args.tokens)
        slowest = statistics.median(taken[list(programs)[-1]])
        for name, times in taken.items():
            step = statistics.median(times) / args.tokens
            print(
                f"{batch:5} {name:>13} {step * 1e3:8.1f} {batch / step:8.1f} {size / step / 1e9:6.1f} "
                f"{size / step / bandwidth:7.0%} {slowest / statistics.median(times):5.2f}x"
            )
        if model is not None:
            print(f"      same tokens: {np.mean(tokens[0] == tokens[1]):.1%}")


if __name__ == "__main__":
    main()
