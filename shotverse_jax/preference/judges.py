"""Judges of camera plans, behind one interface: geometry, the captions of previews, and a model that compares previews.

A judge scores every shot of every candidate of a screenplay, from 0 to 1. Before it is believed it is tried on scenes
whose truth is known (`probes.py`).

Array axes: J candidates; K shots; M captions of a preview.
"""

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.preference.measures import measure
from shotverse_jax.preference.previews import Clips
from shotverse_jax.preference.selection import Verdict
from shotverse_jax.screenplay import Screenplay
from shotverse_jax.screenplay.slots import agreement, read_slots

COSINE = 0.3
"""The most that the cosine of embeddings counts in the cyclic score. For embeddings "pans left" and "pans right" are
nearly the same (0.86 to 0.89 of two sentence encoders), and a paraphrase is far away (0.41): slots must decide."""

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts → unit vectors [N, D] whose cosine says how near they are in meaning."""

Caption = Callable[[Sequence[np.ndarray], int, int, float], list[list[str]]]
"""(clips, captions of each, seed, frames per second) → captions[i][m] of clip i."""

Compare = Callable[[str, np.ndarray, np.ndarray, float], str]
"""(question, first clip, second clip, frames per second) → the answer of a model that sees both."""


class Judge(Protocol):
    """Scores candidates.

    Attributes:
        name: a key of its scores.
        sees: whether it looks at previews.
        settings: what decides its scores, JSON values.
    """

    name: str
    sees: bool
    settings: dict[str, Any]

    def judge(
        self,
        screenplay: Screenplay,
        candidates: Sequence[Trajectory],
        clips: Clips | None = None,
        truth: Trajectory | None = None,
    ) -> Verdict:
        """Returns the scores of a screenplay's candidates.

        Args:
            screenplay: what was planned.
            candidates: its plans.
            clips: of each candidate and shot; None for a judge that does not see.
            truth: the cameras that the screenplay was written for, where they are known.

        Raises:
            ValueError: an answer of its model is none.
        """


@dataclasses.dataclass(frozen=True)
class Geometric:
    """Judges without pictures: half of a shot's score is its framing, half its motions.

    They are the framing reward, and the F1 of the motions that the caption asks for; where the true cameras are known,
    the share of the frames that they show the subject in, and the share of the frames that have their motion tag.

    Attributes:
        motion: weight of the motions.
    """

    motion: float = 0.5
    name: str = "geometric"
    sees: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """As `Judge.settings`."""
        return {"motion": self.motion}

    def judge(
        self,
        screenplay: Screenplay,
        candidates: Sequence[Trajectory],
        clips: Clips | None = None,
        truth: Trajectory | None = None,
    ) -> Verdict:
        """As `Judge.judge`."""
        found = measure(screenplay, candidates)
        framed_JK, moved_JK = np.maximum(found.reward_JK, 0), found.motion_JK
        if truth is not None:
            # A camera that is asked to pan away loses its subject, and rightly so.
            true = measure(screenplay, [truth])
            framed_JK, moved_JK = found.kept(true), found.same_tags(true)
        return Verdict((1 - self.motion) * framed_JK + self.motion * moved_JK)


@dataclasses.dataclass(frozen=True)
class Cyclic:
    """Judges by captions of previews: text → cameras → pictures → text (VERTIGO's cyclic score).

    The score of a shot is the mean over its captions of 0.7 times the agreement of what its own caption asks for with
    what the captioner saw, and 0.3 times the cosine of both texts.

    Attributes:
        caption: writes captions.
        embed: embeds texts; None leaves the cosine out.
        captions: of each preview.
        seed: of the captions.
        model: what tells the captioner from others, for records.
    """

    caption: Caption
    embed: Embed | None
    captions: int = 3
    seed: int = 0
    model: Any = None
    name: str = "cyclic"
    sees: bool = True

    @property
    def settings(self) -> dict[str, Any]:
        """As `Judge.settings`."""
        return {"captions": self.captions, "seed": self.seed, "model": self.model, "cosine": self.embed is not None}

    def judge(
        self,
        screenplay: Screenplay,
        candidates: Sequence[Trajectory],
        clips: Clips | None = None,
        truth: Trajectory | None = None,
    ) -> Verdict:
        """As `Judge.judge`."""
        scores_KJ = []
        for shot in range(len(screenplay.shots)):
            own = [candidate[shot] for candidate in clips]
            seen = self.caption(own, self.captions, self.seed, rate(screenplay, shot, len(own[0])))
            scores_KJ.append([self.score(screenplay.words(shot), captions) for captions in seen])
        return Verdict(np.transpose(scores_KJ))

    def score(self, asked: str, seen: Sequence[str]) -> float:
        """Returns the score of captions of one preview, from 0 to 1.

        Raises:
            ValueError: there are no captions, or an empty one.
        """
        if not seen or not all(caption.strip() for caption in seen):
            raise ValueError("the captioner had nothing to say")
        wanted = read_slots(asked).with_one_lens
        slots = float(np.mean([agreement(wanted, read_slots(caption).with_one_lens) for caption in seen]))
        if self.embed is None:
            return slots
        own_D, *seen_MD = self.embed([asked, *seen])
        cosine = float(np.clip(np.mean(seen_MD @ own_D), 0, 1))
        return (1 - COSINE) * slots + COSINE * cosine


QUESTION = (
    "Two previews of one shot follow, A and then B, each as frames in the order of time. Which of them does better "
    'what this caption asks of the camera? Answer with one letter, A or B.\nCaption: "{caption}"'
)


@dataclasses.dataclass(frozen=True)
class Direct:
    """Judges by asking a model which of two previews is better; the score is the share of comparisons that are won.

    Every two candidates are compared once for each shot, in an order by chance: models prefer the first or the second
    whatever they see.

    Attributes:
        compare: asks the model.
        seed: of the orders.
        model: what tells the model from others, for records.
    """

    compare: Compare
    seed: int = 0
    model: Any = None
    name: str = "direct"
    sees: bool = True

    @property
    def settings(self) -> dict[str, Any]:
        """As `Judge.settings`."""
        return {"seed": self.seed, "model": self.model}

    def judge(
        self,
        screenplay: Screenplay,
        candidates: Sequence[Trajectory],
        clips: Clips | None = None,
        truth: Trajectory | None = None,
    ) -> Verdict:
        """As `Judge.judge`."""
        count, rng = len(candidates), np.random.default_rng(self.seed)
        wins_JK = np.zeros((count, len(screenplay.shots)))
        for shot in range(len(screenplay.shots)):
            question = QUESTION.format(caption=screenplay.words(shot))
            fps = rate(screenplay, shot, len(clips[0][shot]))
            for pair in itertools.combinations(range(count), 2):
                first, second = pair if rng.random() < 0.5 else pair[::-1]
                answer = self.compare(question, clips[first][shot], clips[second][shot], fps)
                wins_JK[first if letter(answer) == "A" else second, shot] += 1
        return Verdict(wins_JK / max(count - 1, 1))


def letter(answer: str) -> str:
    """Returns the letter, A or B, of an answer. Raises ValueError for an answer without one, or with both."""
    found = set(re.findall(r"\b([AB])\b", answer.strip()))
    if len(found) != 1:
        raise ValueError(f"the judge answered neither A nor B: {answer.strip()[:100]!r}")
    return found.pop()


def rate(screenplay: Screenplay, shot: int, frames: int) -> float:
    """Returns the frames per second of a clip of so many frames, from the first to the last frame of a shot."""
    start, end = screenplay.layout().spans[shot]
    return max(frames - 1, 1) * screenplay.fps / max(end - 1 - start, 1)
