"""Steps that go on along the last velocity instead of asking the network for a new one.

The idea is MagCache's (arXiv 2506.09045): how much a network's output changes from step to step depends on the noise
level and hardly on the film, so it is measured once, and the steps whose predicted change is small are skipped. There
the norm of the residual of all blocks is measured; here it is the guided velocity itself, so that no network needs to
know of it, and the steps to skip are known before a film begins.
"""

from collections.abc import Sequence

import numpy as np

from shotverse_jax.flow.schedule import sigmas

MOST = 2  # skipped one after the other
UNTOUCHED = 0.2  # share of the steps, the first ones, that are never skipped: they decide the composition (MagCache)


def steps_to_skip(
    changes: Sequence[float], steps: int, shift: float, switch: int, threshold: float, most: int = MOST
) -> tuple[bool, ...]:
    """For each step of a run, whether it is skipped.

    A step is skipped while the change that is predicted since the last new velocity is at most the threshold. Never
    skipped are the first fifth of the steps, the first step of the low expert, and the last step, which makes the film
    from what is left of the noise.

    Args:
        changes: of each step of a run of that many steps, how much the velocity has changed since the step before it,
            as a share of its size; the first is 0. Other numbers of steps are interpolated over the noise levels.
        steps, shift: of the schedule.
        switch: the first step of the low expert.
        threshold: the largest change that is overlooked; 0 skips nothing.
        most: how many steps in a row are skipped at most.
    """
    # Seen from pure noise, so that np.interp gets levels that rise.
    known = 1 - sigmas(len(changes), shift)[:-1].astype(np.float64)
    path = np.interp(1 - sigmas(steps, shift)[:-1], known, np.cumsum(changes))
    skipped, last = [], 0
    for i in range(steps):
        kept = i < UNTOUCHED * steps or i in (switch, steps - 1) or i - last > most
        skipped.append(not kept and path[i] - path[last] <= threshold)
        last = last if skipped[-1] else i
    return tuple(bool(skip) for skip in skipped)
