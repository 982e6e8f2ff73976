"""How several adapters share one film: merged, switched, composite, or guided by a network that scores its frames.

Merge, switch and composite are those of "Multi-LoRA Composition for Image Generation" (arXiv 2402.16843). The fourth is
CLIPLoRA of "Can video generation replace cinematographers?" (arXiv 2412.12223), whose exact rule was not published: a
network scores what the film is going to be against the phrase of each adapter, and the adapter whose phrase is seen
too little gets more weight. All rules work shot by shot, each shot with the adapters that it asks for. They run inside
the compiled sampling loop: shares are traced, so that other shares, strengths and shots compile nothing.

Axes: B films, K shots, N adapters, T latent frames, F pictures of a shot.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax import limits
from shotverse_jax.cinematic.asking import styled
from shotverse_jax.cinematic.phrases import CLASSES
from shotverse_jax.cinematic.pictures import VaePictures
from shotverse_jax.cinematic.scorer import SMALL, CameraScorer, means_of
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.composing import Merge, Rule, Scene
from shotverse_jax.lora import name_key
from shotverse_jax.screenplay import Screenplay
from shotverse_jax.screenplay.adapters import parsed
from shotverse_jax.weights import find
from shotverse_jax.weights.folder import digest

EVERY = 5
"""Steps between decisions and between switches; the best of arXiv 2402.16843."""

FLOOR = 0.3
"""Noise level below which nothing is decided any more: later steps refine texture only."""

PICTURES = 8
"""Pictures of a shot that are scored, as CameraCLIP sees."""

Score = Callable[[jax.Array], jax.Array]
"""(pictures [B, F, H, W, 3] from 0 to 1) -> scores [B, N] of the phrase of each adapter."""

Pictures = Callable[[jax.Array, jax.Array], jax.Array]
"""(latents_BTHWC, index_BM of latent frames) -> pictures [B, M, H, W, 3] of these frames, from 0 to 1."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Switch:
    """One adapter of a shot at a time, in the order in which it names them, the next one after every `every` steps.

    The published code changes after step n where n > 0 and n mod every = 0, so that its first adapter has a step more
    than the others. Here all have the same: step n has adapter floor(n / every) mod k.
    """

    every: int = dataclasses.field(default=EVERY, metadata={"static": True})
    name = "switch"

    def first(self, asked_BKN: jax.Array) -> jax.Array:
        """As `Rule`."""
        return self._turn(0, asked_BKN)

    def step(self, i: jax.Array, share_BKN: jax.Array, scene: Scene) -> tuple[jax.Array, jax.Array, jax.Array]:
        """As `Rule`."""
        return scene.along(share_BKN), share_BKN, self._turn(i + 1, scene.asked_BKN)

    def _turn(self, i, asked_BKN: jax.Array) -> jax.Array:
        place_BKN = jnp.cumsum(asked_BKN, axis=-1) - 1
        count_BK1 = jnp.maximum(asked_BKN.sum(-1, keepdims=True), 1)
        return (asked_BKN & (place_BKN == (i // self.every) % count_BK1)).astype(jnp.float32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Composite:
    """The mean of the velocities that the adapters of a shot give alone, at every step.

    A film with k adapters takes k times as long. Each velocity is guided by itself, which is the guided mean of both
    branches, as guidance is linear.
    """

    name = "composite"

    def first(self, asked_BKN: jax.Array) -> jax.Array:
        """As `Rule`."""
        return asked_BKN / jnp.maximum(asked_BKN.sum(-1, keepdims=True), 1)

    def step(self, i: jax.Array, share_BKN: jax.Array, scene: Scene) -> tuple[jax.Array, jax.Array, jax.Array]:
        """As `Rule`."""
        part_BTN, film_B1N = scene.frames(share_BKN), scene.asked_BKN.any(1, keepdims=True)
        # Frames of shots that ask for nothing take the mean of all that the film asks for.
        part_BTN = jnp.where(part_BTN.sum(-1, keepdims=True) > 0, part_BTN, film_B1N)
        part_BTN = part_BTN / jnp.maximum(part_BTN.sum(-1, keepdims=True), 1e-6)

        def add(n, sum_BTHWC):
            alone_BKN = scene.asked_BKN * jax.nn.one_hot(n, share_BKN.shape[-1])
            part_BT111 = part_BTN[..., n, None, None, None]
            # Nobody may ask for one that is there for other films, or that counts everywhere.
            return jax.lax.cond(
                film_B1N[..., n].any(), lambda: sum_BTHWC + part_BT111 * scene.along(alone_BKN), lambda: sum_BTHWC
            )

        start_BTHWC = jnp.zeros(scene.x_BTHWC.shape, jnp.float32)
        return jax.lax.fori_loop(0, share_BKN.shape[-1], add, start_BTHWC), share_BKN, share_BKN


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClipLora:
    """Adapters weighted by how much of their phrase is still missing in what the film is going to be.

    At every `every`-th step with a noise level of at least `floor`, the clean film is predicted, x - sigma velocity;
    pictures of every shot are decoded and scored. The deficit of an adapter is the mean score of its class on real
    clips less the score now. The decision holds from the next step on, so that it needs no further pass of the network;
    only "ahead" decides for its own step.

    Attributes:
        score: scores pictures; a tree of arrays that can be called, like `jax.tree_util.Partial(function, arrays)`.
        pictures: decodes latent frames, likewise.
        mean_N: of each adapter, the mean score of clips that show its class; 0 for one that is not known.
        choose: "soft": shares softmax(deficit / temperature), smoothed. "hard": the adapter with the largest deficit
            alone. "ahead": one step with each adapter alone, and the one whose predicted film has the least cost,
            - (sum of scores) + spread (largest deficit); a decision takes a pass for every adapter.
        every: steps between decisions.
        floor: the lowest noise level of a decision.
        temperature: of the softmax, in units of scores.
        keep: share of the old shares in the new ones, with "soft".
        spread: weight of the largest deficit, with "ahead".
    """

    score: Any
    pictures: Any
    mean_N: Any
    choose: Literal["soft", "hard", "ahead"] = dataclasses.field(default="soft", metadata={"static": True})
    every: int = dataclasses.field(default=EVERY, metadata={"static": True})
    floor: float = dataclasses.field(default=FLOOR, metadata={"static": True})
    temperature: float = dataclasses.field(default=0.05, metadata={"static": True})
    keep: float = dataclasses.field(default=0.5, metadata={"static": True})
    spread: float = dataclasses.field(default=1.0, metadata={"static": True})
    name = "cliplora"

    def first(self, asked_BKN: jax.Array) -> jax.Array:
        """As `Rule`: equal shares, or the first adapter alone where one is chosen."""
        if self.choose == "soft":
            return asked_BKN / jnp.maximum(asked_BKN.sum(-1, keepdims=True), 1)
        return _only(jnp.argmax(asked_BKN, axis=-1), asked_BKN)

    def step(self, i: jax.Array, share_BKN: jax.Array, scene: Scene) -> tuple[jax.Array, jax.Array, jax.Array]:
        """As `Rule`."""
        due = (i % self.every == 0) & (scene.sigma >= self.floor)
        if self.choose == "ahead":
            made_BTHWC, share_BKN = jax.lax.cond(
                due, lambda: self._look_ahead(scene), lambda: (scene.along(share_BKN), share_BKN)
            )
            return made_BTHWC, share_BKN, share_BKN
        made_BTHWC = scene.along(share_BKN)
        after_BKN = jax.lax.cond(due, lambda: self._decide(made_BTHWC, share_BKN, scene), lambda: share_BKN)
        return made_BTHWC, share_BKN, after_BKN

    def _decide(self, made_BTHWC: jax.Array, share_BKN: jax.Array, scene: Scene) -> jax.Array:
        lack_BKN = jnp.where(scene.asked_BKN, self.mean_N - self._scores(made_BTHWC, scene), -jnp.inf)
        if self.choose == "hard":
            return _only(jnp.argmax(lack_BKN, axis=-1), scene.asked_BKN)
        # Shots that ask for nothing have no share, and softmax none to give.
        safe_BKN = jnp.where(scene.asked_BKN.any(-1, keepdims=True), lack_BKN, 0.0)
        fresh_BKN = jax.nn.softmax(safe_BKN / self.temperature, axis=-1) * scene.asked_BKN
        return self.keep * share_BKN + (1 - self.keep) * fresh_BKN

    def _look_ahead(self, scene: Scene) -> tuple[jax.Array, jax.Array]:
        def alone(n):
            made_BTHWC = scene.along(scene.asked_BKN * jax.nn.one_hot(n, scene.asked_BKN.shape[-1]))
            score_BKN = self._scores(made_BTHWC, scene)
            lack_BK = jnp.where(scene.asked_BKN, self.mean_N - score_BKN, -jnp.inf).max(-1)
            cost_BK = -jnp.sum(score_BKN * scene.asked_BKN, axis=-1) + self.spread * lack_BK
            return made_BTHWC, cost_BK

        made_NBTHWC, cost_NBK = jax.lax.map(alone, jnp.arange(scene.asked_BKN.shape[-1]))
        cost_BKN = jnp.where(scene.asked_BKN, jnp.moveaxis(cost_NBK, 0, -1), jnp.inf)
        share_BKN = _only(jnp.argmin(cost_BKN, axis=-1), scene.asked_BKN)
        # Every frame goes along the velocity of its shot's adapter; a shot that asks for none along the first.
        best_BK = jnp.argmin(cost_BKN, axis=-1)
        best_BT = jnp.take_along_axis(best_BK, scene.shot_BT, axis=1)
        made_BTHWC = jnp.take_along_axis(made_NBTHWC, best_BT[None, :, :, None, None, None], axis=0)[0]
        return made_BTHWC, share_BKN

    def _scores(self, made_BTHWC: jax.Array, scene: Scene) -> jax.Array:
        """The scores [B, K, N] of the shots of the film that this velocity leads to."""
        clean_BTHWC = scene.x_BTHWC - scene.sigma * made_BTHWC
        batch, shots = scene.asked_BKN.shape[:2]
        index_BKF = spread_over_shots(scene.shot_BT, shots, PICTURES)
        pictures = self.pictures(clean_BTHWC, index_BKF.reshape(batch, -1))
        pictures = pictures.reshape(batch * shots, PICTURES, *pictures.shape[2:])
        return self.score(pictures).reshape(batch, shots, -1)


def _only(place_BK: jax.Array, asked_BKN: jax.Array) -> jax.Array:
    """Shares of 1 at a place, where it is asked for."""
    return jax.nn.one_hot(place_BK, asked_BKN.shape[-1]) * asked_BKN


def spread_over_shots(shot_BT: jax.Array, shots: int, count: int) -> jax.Array:
    """Returns [B, shots, count] latent frames, spread evenly over each shot from its first to its last one.

    A shot with fewer frames has some of them more than once; one that does not exist has frame 0.
    """
    time_T = jnp.arange(shot_BT.shape[1])
    own_BKT = shot_BT[:, None] == jnp.arange(shots)[:, None]
    first_BK = jnp.where(own_BKT, time_T, shot_BT.shape[1]).min(-1) % shot_BT.shape[1]
    last_BK = jnp.where(own_BKT, time_T, 0).max(-1)
    part_F = jnp.linspace(0.0, 1.0, count)
    return jnp.round(first_BK[..., None] + part_F * (last_BK - first_BK)[..., None]).astype(jnp.int32)


# ---------------------------------------------------------------------------------------------------- by name


RULES = ("merge", "switch", "composite", "cliplora")
"""The rules by the names that people give."""


@dataclasses.dataclass(frozen=True)
class Compose:
    """What people choose of a composition: plain values, which can be sent to another process.

    Attributes:
        rule: one of RULES.
        every: steps between switches, or between decisions.
        choose: how CLIPLoRA decides, as `ClipLora` takes it.
        scorer: what scores frames with "cliplora": name or folder of a CameraCLIP, or a function (phrases) -> `Score`.
            None (default) takes "clip_small".
        pictures: (cinematographer) -> `Pictures`; None (default) takes the controller's own VAE.
        means: {class: the mean score of clips that show it}; a class that is not there counts as 0. None (default)
            takes those that are kept with the CameraCLIP (`scorer.means_of`), or 0.
        style: adapters for all shots, as a list like "zoom-in, low-angle 0.6".
        words: whether a shot that names no adapter asks for those whose words its caption has.
        names: of adapters that captions are searched for, beside the twenty classes.
        ramp: frames over which weights change at a cut; 0 (default) changes them at once.
        balance: whether the changes of the adapters are made equally large in every layer (`lora.balanced`).
    """

    rule: Literal["merge", "switch", "composite", "cliplora"] = "merge"
    every: int = EVERY
    choose: Literal["soft", "hard", "ahead"] = "soft"
    scorer: str | Callable[[Sequence[str]], Score] | None = None
    pictures: Callable[[Cinematographer], Pictures] | None = None
    means: Mapping[str, float] | None = None
    style: str = ""
    words: bool = False
    names: tuple[str, ...] = ()
    ramp: int = 0
    balance: bool = False

    def __post_init__(self):
        if self.rule not in RULES:
            raise ValueError(f"adapters are composed by {', '.join(RULES)}, got {self.rule!r}")
        if self.choose not in ("soft", "hard", "ahead"):
            raise ValueError(f"CLIPLoRA decides soft, hard or ahead, got {self.choose!r}")
        limits.whole(self.every, "the steps from one decision to the next", 1, limits.STEPS)
        limits.whole(self.ramp, "the frames of a ramp", 0, limits.FRAMES)
        if self.style.strip():
            parsed(self.style)
        if self.rule == "cliplora" and not callable(self.scorer):
            name = self.scorer or SMALL
            try:
                folder = find("camera_clip", name)
            except ValueError as error:
                said = f"cliplora needs a CameraCLIP, which docs/cinematic.md tells how to train: {error}"
                raise ValueError(said) from error
            object.__setattr__(self, "scorer", name)
            if self.means is None:
                object.__setattr__(self, "means", means_of(folder))

    def asking(self, screenplay: Screenplay) -> Screenplay:
        """The screenplay with what its shots ask for, by `asking.styled`."""
        return styled(screenplay, self.style, self.words, self.names)

    def record(self) -> dict[str, Any]:
        """What decides a film, as JSON values."""
        plain = ("rule", "every", "choose", "style", "words", "names", "ramp", "balance")
        found = {name: getattr(self, name) for name in plain} | {"means": dict(self.means or {})}
        if isinstance(self.scorer, str):
            found["scorer"] = {"name": Path(self.scorer).name, "digest": digest(find("camera_clip", self.scorer))}
        return found

    def __call__(self, cinematographer: Cinematographer) -> Rule:
        """The rule for a controller with the adapters beside it."""
        if self.rule == "merge":
            return Merge()
        if self.rule == "switch":
            return Switch(self.every)
        if self.rule == "composite":
            return Composite()
        names = cinematographer.adapters.names
        means = {name_key(name): mean for name, mean in (self.means or {}).items()}
        scorer = self.scorer if callable(self.scorer) else CameraScorer.load(self.scorer).of
        return ClipLora(
            score=_called(scorer([phrase_of(name) for name in names])),
            pictures=_called((self.pictures or VaePictures.of)(cinematographer)),
            mean_N=np.array([means.get(name_key(name), 0.0) for name in names], np.float32),
            choose=self.choose,
            every=self.every,
        )


def _called(function: Callable) -> Any:
    """A function as a tree of arrays that can be called."""
    return jax.tree_util.Partial(function) if jax.tree.leaves(function) == [function] else function


def phrase_of(name: str) -> str:
    """Returns what a scorer reads of an adapter: the first phrase of the class of its name, else its name."""
    found = class_of(name)
    return name if found is None else CLASSES[found].phrases[0]


def class_of(name: str) -> str | None:
    """Returns the class that an adapter is called like, as it is called in `CLASSES`; None where there is none."""
    return next((each for each in CLASSES if name_key(each) == name_key(name)), None)
