"""Pairs of a better and a worse plan of one screenplay: a JSON object a line (VERTIGO's format, with our additions).

A line of VERTIGO's has `prompt`, and `chosen` and `rejected`, each the path of a camera file beside the list or the
transforms themselves; `chosen_score` and `rejected_score` where they are known. Its other names are read too
(`SYNONYMS`). Ours also has the tokens of both plans as they were sampled (`chosen_tokens`, `rejected_tokens`), because
a path that is encoded again need not come to the same tokens; the screenplay with its lengths; and what judges said.
"""

import dataclasses
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax import limits
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.files import json_text, reading, replacing
from shotverse_jax.inputs.items import Refused
from shotverse_jax.limits import shown
from shotverse_jax.screenplay import Screenplay, Shot, parse_text, to_text
from shotverse_jax.text_files import decode

SYNONYMS = {
    "prompt": ("text", "caption"),
    "chosen": ("chosen_path", "preferred", "positive", "winner"),
    "rejected": ("rejected_path", "dispreferred", "negative", "loser"),
}
"""Names of VERTIGO's fields, and the other names under which its reader takes them."""

ORIGINS = ("sampled", "reversal", "intensity", "given")
"""How a pair came to be: both plans were sampled; or the worse one is the better one backwards, or with more or less of
its motion; or somebody else made the pair."""

MOST_TOKENS = 1 << 16

Plan = np.ndarray | Trajectory
"""Pose tokens, int32 [N], BOS … EOS; or the cameras, where the tokens are not known."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """Two plans of one screenplay.

    Attributes:
        id: its name, unique in the list.
        screenplay: what was planned.
        chosen: the better plan.
        rejected: the worse plan.
        chosen_score, rejected_score: what the judges gave; None where it is not known.
        shot: the only shot in which the plans differ, counted from 0; None where any of them may.
        origin: one of `ORIGINS`.
        scores: {judge: (of the better plan, of the worse one)}.
        misframed: MisR of both plans; None where it is not known.
        image, depth: files of the first frame and its depth, for a GenDoP that reads them.
    """

    id: str
    screenplay: Screenplay
    chosen: Plan
    rejected: Plan
    chosen_score: float | None = None
    rejected_score: float | None = None
    shot: int | None = None
    origin: str = "given"
    scores: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    misframed: tuple[float, float] | None = None
    image: str | None = None
    depth: str | None = None

    @property
    def gap(self) -> float:
        """By how much the better plan's score is higher; 0 where scores are not known."""
        known = self.chosen_score is not None and self.rejected_score is not None
        return self.chosen_score - self.rejected_score if known else 0.0


def read_pairs(paths: str | Path | Sequence[str | Path]) -> list[Pair | Refused]:
    """Reads lists of pairs, one after the other; a line that cannot be used becomes a `Refused`.

    paths: a .jsonl file or several; files that they name are beside them. A text has commas between names.

    Raises:
        ValueError: a list cannot be read, or there are no pairs at all in it.
    """
    if isinstance(paths, str):
        paths = [path.strip() for path in paths.split(",") if path.strip()]
    paths = [paths] if isinstance(paths, Path) else paths
    found, seen = [], set()
    for path in map(Path, paths):
        for number, line in enumerate(_lines(path), 1):
            if line.strip():
                pair = _pair(line, f"{path.name}:{number}", path.parent)
                if pair.id in seen:
                    pair = Refused(f"{path.name}:{number}", f"the id {pair.id!r} is taken by an earlier pair")
                seen.add(pair.id)
                found.append(pair)
    if not found:
        raise ValueError(f"{', '.join(map(str, paths)) or 'the list of pairs'} holds no pairs")
    return found


def write_pairs(pairs: Iterable[Pair], path: str | Path) -> None:
    """Writes pairs whose plans are tokens. Raises ValueError for other plans, or if the file cannot be written."""
    text = "".join(json_text(to_row(pair)) + "\n" for pair in pairs)
    with replacing(path) as place:
        place.write_text(text, encoding="utf-8")


def to_row(pair: Pair) -> dict[str, Any]:
    """Returns the object of a pair's line.

    Raises:
        ValueError: a plan that is no tokens.
    """
    if isinstance(pair.chosen, Trajectory) or isinstance(pair.rejected, Trajectory):
        raise ValueError(f"{pair.id}: only pairs of tokens are written")
    play = pair.screenplay
    row = {
        "id": pair.id,
        "prompt": " ".join(filter(None, (play.caption, *(shot.caption for shot in play.shots)))),
        "screenplay": json.loads(to_text(play, "json")),
        "chosen_tokens": pair.chosen.tolist(),
        "rejected_tokens": pair.rejected.tolist(),
        "chosen_score": pair.chosen_score,
        "rejected_score": pair.rejected_score,
        "shot": pair.shot,
        "origin": pair.origin,
        "scores": {judge: list(values) for judge, values in pair.scores.items()},
        "misframed": None if pair.misframed is None else list(pair.misframed),
        "image": pair.image,
        "depth": pair.depth,
    }
    return {name: value for name, value in row.items() if value not in (None, {})}


def _lines(path: Path) -> list[str]:
    with reading(path, "a list of pairs"):
        limits.file_size(path, limits.FILE)
        return decode(path.read_bytes()).text.split("\n")


def _pair(line: str, where: str, beside: Path) -> Pair | Refused:
    name = where
    try:
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"it is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ValueError('a line is an object, like {"prompt": "…", "chosen": "a.json", "rejected": "b.json"}')
        row = _with_our_names(row)
        name = row.get("id", where)
        if not isinstance(name, str) or not name or len(name) > 1000:
            raise ValueError(f"an id is a text, got {shown(name)}")
        return _read(row, name, beside)
    except ValueError as error:
        return Refused(str(name) if isinstance(name, str) else where, " ".join(str(error).split()))


def _with_our_names(row: dict[str, Any]) -> dict[str, Any]:
    prompts = [row[name] for name in ("chosen_prompt", "rejected_prompt") if name in row]
    if len(prompts) == 2 and prompts[0] != prompts[1]:
        raise ValueError("its two plans are of different prompts")
    if prompts:
        row = {"prompt": prompts[0]} | row
    for ours, others in SYNONYMS.items():
        for other in others:
            if other in row and ours not in row:
                row = row | {ours: row[other]}
    return row


def _read(row: Mapping[str, Any], name: str, beside: Path) -> Pair:
    play = _screenplay(row)
    shot = row.get("shot")
    if shot is not None:
        shot = limits.whole(shot, "shot", 0, len(play.shots) - 1)
    origin = row.get("origin", "given")
    if origin not in ORIGINS:
        raise ValueError(f"origin is one of {', '.join(ORIGINS)}, got {shown(origin)}")
    scores = row.get("scores", {})
    if not isinstance(scores, dict):
        raise ValueError(f"scores are an object, got {shown(scores)}")
    images = {key: row.get(key) for key in ("image", "depth")}
    if wrong := [value for value in images.values() if not isinstance(value, str | None)]:
        raise ValueError(f"image and depth are names of files, got {shown(wrong[0])}")
    misframed = row.get("misframed")
    return Pair(
        name,
        play,
        _plan(row, "chosen", beside),
        _plan(row, "rejected", beside),
        *(_score(row.get(key), key) for key in ("chosen_score", "rejected_score")),
        shot,
        origin,
        {str(judge): _two(values, f"scores of {judge}") for judge, values in scores.items()},
        None if misframed is None else _two(misframed, "misframed"),
        **{key: value and str(beside / value) for key, value in images.items()},
    )


def _screenplay(row: Mapping[str, Any]) -> Screenplay:
    if "screenplay" in row:
        if not isinstance(row["screenplay"], dict):
            raise ValueError(f"screenplay is an object, got {shown(row['screenplay'])}")
        return parse_text(json.dumps(row["screenplay"]), "json")
    if not isinstance(row.get("prompt"), str):
        raise ValueError("it has no prompt")
    return Screenplay("", (Shot(row["prompt"]),))


def _plan(row: Mapping[str, Any], which: str, beside: Path) -> Plan:
    tokens, value = row.get(f"{which}_tokens"), row.get(which)
    if tokens is not None:
        good = isinstance(tokens, list) and 0 < len(tokens) <= MOST_TOKENS
        if not good or not all(type(token) is int and 0 <= token < MOST_TOKENS for token in tokens):
            raise ValueError(f"{which}_tokens are whole numbers, got {shown(tokens)}")
        return np.asarray(tokens, np.int32)
    if isinstance(value, str):
        return read_trajectory(beside / value)
    if isinstance(value, dict):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "transforms.json"
            path.write_text(json.dumps(value), encoding="utf-8")
            try:
                return read_trajectory(path)
            except ValueError as error:
                raise ValueError(str(error).replace(str(path), f"its {which} plan")) from error
    raise ValueError(f"it has no {which} plan: give {which}_tokens, or {which} with a file or its transforms")


def _score(value: Any, key: str) -> float | None:
    return None if value is None else limits.finite(value, key, -1e9, 1e9)


def _two(values: Any, what: str) -> tuple[float, float]:
    if not isinstance(values, list) or len(values) != 2:
        raise ValueError(f"{what} are two numbers, of the better plan and of the worse one, got {shown(values)}")
    return tuple(limits.finite(value, what, -1e9, 1e9) for value in values)
