"""Speed of lists of films and plans beside loops over diffusers and transformers; and the memory of a long list.

    python -m benchmarks.batch                       # films, plans, VAE, text encoder
    python -m benchmarks.batch --only films,vae --small
    python -m benchmarks.batch --memory 1000         # resident memory while a list of 1000 plans is made

Both sides run in this process by turns, in float32, with the same random weights in the sizes of `controller_small` and
`planner_small`; PyTorch runs eagerly in inference mode. Both have run once before, so that no compiling is measured.
Times are medians over the rounds, and it is checked that both compute the same. The ratio is their time over ours;
that of processor time, of all threads together, is the steadier one where other programs run beside.

Films go from text to uint8 frames in both. They have Wan's own features (its 3D RoPE, no cameras, all of a padded
prompt seen), because diffusers has no others. Plans are drawn by nucleus sampling with the same number of tokens; ours
are read back as cameras, and tokens that no camera has are excluded, which transformers is spared.
"""

import argparse
import contextlib
import dataclasses
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np

from shotverse_jax.config.controller import controller_small, text_small, vae_small
from shotverse_jax.config.planner import planner_nano, planner_small
from shotverse_jax.flow.noise import film_noise
from shotverse_jax.infer import plan
from shotverse_jax.infer.batch import run_batch
from shotverse_jax.infer.cinematographer import Cinematographer, Design
from shotverse_jax.infer.decode import Sampling
from shotverse_jax.infer.denoise import decode
from shotverse_jax.infer.execution import choose
from shotverse_jax.infer.plan import Director, encode, sample_ids
from shotverse_jax.infer.samples import keys_of
from shotverse_jax.infer.take import Take, prepare, still
from shotverse_jax.infer.work import PlanWork
from shotverse_jax.inputs.items import Item
from shotverse_jax.inputs.prompt import tokenize_screenplay
from shotverse_jax.inputs.tokenizer import train_text_tokenizer
from shotverse_jax.models.umt5 import UMT5Encoder
from shotverse_jax.models.wan_vae import space_factor, time_factor
from shotverse_jax.screenplay import Screenplay, read_screenplay, to_text
from shotverse_jax.weights import abstract

EXAMPLES = Path(__file__).parents[1] / "examples"


def screenplays() -> list[Screenplay]:
    """Returns the screenplays of examples/."""
    files = sorted(p for p in EXAMPLES.iterdir() if p.suffix in (".txt", ".yaml", ".json"))
    return [read_screenplay(path) for path in files]


def tokenizer(plays: list[Screenplay], size: int):
    """Returns a tokenizer that has learned the words of the screenplays."""
    return train_text_tokenizer([to_text(play, "holocine") for play in plays], size)


def drawn(shapes: dict, seed: int) -> dict:
    """Returns random parameters as large as those that a network starts with, none of them zero, on the device."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        stacked = path[0].key in ("layers", "blocks") or len(path) > 1 and path[1].key == "layers"
        fan_in = np.prod(leaf.shape[stacked:-1]) if leaf.ndim > 1 + stacked else 25
        fan_in = 1 if path[-1].key == "embedding" else max(fan_in, 1)
        center = 1.0 if path[-1].key in ("scale", "gamma") else 0.0
        return jax.device_put((center + rng.normal(size=leaf.shape) / np.sqrt(fan_in)).astype(leaf.dtype))

    return jax.tree_util.tree_map_with_path(draw, shapes)


def cinematographer(plays: list[Screenplay], small: bool) -> Cinematographer:
    """Returns a controller of the size of `controller_small` that diffusers can have too, with random weights.

    small: fewer layers and channels.
    """
    config, text, vae = controller_small(), text_small(), vae_small()
    dit = dataclasses.replace(config.dit, rope="wan3d", camera=False, **({"num_layers": 2} if small else {}))
    vae = dataclasses.replace(vae, base_size=8) if small else vae
    config = dataclasses.replace(
        config, dit=dit, lora=None, camera="none", windows="none", see_padding=True, steps=4 if small else config.steps
    )
    execution = dataclasses.replace(choose()[0], unroll=False)  # as `Cinematographer.load` does
    experts = ("base", "base")
    design = Design(config, text, vae, tokenizer(plays, text.vocab_size), execution, experts=experts)
    parts = {name: abstract("controller", config, expert="base") for name in ("high", "low")}
    parts |= {"text": abstract("text_encoder", text), "vae": abstract("vae", vae)}
    return Cinematographer(**{name: drawn(part, i) for i, (name, part) in enumerate(parts.items())}, design=design)


def director(plays: list[Screenplay], small: bool) -> Director:
    """Returns a planner of the size of `planner_small` with random weights; small: of `planner_nano`.

    It takes more shots and longer sequences, so that it plans all screenplays of examples/.
    """
    config = planner_nano() if small else planner_small()
    config = dataclasses.replace(
        config,
        max_text_tokens=1024,
        max_shots=8,
        decoder=dataclasses.replace(config.decoder, max_positions=1024),
        tokens=planner_small().tokens,
    )
    params = drawn(abstract("planner", config), 0)
    return Director(config, params, tokenizer(plays, config.text.vocab_size), choose()[0])


# ------------------------------------------------------------------------------------------------------ side by side


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two programs that do the same.

    Attributes:
        name: what they do.
        ours, theirs: each does all `count` items.
        count: items of a call.
        unit: of the speed that is printed; "an hour" or "a second".
        other: the name of the other package.
        agreement: what was found when their results were compared.
    """

    name: str
    ours: Callable[[], object]
    theirs: Callable[[], object]
    count: int
    unit: str
    other: str
    agreement: str


def film_pair(args, plays: list[Screenplay]) -> Pair:
    """Films of a list, text to frames, beside diffusers' pipeline called for one after the other."""
    from . import originals

    films = cinematographer(plays, args.small)
    config, plays = films.config, list(itertools.islice(itertools.cycle(plays), args.films))
    pipe, seeds = originals.pipeline(films), list(range(args.films))
    steps = args.steps or config.steps

    def ours():
        takes = [take_of(films, play) for play in plays]
        made = {film.index: film.frames_THWC for film in films.film(takes, seeds, steps=steps)}
        return [made[index] for index in range(len(plays))]

    def theirs():
        return [their_film(index) for index in range(len(plays))]

    def noise(seed):
        time, space = time_factor(films.design.vae_config), space_factor(films.design.vae_config)
        shape = (config.frames - 1) // time + 1, config.height // space, config.width // space
        return film_noise(keys_of([seed], [0])[0], (*shape, config.dit.latent_channels))

    def their_film(index):
        video = pipe(
            prompt=to_text(plays[index], "holocine"),
            negative_prompt=config.negative,
            height=config.height,
            width=config.width,
            num_frames=config.frames,
            num_inference_steps=steps,
            guidance_scale=config.guidance,
            latents=originals.torch.tensor(np.moveaxis(np.asarray(noise(seeds[index])), -1, 0)[None]),
            max_sequence_length=config.text_length,
            output_type="np",
        ).frames[0]
        return (video * 255).round().astype(np.uint8)

    name = f"films of {config.frames} frames {config.height}x{config.width}, {steps} steps"
    return Pair(name, ours, theirs, len(plays), "an hour", "diffusers", same_frames(ours(), theirs()))


def take_of(films: Cinematographer, play: Screenplay) -> Take:
    """Returns a take of a screenplay through a camera that stands still, in the controller's own size."""
    return prepare(films, play, still(play), frames=films.config.frames)


def same_frames(ours: list[np.ndarray], theirs: list[np.ndarray]) -> str:
    """Says how far uint8 frames lie apart."""
    apart = np.abs(np.stack(ours).astype(int) - np.stack(theirs))
    return f"{np.mean(apart == 0):.2%} of the pixels equal, the others {np.max(apart)} of 255 apart at most"


def plan_pair(args, plays: list[Screenplay]) -> Pair:
    """Plans of a list of mixed screenplays beside `generate` for one after the other."""
    from . import originals

    planner, sampling = director(plays, args.small), Sampling()
    plays = list(itertools.islice(itertools.cycle(plays), args.plans))
    their_planner = originals.Planner(planner.params, planner.config)
    drawn_ours = sample_ids(planner, plays, seed=range(len(plays)), sampling=sampling)
    lengths = [sampled.ids_JN.shape[1] - 1 for sampled in drawn_ours]

    def ours():
        return list(planner.plan(plays, range(len(plays)), sampling=sampling, candidates=1))

    def theirs():
        return [
            their_planner.generate(encode(planner, play), length, sampling)
            for play, length in zip(plays, lengths, strict=True)
        ]

    def apart(play, sampled):
        theirs_N = their_planner.log_probs(encode(planner, play), sampled.ids_JN[0])
        return np.max(np.abs(sampled.log_probs_JN[0, 1:] - theirs_N))

    largest = max(map(apart, plays[:4], drawn_ours[:4]))
    buckets = len({planner.bucket(play) for play in plays})
    name = f"plans of {min(lengths)} to {max(lengths)} tokens, {buckets} buckets"
    agreement = f"log-probabilities of our tokens {largest:.1e} apart at most"
    ours()
    theirs()
    return Pair(name, ours, theirs, len(plays), "a second", "transformers", agreement)


def vae_pair(args, plays: list[Screenplay]) -> Pair:
    """Latents to uint8 frames, one film after the other."""
    from . import originals

    films = cinematographer(plays, args.small)
    config, design = films.config, films.design
    vae = originals.video_autoencoder(films.vae, design.vae_config)
    frames, space = (config.frames - 1) // time_factor(design.vae_config) + 1, space_factor(design.vae_config)
    shape = 1, frames, config.height // space, config.width // space, config.dit.latent_channels
    latents_BTHWC = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    ours_in = jax.device_put(latents_BTHWC)
    mean, std = (np.asarray(x, np.float32) for x in (design.vae_config.latent_mean, design.vae_config.latent_std))
    their_in = originals.torch.tensor(np.moveaxis(latents_BTHWC * std + mean, -1, 1))

    def ours():
        return np.concatenate([chunk_BTHWC[0] for chunk_BTHWC in decode(films, ours_in)])

    def theirs():
        with originals.torch.inference_mode():
            return originals.levels(vae.decode(their_in, return_dict=False)[0])

    name = f"VAE decode of {config.frames} frames {config.height}x{config.width}"
    return Pair(name, ours, theirs, 1, "a second", "diffusers", same_frames([ours()], [theirs()]))


def text_pair(args, plays: list[Screenplay]) -> Pair:
    """Token ids to states, one prompt after the other."""
    from . import originals

    films = cinematographer(plays, args.small)
    design, length = films.design, films.config.text_length
    prompts = [tokenize_screenplay(play, design.tokenizer, length) for play in plays]
    model = originals.text_encoder(films.text, design.text_config)
    encoder = UMT5Encoder(design.text_config, design.execution)
    apply = jax.jit(lambda params, ids_BS, real_BS: encoder.apply({"params": params}, ids_BS, real_BS))
    tensor = originals.torch.tensor

    def ours():
        return [np.asarray(apply(films.text, p.ids_S[None], p.real_S[None]))[0] for p in prompts]

    def theirs():
        with originals.torch.inference_mode():
            return [
                model(input_ids=tensor(p.ids_S[None]), attention_mask=tensor(p.real_S[None]))[0][0].numpy()
                for p in prompts
            ]

    real = np.stack([p.real_S for p in prompts])
    a, b = (np.stack(run())[real] for run in (ours, theirs))
    agreement = f"states {np.max(np.abs(a - b)) / np.sqrt(np.mean(b**2)):.1e} of their RMS apart at most"
    return Pair(f"UMT5 of {length} tokens", ours, theirs, len(prompts), "a second", "transformers", agreement)


PAIRS = {"films": film_pair, "plans": plan_pair, "vae": vae_pair, "text": text_pair}


def compare(pair: Pair, rounds: int) -> str:
    """Returns the line of a pair: its programs run by turns, in another order every second round; medians count.

    PyTorch runs on all cores and on one; the faster counts. Its threads wait for each other at every operation, and
    where other programs hold a core one thread is faster.
    """
    import torch

    cores = os.cpu_count()
    taken = {side: [] for side in ("ours", *sorted({1, cores}))}
    for number in range(rounds):
        for side in list(taken)[:: 1 - 2 * (number % 2)]:
            run = pair.ours
            if side != "ours":
                torch.set_num_threads(side)
                run = pair.theirs
            wall, processor = time.perf_counter(), time.process_time()
            run()
            taken[side].append((time.perf_counter() - wall, time.process_time() - processor))
    median = {side: [statistics.median(values) for values in zip(*times, strict=True)] for side, times in taken.items()}
    ours = median.pop("ours")
    threads = min(median, key=lambda side: median[side][0])
    theirs = median[threads]
    scale = {"an hour": 3600, "a second": 1}[pair.unit] * pair.count
    return (
        f"{pair.name}: shotverse_jax {scale / ours[0]:.3g} {pair.unit}, {pair.other} {scale / theirs[0]:.3g} "
        f"{pair.unit} on {threads} of {cores} cores, ratio {theirs[0] / ours[0]:.2f} (of processor time "
        f"{theirs[1] / ours[1]:.2f}); {pair.agreement}"
    )


# ------------------------------------------------------------------------------------------------------------ memory


def resident() -> float:
    """Returns the MB of memory that this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def watched(seconds: list[float]) -> Iterator[None]:
    """Adds to the list how long every block of plans was on the device: from its start until its tokens are there."""
    run = plan.decode

    def timed(*args):
        begun = time.perf_counter()
        result = jax.block_until_ready(run(*args))
        seconds.append(time.perf_counter() - begun)
        return result

    plan.decode = timed
    try:
        yield
    finally:
        plan.decode = run


def memory(count: int, plays: list[Screenplay], small: bool) -> Iterator[str]:
    """Makes a list of `count` plans; yields the resident memory on the way, then the shares of time that were used."""
    work = PlanWork(director(plays, small), settings={})
    items = [Item(f"item_{i}", play, seed=i) for i, play in zip(range(count), itertools.cycle(plays), strict=False)]
    marks, found, seconds = {count * share // 100: share for share in (10, 50, 100)}, {}, []

    def progress(what, done, total):
        for mark in [mark for mark in marks if mark <= done]:
            found[marks.pop(mark)] = resident()

    with tempfile.TemporaryDirectory() as folder, watched(seconds):
        warm = [Item(f"warm_{i}", play) for i, play in enumerate(plays)]
        run_batch(warm, work, Path(folder) / "warm")  # compiles every program
        seconds.clear()
        summary = run_batch(items, work, Path(folder) / "list", progress=progress)
    yield ", ".join(f"{size:.0f} MB at {share} %" for share, size in found.items()) + f" of {count} plans"
    yield (
        f"{summary.made} made, {summary.failed} failed in {summary.seconds:.0f} s, "
        f"{summary.made / summary.seconds:.1f} a second; results being made in {summary.busy:.1%} of the time, "
        f"the device at work in {sum(seconds) / summary.seconds:.1%}"
    )


def main():
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PAIRS), help=f"some of {','.join(PAIRS)}")
    parser.add_argument("--small", action="store_true", help="tiny networks and few steps, to see that it runs")
    parser.add_argument("--films", type=int, default=2, help="films of the list")
    parser.add_argument("--plans", type=int, default=32, help="plans of the list")
    parser.add_argument("--steps", type=int, help="denoising steps of a film (default: the model's own)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=int, metavar="N", help="make a list of N plans instead")
    args = parser.parse_args()
    plays = screenplays()
    if args.memory:
        for line in memory(args.memory, plays, args.small):
            print(line, flush=True)
        return
    unknown = set(args.only.split(",")) - set(PAIRS)
    if unknown:
        parser.error(f"--only takes some of {','.join(PAIRS)}, got {','.join(sorted(unknown))}")
    for name in args.only.split(","):
        print(compare(PAIRS[name](args, plays), args.rounds), flush=True)


if __name__ == "__main__":
    main()
