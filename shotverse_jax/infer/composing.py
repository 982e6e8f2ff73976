"""Adapters whose weights change inside a film: from shot to shot, from frame to frame, and from step to step.

A shot asks for adapters by name (`screenplay.Shot.loras`). A rule decides at every step which share of its strength
each adapter of each shot gets; `Merge`, the plain one, is here, the others are in `cinematic/guidance.py`. Shares are
traced, so that one program serves all of them. Tokens of a latent frame share its weights. What the network reads of
the text has the mean weights of the frames that may see it, and what it reads of the noise level those of all frames.

Axes: B films, T latent frames, K shots, S text tokens, N adapters.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax import limits
from shotverse_jax.infer.take import Take
from shotverse_jax.lora import name_key
from shotverse_jax.models.wan_dit import reads_of
from shotverse_jax.screenplay import LATENT_STRIDE, Screenplay

STRENGTH = 0.8
"""Of an adapter that is asked for without a number; the scale of Multi-LoRA-Composition (arXiv 2402.16843)."""


class Scene(NamedTuple):
    """What a rule sees of the films at a step.

    Attributes:
        x_BTHWC: the films as they are, noisy.
        sigma: their noise level.
        shot_BT: the shot of each latent frame.
        asked_BKN: bool, which adapters each shot asks for.
        along: (share_BKN) -> the guided velocity_BTHWC with these shares of the strengths.
        frames: (share_BKN) -> what latent frames have of what shots have, [B, T, N]; blended where weights ramp.
    """

    x_BTHWC: jax.Array
    sigma: jax.Array
    shot_BT: jax.Array
    asked_BKN: jax.Array
    along: Callable[[jax.Array], jax.Array]
    frames: Callable[[jax.Array], jax.Array]


class Rule(Protocol):
    """Decides the shares of adapters at every step. A tree of arrays whose constants are static (`jax.tree_util`)."""

    name: str

    def first(self, asked_BKN: jax.Array) -> jax.Array:
        """The shares before the first step."""

    def step(self, i: jax.Array, share_BKN: jax.Array, scene: Scene) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(the velocity of step i, the shares that it was made with, those for the next step)."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Merge:
    """All adapters of a shot at once, each with its whole strength, at every step."""

    name = "merge"

    def first(self, asked_BKN: jax.Array) -> jax.Array:
        """As `Rule`."""
        return asked_BKN.astype(jnp.float32)

    def step(self, i: jax.Array, share_BKN: jax.Array, scene: Scene) -> tuple[jax.Array, jax.Array, jax.Array]:
        """As `Rule`."""
        return scene.along(share_BKN), share_BKN, share_BKN


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Composing:
    """How the adapters of a batch of films are weighted.

    Attributes:
        rule: decides the shares.
        strength_BKN: of each adapter in each shot, 0 where it is not asked for.
        reach_BTK: how much of each latent frame belongs to each shot: 0 or 1, and between them where weights ramp.
        always_N: 1 for adapters that count everywhere, whatever the shots ask for; else 0.
    """

    rule: Any
    strength_BKN: Any
    reach_BTK: Any
    always_N: Any

    @property
    def asked_BKN(self) -> jax.Array:
        """Which adapters each shot asks for."""
        return self.strength_BKN != 0

    def memory(self, steps: int) -> dict[str, jax.Array]:
        """What a run remembers: the shares for the next step, and those of every step before."""
        share_BKN = self.rule.first(jnp.asarray(self.asked_BKN))
        return {"share_BKN": share_BKN, "used_SBKN": jnp.zeros((steps, *share_BKN.shape), jnp.float32)}

    def frames(self, share_BKN: jax.Array) -> jax.Array:
        """What latent frames have of what shots have."""
        return jnp.einsum("btk,bkn->btn", self.reach_BTK, share_BKN)

    def weights(self, share_BKN: jax.Array) -> jax.Array:
        """The weights [B, T, N] of latent frames for shares of shots."""
        return self.frames(share_BKN * self.strength_BKN) + self.always_N

    def velocity(self, along: Callable[[jax.Array, jax.Array, jax.Array], jax.Array], shot_BT: jax.Array) -> Callable:
        """The function (x, sigma, i, memory) -> (velocity, memory) for `flow.solver.run_expert`.

        along: (x, sigma, weights_BTN) -> the guided velocity.
        """

        def step(x_BTHWC, sigma, i, memory):
            def with_shares(share_BKN):
                return along(x_BTHWC, sigma, self.weights(share_BKN))

            scene = Scene(x_BTHWC, sigma, shot_BT, jnp.asarray(self.asked_BKN), with_shares, self.frames)
            made_BTHWC, used_BKN, share_BKN = self.rule.step(i, memory["share_BKN"], scene)
            return made_BTHWC, {"share_BKN": share_BKN, "used_SBKN": memory["used_SBKN"].at[i].set(used_BKN)}

        return step


def of_linears(weight_BTN: jax.Array, batch: dict[str, jax.Array]) -> Callable[[str], jax.Array]:
    """The function (path of a linear) -> its weights, for `lora.weighted`.

    batch: shot_BT and window_BKS of the prompt, as `infer.denoise` has them.
    """
    sees_BTS = jnp.take_along_axis(batch["window_BKS"], batch["shot_BT"][..., None], axis=1).astype(jnp.float32)
    count_BS1 = jnp.maximum(sees_BTS.sum(1), 1.0)[..., None]
    weights = {
        "video": weight_BTN,
        "text": jnp.einsum("bts,btn->bsn", sees_BTS, weight_BTN) / count_BS1,
        "time": weight_BTN.mean(1),
    }
    return lambda path: weights[reads_of(path)]


def names_of(screenplays: Sequence[Screenplay]) -> tuple[str, ...]:
    """The adapters that the shots of screenplays ask for, each once, in their order."""
    asked = (name for play in screenplays for shot in play.shots for name, _ in shot.loras)
    return tuple({name_key(name): name for name in asked}.values())


def compose(
    takes: Sequence[Take],
    names: Sequence[str],
    always: Sequence[bool],
    rows: int,
    rule: Rule | None = None,
    ramp: int = 0,
) -> Composing:
    """What takes ask of the adapters that are kept beside a controller.

    Args:
        takes: of one batch.
        names: of the adapters.
        always: for each, whether it counts in every frame; it is then asked for by nobody.
        rows: shots of the arrays, at least as many as any take has.
        rule: decides the shares; None (default) merges.
        ramp: frames over which weights go from those of one shot to those of the next, around the cut; 0 (default)
            changes them at the cut.

    Raises:
        ValueError: a shot asks for an adapter that is not there.
    """
    limits.whole(ramp, "the frames of a ramp", 0, limits.FRAMES)
    places = {name_key(name): n for n, name in enumerate(names) if not always[n]}
    strength_BKN = np.zeros((len(takes), rows, len(names)), np.float32)
    for b, take in enumerate(takes):
        for k, shot in enumerate(take.screenplay.shots):
            for name, strength in shot.loras:
                if name_key(name) not in places:
                    known = ", ".join(names[n] for n in places.values()) or "none"
                    raise ValueError(f"shot {k + 1} asks for the adapter {name!r}; the controller has {known}")
                strength_BKN[b, k, places[name_key(name)]] = STRENGTH if strength is None else strength
    reach_BTK = np.stack([_reach(take.layout.latent_index_T, rows, ramp / LATENT_STRIDE) for take in takes])
    return Composing(rule or Merge(), strength_BKN, reach_BTK, np.asarray(always, np.float32))


def _reach(shot_T: np.ndarray, rows: int, ramp: float) -> np.ndarray:
    """How much of each latent frame belongs to each shot, [T, rows]; blended over `ramp` latent frames at a cut."""
    time_T = np.arange(len(shot_T)) + 0.5
    cuts = np.searchsorted(shot_T, np.arange(1, rows))
    # How much of a frame lies behind each cut; cuts that do not exist lie behind the film.
    behind = [np.clip((time_T - cut) / max(ramp, 1e-6) + 0.5, 0, 1) * (cut < len(shot_T)) for cut in cuts]
    behind = [np.ones(len(shot_T)), *behind, np.zeros(len(shot_T))]
    return np.stack([a - b for a, b in zip(behind, behind[1:], strict=False)], axis=1).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
    """Which weights the adapters of a film had.

    Attributes:
        rule: how they were composed.
        names: of the adapters that shots ask for.
        strength_KN: what each shot asks for, 0 for nothing.
        share_SKN: which share of that each had at every step.
        reach_TK: how much of each latent frame belongs to each shot.
    """

    rule: str
    names: tuple[str, ...]
    strength_KN: np.ndarray
    share_SKN: np.ndarray
    reach_TK: np.ndarray

    def over_time(self) -> dict[str, np.ndarray]:
        """The weight of each adapter that a shot asks for, [steps, latent frames]."""
        weight_NST = np.einsum("tk,skn,kn->nst", self.reach_TK, self.share_SKN, self.strength_KN)
        return {
            name: weight_ST
            for name, weight_ST, strength_K in zip(self.names, weight_NST, self.strength_KN.T, strict=True)
            if strength_K.any()
        }

    def record(self) -> dict[str, Any]:
        """The same as JSON values, with the shares of every step of every shot."""
        shots = [
            {
                "asked": {self.names[n]: round(float(self.strength_KN[k, n]), 6) for n in asked},
                "shares": [[round(float(share), 4) for share in row] for row in self.share_SKN[:, k, asked]],
            }
            for k, asked in enumerate(np.flatnonzero(row) for row in self.strength_KN)
        ]
        return {"rule": self.rule, "shots": shots}


def weights_of(
    composing: Composing, used_SBKN: jax.Array, names: Sequence[str], place: int, take: Take, skipped: Sequence[bool]
) -> Weights:
    """Returns the weights that a film was made with.

    Args:
        composing: of its batch.
        used_SBKN: the shares of every step, of `Composing.memory`.
        names: of the adapters.
        place: of the film in its batch.
        take: of the film.
        skipped: of every step, whether it went on along the one before; () for none.
    """
    used_SKN = np.array(used_SBKN)[:, place]
    for i in np.flatnonzero(skipped):
        used_SKN[i] = used_SKN[i - 1]
    asked, shots = [n for n in range(len(names)) if not composing.always_N[n]], len(take.screenplay.shots)
    strength_KN = np.asarray(composing.strength_BKN)[place, :shots][:, asked]
    reach_TK = np.asarray(composing.reach_BTK)[place, :, :shots]
    return Weights(
        composing.rule.name, tuple(names[n] for n in asked), strength_KN, used_SKN[:, :shots][:, :, asked], reach_TK
    )
