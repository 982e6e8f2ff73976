"""Scores of a planner: F1 of motion tags on held-out scenes, and how often a prompt gets the motion it asks for."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shotverse_jax.camera.motion_tags import dominant_motion, tag_shot
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.camera.vocabulary import MOTIONS, motion_parts
from shotverse_jax.evaluation.metrics.caption_f1 import trajectory_caption_f1
from shotverse_jax.screenplay import Screenplay, Shot
from shotverse_jax.stage.review import framed
from shotverse_jax.stage.scene import Scene
from shotverse_jax.text_files import read_yaml

DEFAULT_PROMPTS = Path(__file__).parents[1] / "prompts" / "handwritten.yaml"
"""Prompts written by hand, which ship with the package."""


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One shot in words, and the motions that answer it.

    Attributes:
        screenplay: the words, a screenplay of one shot.
        motions: words of `MOTIONS`. The answer may have any one of them, or several at once.
    """

    screenplay: Screenplay
    motions: frozenset[str]


def read_prompts(path: str | Path | None = None) -> list[Prompt]:
    """Reads prompts from a YAML list of {caption, shot, motion: name or list of names}.

    Args:
        path: the file; None (default) for the prompts that ship with the package.

    Raises:
        ValueError: the file cannot be read or holds no prompts, or an entry has another form.
    """
    path = Path(path or DEFAULT_PROMPTS)
    try:
        entries = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ValueError(f"cannot read prompts from {path} ({error}); give a YAML file with --prompts") from error
    prompts = []
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        entry = entry if isinstance(entry, dict) else {}
        motions = entry.get("motion")
        motions = [motions] if isinstance(motions, str) else motions
        if not motions or not isinstance(motions, list) or any(motion not in MOTIONS for motion in motions):
            raise ValueError(f"{path}: entry {index + 1} needs a motion out of: {', '.join(MOTIONS)}")
        try:
            screenplay = Screenplay(entry.get("caption") or "", (Shot(entry.get("shot")),))
        except ValueError as error:
            raise ValueError(f"{path}: entry {index + 1}: {error}") from error
        prompts.append(Prompt(screenplay, frozenset(motions)))
    if not prompts:
        raise ValueError(f"{path} holds no list of prompts")
    return prompts


def answers(prompt: Prompt, trajectory: Trajectory) -> bool:
    """Returns True when every part of the shot's dominant motion is among the prompt's motions."""
    return motion_parts(*dominant_motion(tag_shot(trajectory.pose_T34))) <= prompt.motions


def score_scenes(planned: Sequence[Trajectory], references: Sequence[Trajectory]) -> dict[str, float]:
    """Scores planned trajectories of held-out scenes against the true ones.

    Returns:
        tag_f1, tag_precision, tag_recall: `trajectory_caption_f1` in metres, as planned (scale "none").
        tag_f1_scale_matched: F1 with every plan scaled to its reference (scale "match").
        cuts_exact: share of the scenes whose cuts are exactly those asked for.
        scenes, shots: how many there are.
    """
    raw = trajectory_caption_f1(planned, references, scale="none")
    matched = trajectory_caption_f1(planned, references, scale="match")
    exact = [p.spans == r.spans for p, r in zip(planned, references, strict=True)]
    return {
        "tag_f1": raw["f1"],
        "tag_precision": raw["precision"],
        "tag_recall": raw["recall"],
        "tag_f1_scale_matched": matched["f1"],
        "cuts_exact": float(np.mean(exact)),
        "scenes": len(planned),
        "shots": sum(t.num_shots for t in references),
    }


def score_framing(
    planned: Sequence[Trajectory], references: Sequence[Trajectory], scenes: Sequence[Scene]
) -> dict[str, float]:
    """Scores how planned trajectories of held-out scenes frame the subjects of these, each on its own stage.

    The subject of a shot is the one that the true camera shows best.

    Returns:
        off_screen: share of the frames that do not show the subject (head, chest or pelvis).
        off_screen_lost: the same, of the frames in which the true camera shows it.
        misr: share of the frames in which the subject is off screen or in the border (VERTIGO's MisR).
        misr_lost: the same, of the frames in which the true camera has it inside.
        off_screen_true, misr_true: of the true cameras.
    """
    rates = np.concatenate([_framed(*one) for one in zip(planned, references, scenes, strict=True)], axis=1)
    off, bad, true_off, true_bad = rates.astype(bool)
    share = lambda of, among: float(of[among].mean()) if among.any() else 0.0  # noqa: E731
    return {
        "off_screen": float(off.mean()),
        "off_screen_lost": share(off, ~true_off),
        "misr": float(bad.mean()),
        "misr_lost": share(bad, ~true_bad),
        "off_screen_true": float(true_off.mean()),
        "misr_true": float(true_bad.mean()),
    }


def _framed(plan: Trajectory, truth: Trajectory, scene: Scene) -> np.ndarray:
    """[4, T] whether a frame of the plan is off screen, mis-framed, and the same of the truth."""
    shown = [(framed(truth, subject), framed(plan, subject)) for subject in scene.subjects]
    rows = []
    for start, end in truth.spans:
        true, seen = max(shown, key=lambda pair, start=start, end=end: pair[0].visible[start:end].mean())
        rows.append([x[start:end] for x in (seen.off, seen.misframed, true.off, true.misframed)])
    return np.concatenate([np.array(row) for row in rows], axis=1)


def score_prompts(planned: Sequence[Trajectory], prompts: Sequence[Prompt]) -> dict[str, float]:
    """Scores planned trajectories of prompts.

    Returns:
        prompt_accuracy: share of the prompts with the right dominant motion.
        prompts: number of prompts.
        prompt_accuracy/…: this share over the prompts that ask for one motion only, by that motion.
    """
    right = np.array([answers(prompt, t) for prompt, t in zip(prompts, planned, strict=True)])
    scores = {"prompt_accuracy": float(right.mean()), "prompts": len(prompts)}
    for motion in MOTIONS:
        asked = np.array([prompt.motions == {motion} for prompt in prompts])
        if asked.any():
            scores[f"prompt_accuracy/{motion}"] = float(right[asked].mean())
    return scores
