"""The options of a film that are numbers, checked before anything is loaded or computed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from shotverse_jax import limits


def check_film(
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    seed: int | Sequence[int] = 0,
    steps: int | None = None,
    guidance: float | None = None,
    guidance_range: tuple[float, float] = (0.0, 1.0),
    skip: float = 0.0,
    **others: Any,
) -> None:
    """Refuses what no controller can film; the arguments are those of `infer.take.prepare` and `infer.denoise.begin`.

    others: further arguments of them, which are no numbers.

    Raises:
        ValueError: a number outside its range in `limits`, or a range that is not 0 <= first < last <= 1.
    """
    if frames is not None:
        limits.whole(frames, "the frames of a film", 1, limits.FRAMES)
    if size is not None:
        if len(size) != 2:
            raise ValueError(f"a size is a height and a width, got {limits.shown(size)}")
        for side in size:
            limits.whole(side, "height and width", 1, limits.SIDE)
    for each in seed if isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str) else [seed]:
        limits.whole(each, "a seed", 0, limits.SEEDS - 1)
    if steps is not None:
        limits.whole(steps, "the steps", 1, limits.STEPS)
    if guidance is not None:
        limits.finite(guidance, "the strength of guidance", -limits.GUIDANCE, limits.GUIDANCE)
    first, last = (limits.finite(share, "the ends of guidance_range", 0, 1) for share in guidance_range)
    if not first < last:
        raise ValueError(f"guidance acts from one share of the steps to a larger one, 0 to 1; got {first} to {last}")
    limits.finite(skip, "the change that is skipped", 0, 1)
