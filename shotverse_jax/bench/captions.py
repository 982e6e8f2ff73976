"""Captions of a scene: what the camera does in every shot, measured; with a captioner also what is seen."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shotverse_jax.camera.motion_tags import ROTATION_NAMES, TRANSLATION_DIRECTIONS, Segment, describe
from shotverse_jax.camera.motion_words import Motion, motions
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.infer.captions import CLIP_FPS, Captioner, EndpointCaptioner

SHOT = "Say in one or two sentences who and what this shot shows, and from how near. Do not say how the camera moves."
SCENE = (
    "These are the shots of one scene, in order. {shots} Say in one or two sentences what all of them have in common: "
    "the place, the people and how they look. Do not say how the camera moves."
)
MOST = 32
"""Frames of a shot that a captioner sees at most."""
NUMBERS = {2: "Two", 3: "Three", 4: "Four"}


class Captions(NamedTuple):
    """Captions of a scene.

    Attributes:
        scene: what all shots have in common.
        shots: one for each.
        moves: names of the motions of each shot, "static" where there is none.
    """

    scene: str
    shots: tuple[str, ...]
    moves: tuple[tuple[str, ...], ...]


def template(trajectory: Trajectory) -> Captions:
    """Returns captions that follow from the cameras alone, in the words of their motion tags."""
    found = motions(trajectory)
    scene = f"{NUMBERS.get(len(found), len(found))} shots of one place."
    return Captions(scene, tuple(map(_sentence, found)), tuple(map(_moves, found)))


def seen(trajectory: Trajectory, video_THWC: np.ndarray, captioner: Captioner | EndpointCaptioner) -> Captions:
    """Returns captions of a model for what is seen, each shot's followed by what its camera does.

    The caption of the scene is asked for last, with the shots and their captions.

    Raises:
        ValueError: the model gave no caption.
    """
    measured, every = template(trajectory), max(1, round(trajectory.fps / CLIP_FPS))
    clips = [video_THWC[start:end][_taken(end - start, every)] for start, end in trajectory.spans]
    rates = [
        trajectory.fps * (len(clip) - 1) / max(1, end - start - 1) or trajectory.fps
        for clip, (start, end) in zip(clips, trajectory.spans, strict=True)
    ]
    texts = [
        _asked(captioner, f"Shot {k}:", clip, fps) for k, (clip, fps) in enumerate(zip(clips, rates, strict=True), 1)
    ]
    told = " ".join(f"Shot {k}: {text}" for k, text in enumerate(texts, 1))
    named = [(f"Shot {k}:", clip[:: max(1, len(clip) // 4)]) for k, clip in enumerate(clips, 1)]
    scene = _text(captioner.answer(named, SCENE.format(shots=told), CLIP_FPS))
    shots = tuple(f"{text} {moves}" for text, moves in zip(texts, measured.shots, strict=True))
    return Captions(scene, shots, measured.moves)


def _taken(count: int, every: int) -> np.ndarray:
    return np.linspace(0, count - 1, max(1, min(MOST, -(-count // every)))).round().astype(int)


def _asked(captioner: Captioner | EndpointCaptioner, name: str, clip_THWC: np.ndarray, fps: float) -> str:
    return _text(captioner.answer([(name, clip_THWC)], SHOT, fps))


def _text(answer: str) -> str:
    text = " ".join(answer.split())
    if not any(letter.isalpha() for letter in text):
        raise ValueError(f"the model gave no caption, but {text[:80]!r}")
    return text if text.endswith((".", "!", "?", "。")) else f"{text}."


def _sentence(shot: Sequence[Motion]) -> str:
    segments = [Segment(motion.start, motion.end, *divmod(motion.label, len(ROTATION_NAMES))) for motion in shot]
    zooms = list(dict.fromkeys(motion.zooms for motion in shot if motion.zooms))
    return " ".join([describe(segments, "film"), *(f"The lens zooms {way}." for way in zooms)])


def _moves(shot: Sequence[Motion]) -> tuple[str, ...]:
    """The motions of a shot, each once: move right, yaw left, zoom in, …"""
    names: dict[str, None] = {}
    for motion in shot:
        translation, rotation = divmod(motion.label, len(ROTATION_NAMES))
        words = TRANSLATION_DIRECTIONS[translation].replace(",", "").replace(" and", "").split()
        names |= dict.fromkeys(f"move {word}" for word in words)
        names |= dict.fromkeys([ROTATION_NAMES[rotation]] if rotation else [])
        names |= dict.fromkeys([f"zoom {motion.zooms}"] if motion.zooms else [])
    return tuple(names) or ("static",)
