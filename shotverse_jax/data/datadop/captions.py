"""Captions of DataDoP's shots: the motion in words by a template, or all three by a language model behind an endpoint.

GenDoP asked OpenAI's models (`dataset/scripts/Dataset_Tagging.py`, `Dataset_Captioning.py`). Its rules are kept: up to
three tries, a caption of the motion has no digits, and the answer about the scene has its two lines. The prompts here
are our own words; `Prompts` takes others.
"""

import dataclasses
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.motion_tags import Segment, describe, outline, segments, tag_labels
from shotverse_jax.data.datadop.shots import CAPTIONS, ShotFiles
from shotverse_jax.endpoint import Ask
from shotverse_jax.inputs.clip import read_image

TRIES = 3
GRID, GRID_WIDTH = 4, 900
"""Pictures of a row and a column, and the width in pixels, of the picture that shows a shot's frames."""

LINES = {"Detailed": CAPTIONS["detailed"], "Concise": CAPTIONS["concise"]}
"""Names of the lines of an answer about the scene → keys of the captions."""


@dataclasses.dataclass(frozen=True)
class Prompts:
    """What is asked.

    Attributes:
        motion: before the outline of the motions.
        scene: before the caption of the motion; the picture of the frames goes with it.
    """

    motion: str = (
        "You write descriptions of camera motions for a technical script. Put the outline below into one or two short, "
        "factual sentences about how the camera moves and turns. Respect how long the parts are, name no frame numbers "
        "and use no digits. Answer with the description alone."
    )
    scene: str = (
        "You write descriptions of camera motions for a technical script. The picture has frames of one shot, in order "
        "from left to right and from top to bottom. Say how the camera relates to what the shot shows, true to the "
        "motion below. Short, factual sentences, no frame numbers. Answer in two lines, a detailed and a concise "
        "description:\n**Detailed**: …\n**Concise**: …"
    )


def shot_segments(shot: ShotFiles) -> list[Segment]:
    """Returns the motions of a shot's clean path, as GenDoP tags it: in the path's own unit and at its 120 poses."""
    return segments(tag_labels(read_trajectory(shot.path("transforms"), "nerfstudio").pose_T34))


def template(found: Sequence[Segment]) -> dict[str, str]:
    """Returns the captions that need no model: the motion in words."""
    return {CAPTIONS["movement"]: describe(found)}


def asked(
    found: Sequence[Segment], picture: np.ndarray | None, ask: Ask, prompts: Prompts = Prompts()
) -> dict[str, str]:
    """Returns the captions that a model writes: of the motion, and where there is a picture the two of the scene.

    Args:
        found: the motions of the shot.
        picture: its frames, uint8 [H, W, 3], as `frames_grid` puts them together; None asks for the motion alone.
        ask: the model.
        prompts: what is asked.

    Raises:
        ValueError: the model gave no caption that keeps the rules in three tries, or does not answer.
    """
    motion = _tried(lambda: _motion(ask(f"{prompts.motion}\n\n{outline(found)}")), "the motion")
    captions = {CAPTIONS["movement"]: motion}
    if picture is not None:
        data = io.BytesIO()
        Image.fromarray(picture).save(data, "PNG")
        prompt = f"{prompts.scene}\n\nMovement: {motion}"
        captions |= _tried(lambda: _scene(ask(prompt, [data.getvalue()])), "the scene")
    return captions


def frames_grid(frames: Sequence[Path]) -> np.ndarray:
    """Returns 16 frames of a shot, evenly spaced, in four rows: uint8 [H, 900, 3]; of fewer frames the first alone.

    Raises:
        ValueError: there are no frames, or one is no picture.
    """
    if not frames:
        raise ValueError("there are no frames")
    count = GRID * GRID
    chosen = [frames[i * (len(frames) // count)] for i in range(count)] if len(frames) >= count else frames[:1]
    columns = GRID if len(chosen) == count else 1
    width = GRID_WIDTH // columns
    cells = []
    for path in chosen:
        picture = Image.fromarray(read_image(path))
        cells.append(np.asarray(picture.resize((width, max(1, picture.height * width // picture.width)))))
    if len({cell.shape for cell in cells}) > 1:
        raise ValueError(f"the frames beside {chosen[0]} are of several sizes")
    return np.concatenate([np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)])


class _Broken(ValueError):
    """An answer that breaks the rules."""


def _tried(make: Callable, what: str):
    for number in range(1, TRIES + 1):
        try:
            return make()
        except _Broken as error:
            if number == TRIES:
                raise ValueError(f"the model gave no caption of {what} in {TRIES} tries: {error}") from error
    raise AssertionError


def _motion(answer: str) -> str:
    text = " ".join(answer.split()).removeprefix("Description:").strip()
    if not text or any(letter.isdigit() for letter in text):
        raise _Broken(f"it has digits or nothing at all: {text[:80]!r}")
    return text


def _scene(answer: str) -> dict[str, str]:
    found = {}
    for line in answer.splitlines():
        match = re.match(r"\W*(Detailed|Concise)\W*\s*(.*\S)", line.strip())
        if match:
            found[LINES[match[1]]] = match[2].strip()
    if found.keys() != set(LINES.values()):
        raise _Broken(f"it has not the lines {' and '.join(LINES)}: {' '.join(answer.split())[:80]!r}")
    return found
