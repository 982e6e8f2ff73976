"""Scores of a captioner: how often its words about held-out previews of the stage are right."""

from collections.abc import Callable, Sequence

import numpy as np

from shotverse_jax.data.captioner_source import Clip, StageClips
from shotverse_jax.infer.captions import Captions
from shotverse_jax.screenplay.slots import agreement, read_slots

FRAMES, HEIGHT, WIDTH = 16, 48, 80
TOGETHER = 32  # clips that are rendered and read before the progress is called


def caption_held_out(
    captioner: Captions, count: int = 300, seed: int = 0, progress: Callable[[str, int, int], None] | None = None
) -> dict[str, float]:
    """Returns the scores of the likeliest captions of `count` held-out previews, 16 frames of 48 x 80 pixels.

    Half of them have combinations of move and size, or of two moves, that training never shows. The keys are those of
    `score_captions`.
    """
    shots, clips, texts = StageClips("test", FRAMES, HEIGHT, WIDTH, variants=False), [], []
    for start in range(0, count, TOGETHER):
        part = shots.pick(seed, range(start, min(start + TOGETHER, count)))
        texts += [text for [text] in captioner.captions([clip.frames_THWC for clip in part], 1, 0.0)]
        clips += part
        if progress is not None:
            progress("clips", len(clips), count)
    return score_captions(clips, texts)


def score_captions(clips: Sequence[Clip], texts: Sequence[str]) -> dict[str, float]:
    """Returns the shares of captions that are right, as `screenplay.slots` reads them and the truth.

    Keys: move, all motions of the shot and no other; size, every size that the truth names and no other; first_size,
    one of these sizes at least; angle; position; move_and_size; agreement, the mean of `slots.agreement` with the
    truth; swapped, the same with the truth of the next clip; move_of_1, move_of_2, …, by the number of different
    motions; clips, how many.
    """
    wanted, said = ([read_slots(text) for text in part] for part in ([clip.caption for clip in clips], texts))
    pairs = list(zip(wanted, said, strict=True))
    move = np.array([a.motions == b.motions for a, b in pairs])
    size = np.array([a.sizes == b.sizes for a, b in pairs])
    scores = {
        "move": move.mean(),
        "size": size.mean(),
        "first_size": np.mean([a.sizes == b.sizes or bool(a.sizes & b.sizes) for a, b in pairs]),
        "angle": np.mean([a.angles == b.angles for a, b in pairs]),
        "position": np.mean([a.positions == b.positions for a, b in pairs]),
        "move_and_size": (move & size).mean(),
        "agreement": np.mean([agreement(a, b) for a, b in pairs]),
        "swapped": np.mean([agreement(a, b) for a, b in zip(wanted[1:] + wanted[:1], said, strict=True)]),
    }
    counts = np.array([len(slots.motions) for slots in wanted])
    scores |= {f"move_of_{n}": move[counts == n].mean() for n in np.unique(counts)}
    return {name: float(value) for name, value in scores.items()} | {"clips": len(clips)}
