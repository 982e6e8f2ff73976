"""What makes films faster, and what it costs: seconds of a film and the error of its latents, beside the plain run.

    python -m benchmarks.faster                                   # the controller that ships, on its own test scenes
    python -m benchmarks.faster --calibrate --model controller    # measures by what steps are skipped

Every line is an option of `Cinematographer.film` (and of `shotverse_jax.film`), off unless it is asked for. `passes`
counts forward passes of the network, prompt and negative prompt each, as shares of the plain run's. `error` is the RMS
of the difference of the latents over the RMS of the plain ones, the mean over films. Fewer steps are given too: an
option must beat them at as many passes. Seconds are the least over films, of denoising alone, without compiling.
"""

import argparse
import time

import jax
import numpy as np

from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.denoise import begin, generate, measure_change
from shotverse_jax.infer.take import prepare

VARIANTS = {
    "plain": {},
    "2/3 of the steps": {"share": 2 / 3},
    "half of the steps": {"share": 1 / 2},
    "guidance_range 0 to 0.75": {"guidance_range": (0.0, 0.75)},
    "guidance_range 0 to 0.5": {"guidance_range": (0.0, 0.5)},
    "guidance_range 0.25 to 1": {"guidance_range": (0.25, 1.0)},
    "one_pass": {"one_pass": True},
    "skip 0.05": {"skip": 0.05},
    "skip 0.1": {"skip": 0.1},
    "skip 0.2": {"skip": 0.2},
    "weights int8": {"quantize": "int8"},
    "weights float8": {"quantize": "float8"},
}


def takes_of(crew: Cinematographer, count: int, split: str = "test"):
    """Takes of scenes of the stage with two shots and their true cameras."""
    examples = [sample_example(i, split, num_shots=2) for i in range(count)]
    return [prepare(crew, e.screenplay, e.trajectory) for e in examples]


def options_of(crew: Cinematographer, variant: dict) -> dict:
    """The options of `generate` for a variant; a share of the steps becomes a number."""
    options = dict(variant)
    if share := options.pop("share", None):
        options["steps"] = round(share * crew.config.steps)
    return options


def passes(crew: Cinematographer, take, options: dict) -> int:
    """How many samples go through the network for a film."""
    how = begin(crew, [take], **options).denoising
    first, end = how.guided_steps if how.guidance != 1 else (0, 0)
    skipped = how.skipped or (False,) * how.steps
    return sum(1 + (first <= i < end) for i in range(how.steps) if not skipped[i])


def films(crew: Cinematographer, takes, options: dict) -> tuple[list[np.ndarray], float]:
    """The latents of every take, and the least of their seconds."""
    jax.block_until_ready(generate(crew, takes[:1], seed=[0], **options))
    latents, seconds = [], []
    for number, take in enumerate(takes):
        start = time.perf_counter()
        latents.append(np.asarray(generate(crew, [take], seed=[number], **options)))
        seconds.append(time.perf_counter() - start)
    return latents, min(seconds)


def error(found: list[np.ndarray], plain: list[np.ndarray]) -> float:
    """The mean over films of the relative RMS error of their latents."""
    rms = [
        np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(theirs**2)) for ours, theirs in zip(found, plain, strict=True)
    ]
    return float(np.mean(rms))


def calibrated(crew: Cinematographer, takes) -> tuple[float, ...]:
    """`velocity_change` of a controller: the mean over films, to four digits."""
    changes = [measure_change(crew, [take], seed=number) for number, take in enumerate(takes)]
    return tuple(round(float(value), 4) for value in np.mean(changes, axis=0))


def main() -> None:
    """Prints a line for every variant, or the result of a calibration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="controller_small")
    parser.add_argument("--films", type=int, default=4)
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--only", default="", help="variants whose name contains this")
    args = parser.parse_args()
    crew = Cinematographer.load(args.model)
    if args.calibrate:
        print(f'"velocity_change": {list(calibrated(crew, takes_of(crew, args.films, "train")))}')  # for config.json
        return
    takes = takes_of(crew, args.films)
    plain, seconds = films(crew, takes, {})
    print(f"{args.model}, {len(takes)} films, {crew.config.steps} steps, {jax.devices()[0].device_kind}")
    print(f"{'':28} {'s a film':>9} {'faster':>7} {'passes':>7} {'error':>8}")
    print(f"{'plain':28} {seconds:9.2f} {1:7.2f} {1:7.2f} {0:8.4f}")
    for name, variant in VARIANTS.items():
        if variant and args.only in name and (crew.config.velocity_change or "skip" not in variant):
            options = options_of(crew, variant)
            quantize = options.pop("quantize", None)
            latents, took = films(crew.quantized(quantize) if quantize else crew, takes, options)
            share = passes(crew, takes[0], options) / passes(crew, takes[0], {})
            print(f"{name:28} {took:9.2f} {seconds / took:7.2f} {share:7.2f} {error(latents, plain):8.4f}", flush=True)


if __name__ == "__main__":
    main()
