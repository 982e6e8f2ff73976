"""From noise to a sample: Euler and UniPC steps along a velocity field, and the loop over both experts.

A solver is made for one schedule of concrete noise levels. It is two pure functions, see `Solver`. All is float32. A
state is all that the next step needs: a run can stop after any step, show its x, and go on.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.flow.schedule import high_noise_steps

Velocity = Callable[[jax.Array, jax.Array], jax.Array]
State = tuple[Any, ...]

NEARLY_NOISE = 1 - 1e-6  # UniPC's log signal-to-noise ratio is infinite at sigma = 1; diffusers begins here instead


class Solver(NamedTuple):
    """A solver of dx/dsigma = velocity.

    start: (x) -> the state before the first step; its first entry is the current x, always.
    step: (i, state, velocity at the current x) -> the state after step i, which may be traced.
    """

    start: Callable[[jax.Array], State]
    step: Callable[[jax.Array, State, jax.Array], State]


def sample(
    high: Velocity,
    low: Velocity,
    noise: jax.Array,
    sigmas: np.ndarray,
    boundary: float,
    solver: Literal["euler", "unipc"] = "euler",
) -> jax.Array:
    """Returns the sample that `noise` flows to, float32: `begin` and all steps of `run_steps`.

    Raises:
        ValueError: as `begin`.
    """
    state = begin(noise, sigmas, solver)
    return run_steps((high, low), state, sigmas, boundary, solver)[0]


def begin(
    noise: jax.Array, sigmas: np.ndarray, solver: Literal["euler", "unipc"] = "euler", skipping: bool = False
) -> State:
    """Returns the state before the first step.

    sigmas: [steps + 1] concrete numbers, as `schedule.sigmas` makes them. skipping: whether steps will be skipped;
    the last entry of the state is then the last velocity.

    Raises:
        ValueError: an unknown solver, or sigmas that do not fall.
    """
    noise = jnp.asarray(noise, jnp.float32)
    state = _solver(sigmas, solver).start(noise)
    return (*state, jnp.zeros_like(noise)) if skipping else state


def run_steps(
    experts: tuple[Velocity, Velocity],
    state: State,
    sigmas: np.ndarray,
    boundary: float,
    solver: Literal["euler", "unipc"] = "euler",
    steps: tuple[int | jax.Array, int | jax.Array] | None = None,
) -> State:
    """Returns the state after the steps i, …, j - 1 of `steps` = (i, j); None runs them all.

    Traced i and j make one program for all parts of a run, which holds both experts and has no gradient.

    Two loops on the device: first the steps of the high-noise expert, those from sigma >= boundary, then the other's.
    Call it inside jit, with the parameters that the velocities close over as arguments.

    Args:
        experts: (high, low), each velocity(x, sigma) -> dx/dsigma of x's shape, with sigma a float32 scalar
            (`guidance.guided` makes one of a network and two conditions). One without steps is not called.
        state: of `begin` where i is 0, else what the run up to step i returned.
        sigmas, boundary, solver: the same for all parts of a run.

    Raises:
        ValueError: as `begin`; or steps that are not 0 <= i <= j <= the number of steps.
    """
    total = len(sigmas) - 1
    first, end = (0, total) if steps is None else steps
    traced = isinstance(first, jax.Array) or isinstance(end, jax.Array)
    if not traced and not 0 <= first <= end <= total:
        raise ValueError(f"a run of {total} steps has no steps from {first} to {end}")
    switch = high_noise_steps(sigmas, boundary)
    switch = jnp.clip(switch, first, end) if traced else min(max(switch, first), end)
    # A multi-step solver keeps its history over the switch: only the velocity changes there, not the state.
    for velocity, start, stop in ((experts[0], first, switch), (experts[1], switch, end)):
        if traced or start < stop:
            state = run_expert(velocity, state, sigmas, solver, (start, stop))
    return state


def run_expert(
    velocity: Callable[..., Any],
    state: State,
    sigmas: np.ndarray,
    solver: Literal["euler", "unipc"],
    steps: tuple[int | jax.Array, int | jax.Array],
    skipped: tuple[bool, ...] = (),
    remembers: bool = False,
) -> State:
    """Returns the state after the steps i, …, j - 1 of `steps` = (i, j), all along one velocity; else as `run_steps`.

    skipped: for each step, whether it goes on along the last velocity; the state is then of `begin` with `skipping`.
    remembers: whether the velocity is (x, sigma, i, memory) -> (dx/dsigma, memory), so that step i may depend on those
        before it; the memory, a tree of arrays, is then the last entry of the state, behind that of `begin`.

    Raises:
        ValueError: as `begin`.
    """
    step, levels = _solver(sigmas, solver).step, jnp.asarray(sigmas, jnp.float32)

    def ahead(i, x, memory):
        made, memory = velocity(x, levels[i], i, memory) if remembers else (velocity(x, levels[i]), None)
        return jnp.asarray(made, jnp.float32), memory

    def body(i, state):
        *state, memory = state if remembers else (*state, None)
        if skipped:
            *state, last = state
            made, memory = jax.lax.cond(
                jnp.array(skipped)[i], lambda: (last, memory), lambda: ahead(i, state[0], memory)
            )
        else:
            made, memory = ahead(i, state[0], memory)
        after = step(i, tuple(state), made)
        return (*after, *([made] if skipped else []), *([memory] if remembers else []))

    return jax.lax.fori_loop(*steps, body, state)


def _solver(sigmas: np.ndarray, name: str) -> Solver:
    """The solver of that name for a schedule; ValueError for another name or sigmas that do not fall."""
    sigmas = np.asarray(sigmas, np.float32)
    if sigmas.ndim != 1 or len(sigmas) < 2 or not (np.diff(sigmas) < 0).all():
        raise ValueError(f"sigmas must be numbers that fall, one more than there are steps; got {sigmas}")
    if name not in SOLVERS:
        raise ValueError(f"unknown solver {name!r}; use {' or '.join(SOLVERS)}")
    return SOLVERS[name](sigmas)


def euler(sigmas: np.ndarray) -> Solver:
    """Euler steps, x + (next sigma - sigma) velocity (HoloCine; diffusers FlowMatchEulerDiscreteScheduler)."""
    strides = jnp.asarray(np.diff(np.asarray(sigmas, np.float32)))
    return Solver(lambda x: (x,), lambda i, state, velocity: (state[0] + strides[i] * velocity,))


def unipc(sigmas: np.ndarray) -> Solver:
    """UniPC of order 2 in its B2(h) form on predictions of the clean sample (arXiv 2302.04867; diffusers' "bh2").

    A step first corrects x with the velocity there, then predicts the next x. Both are weighted sums of a sample and of
    predictions of the clean sample, and the weights depend on the schedule alone: `unipc_tables` has them. The state is
    x, the corrected x before it, and the last two predictions.
    """
    levels, correct, predict = (jnp.asarray(table, jnp.float32) for table in unipc_tables(sigmas))

    def start(x):
        return x, x, jnp.zeros_like(x), jnp.zeros_like(x)

    def step(i, state, velocity):
        x, before, clean_1, clean_2 = state
        clean = x - levels[i] * velocity  # where the flow would end if it went on straight
        c, p = correct[i], predict[i]
        x = c[0] * before + c[1] * clean + c[2] * clean_1 + c[3] * clean_2
        return p[0] * x + p[1] * clean + p[2] * clean_1, x, clean, clean_1

    return Solver(start, step)


def unipc_tables(sigmas: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tables of `unipc` over the n steps of a schedule, float64.

    Returns:
        levels [n]: the noise levels that steps start from.
        correct [n, 4]: weights of the corrected x: of the corrected x one step ago, and of the predictions of the clean
            sample now, 1 and 2 steps ago.
        predict [n, 3]: weights of the next x: of the corrected x, and of the predictions now and 1 step ago.

    From one level to the next x becomes r x + (1 - r) (clean + differences of predictions), where r is the ratio of the
    levels. A step of order 1 has no difference of earlier predictions, one of order 2 has one. The first and the last
    step are of order 1, and before the first step there is nothing to correct.
    """
    levels = np.minimum(np.asarray(sigmas, np.float32), np.float32(NEARLY_NOISE)).astype(np.float64)
    steps = len(levels) - 1
    snr = np.log1p(-levels[:-1]) - np.log(levels[:-1])  # the last level, 0, is only met at order 1
    correct, predict = np.zeros((steps, 4)), np.zeros((steps, 3))
    correct[0, 0] = 1.0  # the first x stays as it is
    for i in range(steps):
        keep = levels[i + 1] / levels[i]
        second = 0 < i < steps - 1
        # In the log SNR, the previous step measured by this one (r_1 in the paper, with its sign).
        ratio = (snr[i - 1] - snr[i]) / (snr[i + 1] - snr[i]) if second else 1.0
        back = 0.5 / ratio if second else 0.0
        predict[i] = keep, (1 - keep) * (1 - back), (1 - keep) * back
        if i + 1 < steps:
            # The correction of the next x comes once its velocity is known, so it has a difference more than the
            # prediction had: the one to the clean sample predicted there. At order 1 this is the trapezoidal rule.
            back, ahead = _correction(snr[i + 1] - snr[i], ratio) if second else (0.0, 0.5)
            correct[i + 1] = keep, *((1 - keep) * np.array([ahead, 1 - ahead - back, back]))
    return levels[:-1], correct, predict


def _correction(h: float, ratio: float) -> tuple[float, float]:
    """UniC-2's weights of the differences (earlier - clean) and (next - clean) (arXiv 2302.04867, with B2(h)).

    They make the step exact for predictions of the clean sample that are linear in the log SNR.
    h: the step in the log SNR. ratio: see `unipc_tables`.
    """
    first = np.expm1(-h)
    constant = -(first / h + 1) / first
    linear = 2 * ((first / h + 1) / h - 0.5) / first
    earlier = (linear - constant) / (ratio - 1)
    return earlier / ratio, constant - earlier


SOLVERS = {"euler": euler, "unipc": unipc}
