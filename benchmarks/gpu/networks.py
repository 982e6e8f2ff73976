"""The sections of `python -m benchmarks.gpu` that run the networks, with random weights or those that ship."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from benchmarks import decode as decode_benchmark
from benchmarks import train_step
from benchmarks.gpu.rows import GIB, Row, attempt, distance, kernel, peak_gib, seconds, timed
from shotverse_jax.camera.tokens.shotverse import sequence_length
from shotverse_jax.config import (
    ControllerConfig,
    Execution,
    MeshConfig,
    PlannerConfig,
    UMT5Config,
    WanVAEConfig,
    planner_nano,
    vae_small,
)
from shotverse_jax.configs.planner import qwen3vl_2b
from shotverse_jax.cost import flops
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.decode import SAMPLERS, Draw, Grammar
from shotverse_jax.infer.denoise import decode as frames_of
from shotverse_jax.infer.denoise import generate
from shotverse_jax.infer.plan import Director, decode, plan
from shotverse_jax.infer.take import Take, prepare
from shotverse_jax.models.controller import Controller
from shotverse_jax.models.planner import Planner
from shotverse_jax.models.wan_vae import WanVAE, space_factor, time_factor
from shotverse_jax.models.wan_vae_stream import decode_chunks
from shotverse_jax.nn.quantized import quantize
from shotverse_jax.parallel.mesh import make_mesh
from shotverse_jax.parallel.rules import create
from shotverse_jax.screenplay import read_screenplay
from shotverse_jax.train.state import init_state, make_optimizer, split_frozen
from shotverse_jax.train.tasks import outline, read_config
from shotverse_jax.train.tasks.controller import latents
from shotverse_jax.train.tasks.planner import make_variables
from shotverse_jax.weights import init

SCREENPLAY = Path(__file__).parents[2] / "examples" / "red_coat.txt"


def _controller(small: bool, frames: int, layers: int = 4):
    """(config, run, batch, mesh) of films of so many frames; `benchmarks/train_step.py` says how they are made."""
    words = ["--small"] if small else ["--layers", str(layers), "--frames", str(frames)]
    if small and jax.default_backend() == "gpu":
        words += ["--dtype", "bfloat16"]  # the only one that cuDNN's attention takes
    config, run = train_step.configs(train_step.arguments(words))
    return config, run, train_step.films(config, run), make_mesh(run.mesh, jax.devices()[:1])


def _tokens(config: ControllerConfig) -> str:
    frames, height, width = latents(config)
    return f"{config.dit.num_layers} blocks, {frames * (height // 2) * (width // 2):,} tokens"


def _velocity(config: ControllerConfig, execution: Execution, shots: tuple[int, ...] | None) -> Callable:
    """The expert's forward pass as sampling runs it, from text states."""
    controller = Controller(config, UMT5Config(), "high", execution)

    def run(params, batch):
        noisy_BTHWC = batch["latents_BTHWC"].astype(jnp.float32)
        sigma_B = jnp.full(len(noisy_BTHWC), 0.95)
        variables = {"params": {"dit": params}}
        return controller.apply(
            variables, noisy_BTHWC, sigma_B, batch["context_BSD"], batch, shot_lengths=shots, method="velocity"
        )

    return jax.jit(run)


def forward(small: bool) -> Iterator[Row]:
    """The DiT's forward pass at full width: full attention, HoloCine's sparse attention, and its error in bf16."""
    config, run, _, mesh = _controller(small, 81)
    params = train_step.draw(config.expert("high"), run.execution.dtype, mesh)
    for frames in (17,) if small else (81, 249):
        yield from attempt(f"full attention, {frames} frames", _forward, small, frames, params, False)
    yield from attempt("sparse attention", _forward, small, 249, params, True)
    yield from attempt("velocity in bf16", _forward_parity, small)


def _forward(small: bool, frames: int, params: dict, sparse: bool) -> Iterator[Row]:
    config, run, batch, _ = _controller(small, frames)
    sides, shots = latents(config), None
    if sparse:
        shots = tuple(int(n) for n in np.bincount(batch["shot_BT"][0]))
        config = dataclasses.replace(config, dit=dataclasses.replace(config.dit, self_attention="sparse"))
    work = flops.forward(flops.dit(config.expert("high"), *sides, config.text_length, shots=shots))
    kind = f"sparse attention, {len(shots)} shots" if sparse else "full attention"
    batch = jax.device_put(batch)
    function = _velocity(config, run.execution, shots)
    yield timed(f"{kind}, {_tokens(config)}", function, params, batch, operations=work, rounds=3)


def _forward_parity(small: bool) -> Iterator[Row]:
    """A whole network of two blocks in bf16 with the device's kernel, against float32 with `xla`."""
    config, run, batch, mesh = _controller(small, 9, layers=2)
    params = train_step.draw(config.expert("high"), "float32", mesh)
    with jax.default_matmul_precision("highest"):
        exact = np.asarray(_velocity(config, Execution(), None)(params, batch))
    execution = dataclasses.replace(run.execution, dtype="bfloat16")
    ours = np.asarray(_velocity(config, execution, None)(params, batch))
    yield {"what": f"velocity in bf16 against float32, {_tokens(config)}", "error": distance(ours, exact)}


def memory(small: bool) -> Iterator[Row]:
    """The DiT's forward pass with weights in 8 bits, and how fast weights come from the host's memory and go there."""
    config, run, batch, mesh = _controller(small, 17 if small else 81)
    params = train_step.draw(config.expert("high"), run.execution.dtype, mesh)
    batch = jax.device_put(batch)
    exact = np.asarray(_velocity(config, run.execution, None)(params, batch), np.float32)
    for name in ("int8", "float8"):
        yield from attempt(name, _quantized, name, config, run.execution, params, batch, exact)
    yield from attempt("weights that wait on the host", _waiting, params)


def _quantized(name, config, execution, params, batch, exact) -> Iterator[Row]:
    work = flops.forward(flops.dit(config.expert("high"), *latents(config), config.text_length))
    small, velocity = quantize(params, name), _velocity(config, execution, None)
    what = f"full attention, {_tokens(config)}, weights in {name}"
    row = timed(what, velocity, small, batch, operations=work, rounds=3)
    yield row | {"error": distance(np.asarray(velocity(small, batch), np.float32), exact)}


def _waiting(params) -> Iterator[Row]:
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    for where, words in (("pinned_host", "to the host"), ("device", "from the host")):
        moved = None
        for name in ("first time", "again"):
            del moved
            start = time.perf_counter()
            moved = jax.tree.map(lambda x: jax.device_put(x, x.sharding.with_memory_kind(where)), params)  # noqa: B023
            jax.block_until_ready(moved)
            taken = time.perf_counter() - start
            yield {"what": f"{size / GIB:.3g} GiB {words}, {name}", "ms": 1e3 * taken, "gb_s": size / taken / 1e9}
        params = moved


def train(small: bool) -> Iterator[Row]:
    """The training step of `configs/controller/pod.py`: LoRA and cameras on a frozen expert, by what is recomputed."""
    config, run, _, mesh = _controller(small, 81)
    optimizer, state, frozen = train_step.setup(config, run, mesh)
    for frames, rounds in ((17, 2),) if small else ((81, 3), (249, 1)):
        config, run, batch, _ = _controller(small, frames)
        work = flops.dit(config.expert(run.expert), *latents(config), config.text_length, lora=config.lora)
        useful = run.batch * sum(part.step() for part in work)
        for remat in ("full", "save_attention"):
            run = dataclasses.replace(run, execution=dataclasses.replace(run.execution, remat=remat))
            loss = train_step.loss_of(config, run, mesh)
            state, *measured = train_step.measure(loss, run, mesh, optimizer, state, frozen, batch, rounds)
            yield _step_row(f"training step, {_tokens(config)}, remat {remat}", useful, *measured)


def _step_row(what: str, useful: float, compiling: float, each: float, size: int) -> Row:
    row = {"what": what, "ms": 1e3 * each, "tflops": useful / each / 1e12, "compile_s": compiling}
    return row | {"program_gib": size / GIB} | peak_gib()


# ---------------------------------------------------------------------------------------------------- the planner


def planner(small: bool) -> Iterator[Row]:
    """Four shots planned by random weights of the paper's planner in bf16: text of 256 tokens, 8 poses a shot."""
    config, shots, poses = (planner_nano() if small else PlannerConfig()), 4, 2 if small else 8
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])

    def make():
        params = init("planner", config, jax.random.key(0))
        return {**params, "vlm": jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params["vlm"])}

    director = Director(config, create(make, mesh), None, Execution(attention=kernel(), dtype="bfloat16"))
    for batch in (1, 64):
        yield from attempt(f"batch {batch}", _plans, director, batch, shots, poses)
    # The planner's weights must be gone before the training step asks for the memory.
    del director
    yield from attempt("training step", _planner_step, small, mesh)


def _plans(director, batch, shots, poses) -> Iterator[Row]:
    config = director.config
    rng, queries, tokens = np.random.default_rng(0), config.num_queries, sequence_length(config.tokens, [poses] * shots)
    text = 32 if config.text.hidden_size < 64 else 256
    slot_S = np.concatenate([np.full(text, -1), np.arange(shots * queries)]).astype(np.int32)
    ids_BS = rng.integers(5, config.text.vocab_size, (batch, len(slot_S))).astype(np.int32)
    inputs = {
        "text_ids_BS": np.where(slot_S < 0, ids_BS, 0),
        "slot_BS": np.broadcast_to(slot_S, ids_BS.shape),
        "real_BS": np.ones(ids_BS.shape, bool),
    }
    counts_BK = np.full((batch, shots), poses, np.int32)

    limit, grammar = tokens - 1, Grammar.of_planner(config, shots)
    draw = Draw.of(grammar, jax.random.key(0), batch, counts_BK=counts_BK, limit=limit)

    def run():
        return decode(director, inputs, draw)

    start = time.perf_counter()
    jax.block_until_ready(run())
    first = time.perf_counter() - start
    each = seconds(run, rounds=3)
    prefix = shots * queries + shots - 1
    size = decode_benchmark.bytes_per_step(director.decoder, config.decoder, batch, prefix, tokens)
    yield {
        "what": f"{tokens - 1} tokens, text read too, batch {batch}",
        "ms": 1e3 * each,
        "ms_a_step": 1e3 * each / (tokens - 1),
        "tokens_s": batch * (tokens - 1) / each,
        "gb_s": size * (tokens - 1) / each / 1e9,
        "first_s": first,
    } | peak_gib()


def _planner_step(small: bool, mesh: Mesh) -> Iterator[Row]:
    """A step of `configs/planner/qwen3vl_2b.py` with its longest screenplays: four shots, 249 frames."""
    values = qwen3vl_2b.get_config().to_dict() | {"batch": 2 if small else 8}
    if small:
        values |= {"model": dataclasses.asdict(planner_nano()), "text_lengths": (16, 32, 48, 64)}
    values["execution"] |= {"attention": kernel()}
    run = read_config(values)
    shapes = outline(run, mesh)
    trainable, frozen = split_frozen(make_variables(Planner(run.model, run.execution), run, mesh))
    # The task reads its frozen language model in this dtype; here it is random, and begins in float32.
    frozen = jax.tree.map(lambda leaf: leaf.astype(run.execution.dtype), frozen)
    rng = np.random.default_rng(0)
    batch = {name: rng.integers(3, 200, x.shape).astype(x.dtype) for name, x in shapes.batch.items()}
    optimizer = make_optimizer(run)
    state = init_state(trainable, optimizer[0], ema=run.ema > 0)
    useful = run.batch * sum(part.step() for part in shapes.work)
    _, *measured = train_step.measure(
        shapes.loss, run, mesh, optimizer, state, frozen, batch, rounds=3, layout=shapes.bucket
    )
    (batch_size, text), poses = batch["text_ids_BS"].shape, batch["pose_ids_BN"].shape[1]
    what = f"training step, batch {batch_size}, {text} text places and {poses} pose tokens"
    yield _step_row(f"{what}, remat {run.execution.remat}", useful, *measured)


# ---------------------------------------------------------------------------------------------------- the VAE


def vae(small: bool) -> Iterator[Row]:
    """Wan's VAE with random weights decodes a film of 480x832, one latent frame after the other."""
    config, frames, height, width = (vae_small(), 9, 64, 96) if small else (WanVAEConfig(), 33, 480, 832)
    variables = jax.jit(lambda: {"params": init("vae", config, jax.random.key(0))})()
    for dtype in ("bfloat16", "float32"):
        yield from attempt(f"decode in {dtype}", _decode_film, config, variables, dtype, frames, height, width)


def _decode_film(config, variables, dtype, frames, height, width) -> Iterator[Row]:
    network, space, step = WanVAE(config, Execution(dtype=dtype)), space_factor(config), time_factor(config)
    shape = 1, (frames - 1) // step + 1, height // space, width // space, config.latent_channels
    latents_BTHWC, taken = jax.random.normal(jax.random.key(1), shape), []
    start = time.perf_counter()
    for chunk in decode_chunks(network, variables, latents_BTHWC):
        jax.block_until_ready(chunk)
        taken.append(time.perf_counter() - start)
        start = time.perf_counter()
    each = statistics.median(taken[2:])  # the first two compile
    work = [flops.vae(config, n, height, width)[1].forward for n in (frames, frames - step)]
    yield {
        "what": f"decode a latent frame ({step} of {height}x{width}), {dtype}",
        "ms": 1e3 * each,
        "tflops": (work[0] - work[1]) / each / 1e12,
        "compile_s": taken[0] + taken[1] - 2 * each,
    } | peak_gib()


# ---------------------------------------------------------------------------------------------------- a small film


def small_film(small: bool) -> Iterator[Row]:
    """The shipped networks make the film of examples/red_coat.txt as `shotverse film` does, up to its frames.

    Then the same plan and four steps of the film on the CPU of this machine: error is the norm of the difference over
    the norm, of poses or latents.
    """
    start = time.perf_counter()
    director, cinematographer = Director.load(), Cinematographer.load()
    yield {"what": "load planner_small and controller_small", "ms": 1e3 * (time.perf_counter() - start)}
    steps = 2 if small else cinematographer.config.steps
    for name in ("first time", "again"):
        yield _make(director, cinematographer, steps, name)
    exact = Director.load(dtype="float32"), Cinematographer.load(dtype="float32")
    yield from attempt("beside the CPU", _beside_cpu, *exact)


def _take(director, cinematographer, sampling=SAMPLERS["nucleus"]) -> Take:
    screenplay = read_screenplay(SCREENPLAY)
    [[path]] = plan(director, [screenplay], sampling=sampling)
    return prepare(cinematographer, screenplay, path)


def _make(director, cinematographer, steps, name) -> Row:
    start = time.perf_counter()
    take = _take(director, cinematographer)
    planned = time.perf_counter()
    latents_BTHWC = jax.block_until_ready(generate(cinematographer, [take], steps=steps))
    filmed = time.perf_counter()
    frames = sum(chunk.shape[1] for chunk in frames_of(cinematographer, latents_BTHWC))
    end = time.perf_counter()
    return {
        "what": f"{frames} frames of {take.trajectory.height}x{take.trajectory.width}, {steps} steps, {name}",
        "ms": 1e3 * (end - start),
        "plan_ms": 1e3 * (planned - start),
        "denoise_ms": 1e3 * (filmed - planned),
        "decode_ms": 1e3 * (end - filmed),
    } | peak_gib()


def _beside_cpu(director, cinematographer) -> Iterator[Row]:
    """director and cinematographer in float32; the products of a GPU are of less precision unless it is asked for."""

    def results(director, cinematographer, take=None):
        take = take or _take(director, cinematographer, SAMPLERS["greedy"])
        return take, np.asarray(generate(cinematographer, [take], steps=4))

    cpu = jax.devices("cpu")[0]
    on_cpu = dataclasses.replace(director, params=jax.device_put(director.params, cpu))
    cpu_take, cpu_latents = results(on_cpu, jax.device_put(cinematographer, cpu))
    with jax.default_matmul_precision("highest"):
        take, _ = results(director, cinematographer)
        exact = results(director, cinematographer, cpu_take)[1]
    fast = results(director, cinematographer, cpu_take)[1]
    poses = take.trajectory.pose_T34, cpu_take.trajectory.pose_T34
    yield {"what": "plan, likeliest tokens, against the CPU's, exact products", "error": distance(*poses)}
    yield {"what": "latents of 4 steps against the CPU's, exact products", "error": distance(exact, cpu_latents)}
    yield {"what": "the same, the device's default products", "error": distance(fast, cpu_latents)}
