"""How often CLaTr finds the right caption among 100, on held-out shots of the stage.

    python -m benchmarks.clatr_retrieval [MODEL]

Three kinds of captions, and two kinds of galleries. "different": 100 shots of which no two have the same motion in the
words of a `Movement` caption. "as they come": 100 shots one after the other, among which several often have the same
motion; the captions of all of these count as right.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from shotverse_jax.data.clatr_source import STYLES, Shot, StageShots
from shotverse_jax.evaluation.features.clatr import SMALL, CLaTrReader
from shotverse_jax.evaluation.metrics.retrieval import retrieval
from shotverse_jax.inputs.clatr import to_items

SIZE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default=SMALL, help="name or folder of a CLaTr with its text tower")
    parser.add_argument("--galleries", type=int, default=10)
    parser.add_argument("--split", choices=("test", "train"), default="test")
    args = parser.parse_args()
    reader = CLaTrReader.load(args.model)
    print(f"{reader.title}: right caption first among {SIZE} ({args.galleries} galleries, split {args.split})")
    for style in STYLES:
        for name, different in (("different", True), ("as they come", False)):
            galleries = make_galleries(style, args.split, args.galleries, different)
            found = [score(reader, shots, different) for shots in galleries]
            values = {key: np.mean([each[key] for each in found]) for key in found[0]}
            error = np.std([each["text_r1"] for each in found]) / np.sqrt(len(found))
            print(
                f"{style:<10}{name:<14}first {values['text_r1']:.3f} ±{error:.3f}  "
                f"among five {values['text_r5']:.3f}  path of a caption first {values['trajectory_r1']:.3f}"
            )


def make_galleries(style: str, split: str, count: int, different: bool) -> Iterator[list[Shot]]:
    """`count` lists of `SIZE` shots of consecutive examples, with captions of one style."""
    shots, number = StageShots(split, (style,)), 0
    for _ in range(count):
        gallery: list[Shot] = []
        seen: set[str] = set()
        while len(gallery) < SIZE:
            for shot in shots.shots(number):
                if not different or shot.same not in seen:
                    gallery.append(shot)
                    seen.add(shot.same)
            number += 1
        yield gallery[:SIZE]


def score(reader: CLaTrReader, shots: list[Shot], different: bool) -> dict[str, float]:
    """`retrieval` in one gallery."""
    items = to_items(reader.config, np.stack([shot.features_TC for shot in shots]))
    text = reader.read_captions([shot.caption for shot in shots]).latents
    same = None if different else np.equal.outer(*[np.array([shot.same for shot in shots])] * 2)
    return retrieval(reader.read_items(items).mu_ND, text.mu_ND, same)


if __name__ == "__main__":
    main()
