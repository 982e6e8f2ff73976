"""Which steps are skipped, and what a skipped step does."""

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.flow.schedule import sigmas
from shotverse_jax.flow.skipping import steps_to_skip
from shotverse_jax.flow.solver import begin, run_expert

CHANGES = (0.0, *[0.1] * 19)


def test_the_change_since_the_last_new_velocity_decides():
    skipped = steps_to_skip(CHANGES, 20, 3.0, 12, 0.11)
    assert [i for i in range(20) if skipped[i]] == [4, 6, 8, 10, 13, 15, 17]
    assert steps_to_skip(CHANGES, 20, 3.0, 12, 0.09) == (False,) * 20
    # However small the change: the first fifth, the first step of the low expert and the last step stay.
    often = steps_to_skip((0.0,) * 20, 20, 3.0, 12, 0.1)
    assert [i for i in range(20) if not often[i]] == [0, 1, 2, 3, 6, 9, 12, 15, 18, 19]


def test_another_number_of_steps_is_read_off_the_noise_levels():
    """Twice the steps change half as much each, so that twice as many in a row are within the threshold."""
    assert sum(steps_to_skip(CHANGES, 40, 1.0, 39, 0.11)) > 2 * sum(steps_to_skip(CHANGES, 20, 1.0, 19, 0.11)) - 3
    assert steps_to_skip(CHANGES, 40, 1.0, 39, 0.049) == (False,) * 40


def test_a_skipped_step_goes_on_along_the_last_velocity():
    levels, skipped = sigmas(4, 1.0), (False, True, False, True)
    x = jnp.ones(3)

    @jax.jit
    def some(state, i, j):
        return run_expert(lambda x, sigma: x * sigma, state, levels, "euler", (i, j), skipped)

    def run(parts):
        state = begin(x, levels, "euler", skipping=True)
        for part in parts:
            state = some(state, *part)
        return state[0]

    expected = 1.0
    for first in (0, 2):
        expected -= 0.5 * expected * levels[first]
    np.testing.assert_allclose(run([(0, 4)]), np.full(3, expected), rtol=1e-6)
    np.testing.assert_allclose(run([(0, 1), (1, 2), (2, 4)]), run([(0, 4)]), rtol=1e-6)  # a state may stop in between
