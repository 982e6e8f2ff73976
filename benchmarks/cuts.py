"""Precision, recall and F1 (within 2 frames) of every detector of shots, on films of the stage whose shots are known.

    python -m benchmarks.cuts [--films 12] [--detectors difference transnetv2@0.3 scenedetect]

`cuts`: films of the grammar, all transitions cuts. `mixed`: single shots joined by cuts, dissolves of 8 to 24 frames,
and fades through black of as many frames to either side; a gradual transition is found where the middle of one that was
found is within 2 frames of its own, or lies in it and the other way round.
"""

import argparse

import numpy as np

from shotverse_jax.calibration.shots import Transition, load_detector
from shotverse_jax.data.stage_films import film_clip

HEIGHT, WIDTH, FPS = 144, 216, 24.0


def cut_film(seed: int) -> tuple[np.ndarray, list[Transition]]:
    """A film of the stage and its cuts."""
    clip = film_clip(seed, "test", 97, HEIGHT, WIDTH, FPS)
    starts = [start for start, _ in clip.trajectory.spans[1:]]
    return clip.video_THWC, [Transition(start, start, "cut", 1.0) for start in starts]


def mixed_film(seed: int) -> tuple[np.ndarray, list[Transition]]:
    """Three shots of the stage joined in three ways."""
    rng, film, true = np.random.default_rng(seed), [], []
    for number in range(3):
        shot = film_clip(10_000 + 3 * seed + number, "test", 61, HEIGHT, WIDTH, FPS, num_shots=1).video_THWC
        kind, length = rng.choice(["cut", "dissolve", "fade"]), int(rng.choice([8, 12, 16, 24]))
        if not film or kind == "cut":
            true += [Transition(len(film), len(film), "cut", 1.0)] if film else []
            film += list(shot)
            continue
        start = len(film) - length
        part = np.arange(1, length + 1) / (length + 1)
        old, new = np.stack(film[start:]), shot[:length]
        down, up = (w[:, None, None, None] for w in (1 - part, part))
        if kind == "dissolve":
            film[start:] = (old * down + new * up).astype(np.uint8)
            true.append(Transition(start, start + length, "dissolve", 1.0))
        else:
            film[start:] = (old * down).astype(np.uint8)
            film += list((new * up).astype(np.uint8))
            true.append(Transition(start, start + 2 * length, "fade", 1.0))
        film += list(shot[length:])
    return np.stack(film), true


def hits(found: list[Transition], true: list[Transition]) -> int:
    """How many true transitions are found; each that was found counts once."""
    left, count = list(found), 0
    for one in true:
        match = next((other for other in left if _same(one, other)), None)
        if match is not None:
            left.remove(match)
            count += 1
    return count


def _same(one: Transition, other: Transition) -> bool:
    if abs(one.middle - other.middle) <= 2:
        return True
    return one.start <= other.middle < one.end and other.start <= one.middle < other.end


def reduced(film: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames of the size that a detector wants; FFmpeg does it for files."""
    from PIL import Image

    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in film])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--films", type=int, default=12)
    parser.add_argument("--detectors", nargs="+", default=["difference", "transnetv2@0.3", "transnetv2", "scenedetect"])
    args = parser.parse_args()
    sets = {
        name: [make(seed) for seed in range(args.films)] for name, make in (("cuts", cut_film), ("mixed", mixed_film))
    }
    print("| detector | films | true | found | precision | recall | F1 |\n|---|---|---|---|---|---|---|")
    for text in args.detectors:
        name, _, threshold = text.partition("@")
        detector = load_detector(name, **({"threshold": float(threshold)} if threshold else {}))
        for title, films in sets.items():
            size = detector.size(WIDTH, HEIGHT)
            pairs = [(detector(reduced(film, size)), true) for film, true in films]
            right = sum(hits(found, true) for found, true in pairs)
            asked, got = (sum(len(pair[i]) for pair in pairs) for i in (1, 0))
            scores = right / max(got, 1), right / max(asked, 1), 2 * right / max(asked + got, 1)
            row = (text, title, asked, got, *(f"{score:.2f}" for score in scores))
            print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
