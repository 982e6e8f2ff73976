"""Screenplays as mappings: our own YAML and JSON, shot lists of language models and spreadsheets, HoloCine's arguments.

A key is understood by its usual names (`keys.py`); one that is not is named in the notes.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shotverse_jax.screenplay import lengths
from shotverse_jax.screenplay.adapters import marked, parsed
from shotverse_jax.screenplay.keys import SCENE_KEYS, SHOT_KEYS, SIZES, SUMS, key_name
from shotverse_jax.screenplay.play import MAX_SHOTS, Screenplay, Shot, kind_of, short
from shotverse_jax.text_files import Table


def scenes_of_mapping(value: Any) -> list[dict]:
    """Returns the mapping of every scene of a document: one, or those that a list named `scenes` holds.

    Raises:
        ValueError: it is no mapping and no list of shots.
    """
    if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        value = {"scenes" if all(_shots_key(entry) for entry in value) else "shots": value}
    if not isinstance(value, dict):
        known = "caption, shots, fps, width, height, frames"
        raise ValueError(f"a screenplay must be a mapping with the keys {known}, got {kind_of(value)}")
    if isinstance(value.get("frames"), list) and any(
        "transform" in str(key) for key in (*value, *_first(value["frames"]))
    ):
        raise ValueError("this is a camera file and no screenplay; give it with --trajectory")
    if len(value) == 1 and isinstance(inner := next(iter(value.values())), dict) and _shots_key(inner):
        value = inner  # {"screenplay": {...}}
    key = next((key for key in value if SCENE_KEYS.get(key_name(key)) == "scenes"), None)
    if key is None or _shots_key(value):
        shots = next((key for key in value if SCENE_KEYS.get(key_name(key)) == "shots"), None)
        groups = by_scene(value[shots]) if shots is not None and isinstance(value[shots], list) else []
        if len(groups) < 2 and not (groups and groups[0][0]):
            return [value]
        named = lambda name: {} if name.replace(".", "").isdigit() else {"title": name}  # noqa: E731
        return [{**named(name), **value, shots: rows} for name, rows in groups]
    scenes, rest = value[key], {name: entry for name, entry in value.items() if name != key}
    if not isinstance(scenes, list) or not scenes:
        raise ValueError(f"{key} must be a list with one entry per scene, got {kind_of(scenes)}")
    if not all(isinstance(scene, dict) and _shots_key(scene) for scene in scenes):
        return [{**rest, "shots": scenes}]  # scenes without shots of their own are the shots
    return [{**rest, **scene} for scene in scenes]


def _first(entries: list) -> dict:
    return entries[0] if entries and isinstance(entries[0], dict) else {}


def _shots_key(value: Any) -> bool:
    return isinstance(value, dict) and any(SCENE_KEYS.get(key_name(key)) == "shots" for key in value)


def scene_title(value: Mapping) -> str:
    """Returns what a scene is called in a list of scenes."""
    for kind in ("title", "caption"):
        for key, entry in value.items():
            if SCENE_KEYS.get(key_name(key)) == kind and isinstance(entry, str) and entry.strip():
                return " ".join(entry.split())
    return ""


def parse_mapping(value: Mapping) -> Screenplay:
    """Reads one scene. Raises ValueError for values that no screenplay can have."""
    return _Reader().screenplay(value)


class _Reader:
    def __init__(self):
        self.notes: list[str] = []

    def screenplay(self, value: Mapping) -> Screenplay:
        """Returns the screenplay of a mapping."""
        found, unknown = self._sorted(value, SCENE_KEYS)
        captions = [(key, entry) for key, entry in found.pop("caption", []) if entry is not None]
        if {"caption", "global_caption"} <= {key for key, _ in captions}:
            raise ValueError("caption and global_caption are the same thing; keep one")
        shots = self._list(found.pop("shots", []))
        settings = self._settings(found)
        looks = [self._words(key, entry, keep=True) for key, entry in found.pop("look", [])]
        title = next((entry for _, entry in found.pop("title", []) if isinstance(entry, str)), "")
        for _, entry in captions:
            if not isinstance(entry, str):
                raise ValueError(
                    f"the global caption must be text, got {kind_of(entry)}; put it in quotes if it looks like a number"
                )
        marks = self._marks(found.pop("lora", []))
        caption = _sentences([*(entry for _, entry in captions), *looks])
        self._count(caption, len(shots))
        if title and not caption:
            caption = title
            self.notes.append(f"the title {short(title)} is read as the caption of the scene")
        elif title:
            self.notes.append(f"the title {short(title)} is no part of the caption")
        caption = f"{marks}{caption}"
        made, times = [], []
        for number, entry in enumerate(shots, 1):
            if isinstance(entry, Mapping) and len(shots) > 1 and self._is_sum(entry):
                self.notes.append(
                    f"row {number} has no words and was left out: {short(', '.join(map(str, entry.values())))}"
                )
                continue
            try:
                words, time = self._shot(entry, number, settings["fps"])
                if isinstance(entry, Mapping):
                    words = self._marks(self._sorted(entry, SHOT_KEYS)[0].get("lora", [])) + words
            except ValueError as error:
                raise ValueError(f"shot {number}: {error}") from error
            made.append(words)
            times.append(time)
        seconds, more = lengths.resolve(times, settings["fps"])
        seconds = self._whole(found, settings, seconds)
        if unknown:
            names = ", ".join(short(key) for key in unknown[:8])
            self.notes.append(f"the screenplay has no key {names}; left out")
        made = [_made(number, *pair) for number, pair in enumerate(zip(made, seconds, strict=True), 1)]
        frames = {
            name: settings[name] for name in ("fps", "width", "height", "frames") if settings.get(name) is not None
        }
        return Screenplay(caption, tuple(made), notes=tuple([*self.notes, *more]), **frames)

    def _marks(self, found: list) -> str:
        """What the keys of adapters hold, as marks before a caption: a text, a list, or strengths by name."""
        marks = ""
        for key, value in found:
            if isinstance(value, Mapping):
                value = [name if strength is None else f"{name} {strength}" for name, strength in value.items()]
            if isinstance(value, Sequence) and not isinstance(value, str):
                value = ", ".join(map(str, value))
            if value not in (None, ""):
                if not isinstance(value, str):
                    raise ValueError(f"{key} names adapters, like 'close-up 0.8, pan-left'; got {kind_of(value)}")
                marks += marked(parsed(value))
        return marks

    def _sorted(self, value: Mapping, names: Mapping[str, str]) -> tuple[dict[str, list], list]:
        """({kind: [(key, entry), …]}, the keys that are not known)."""
        found: dict[str, list] = {}
        unknown = []
        for key, entry in value.items():
            kind = names.get(key_name(key))
            if kind is None:
                unknown.append(key)
            else:
                found.setdefault(kind, []).append((key_name(key), entry))
        return found, unknown

    def _list(self, found: list) -> list:
        shots = next((entry for _, entry in found), None)
        if shots is None:
            raise ValueError("the screenplay has no shots; add a list named shots")
        if isinstance(shots, dict) and shots:  # {"shot_1": {...}, "shot_2": {...}}
            shots = list(shots.values())
        if not isinstance(shots, list):
            raise ValueError(f"shots must be a list with one entry per shot, got {kind_of(shots)}")
        if len(shots) > MAX_SHOTS:
            raise ValueError(f"a screenplay holds at most {MAX_SHOTS} shots, got {len(shots)}; split it into scenes")
        return shots

    def _settings(self, found: dict[str, list]) -> dict[str, Any]:
        """fps, width, height and frames, removed from what was found."""
        settings = {"fps": 16.0}
        for name in ("fps", "width", "height", "frames"):
            for _, entry in found.pop(name, []):
                if entry is not None:
                    number = (
                        re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:fps|px|frames)?\s*", entry)
                        if isinstance(entry, str)
                        else None
                    )
                    settings[name] = float(number[1]) if number else entry
        for key, entry in found.pop("size", []):
            match = re.fullmatch(r"\s*(\d{2,5})\s*[xX×*,]\s*(\d{2,5})\s*", str(entry).strip("[]()"))
            if match:
                settings["width"], settings["height"] = int(match[1]), int(match[2])
            else:
                self.notes.append(f"{key} {short(str(entry))} is not understood and was left out")
        if (
            isinstance(settings["fps"], bool)
            or not isinstance(settings["fps"], (int, float))
            or not settings["fps"] > 0
        ):
            Screenplay("", (Shot("x"),), fps=settings["fps"])  # says what is wrong
        return settings

    def _whole(self, found: dict, settings: dict, seconds: list[float | None]) -> list[float | None]:
        """The lengths of shots, with HoloCine's cuts and with a length of the whole film."""
        for key, cuts in found.pop("cuts", []):
            if cuts is None:
                continue
            frames = settings.get("frames")
            if not isinstance(cuts, list) or not all(
                isinstance(cut, int) and not isinstance(cut, bool) for cut in cuts
            ):
                raise ValueError(f"{key} must be a list of frame numbers, got {kind_of(cuts)}")
            if len(cuts) != len(seconds) - 1:
                raise ValueError(f"{key} has {len(cuts)} cuts, and {len(seconds)} shots have {len(seconds) - 1}")
            if frames is None:
                raise ValueError(f"{key} needs num_frames, the frames of the whole film")
            bounds = [0, *cuts, frames]
            if any(not isinstance(b, (int, float)) or b <= a for a, b in zip(bounds, bounds[1:], strict=False)):
                raise ValueError(f"the cuts {short(str(cuts))} must rise from 1 to the last of {frames} frames")
            return [(b - a) / settings["fps"] for a, b in zip(bounds, bounds[1:], strict=False)]
        for key, entry in found.pop("duration", []):
            time = self._time(entry)
            total = None if time is None else time.first
            if total and not any(seconds) and settings.get("frames") is None:
                return [total / len(seconds)] * len(seconds)
            given = sum(filter(None, seconds))
            if total is None or abs(total - given) > 0.01 * max(total, 1) or None in seconds:
                self.notes.append(
                    f"{key} {short(str(entry))} of the whole film was left out; the shots' own lengths count"
                )
        return seconds

    def _count(self, caption: str, shots: int) -> None:
        found = re.search(r"This scene contains (\d+) shots?\.\s*$", caption)
        if found and int(found[1]) != shots:
            self.notes.append(f"the caption says {found[1]} shots, and there are {shots}")

    def _shot(self, entry: Any, number: int, fps: float) -> tuple[str, lengths.Time | None]:
        """(caption, time) of a shot."""
        if isinstance(entry, str):
            return entry, None
        if not isinstance(entry, Mapping):
            raise ValueError(f"a shot must be text or a mapping with the keys caption, duration, got {kind_of(entry)}")
        found, unknown = self._sorted(entry, SHOT_KEYS)
        if unknown:
            names = ", ".join(short(key) for key in unknown[:8])
            self._say(f"a shot has no key {names}; left out", number)
        captions = [self._words(key, value) for key, value in found.get("caption", [])]
        # "Shot" may be the number of a shot, its size or its description.
        captions = captions or [v for _, v in found.get("number", []) if isinstance(v, str) and len(v.split()) > 2]
        sizes = [self._words(key, value) for key, value in found.get("size", [])]
        sizes += [
            value
            for _, value in found.get("number", [])
            if isinstance(value, str) and value.strip().casefold() in SIZES
        ]
        sizes = [SIZES.get(size.strip().casefold(), size) for size in sizes]
        angles = [self._words(key, value) for key, value in found.get("angle", [])]
        cameras = [self._words(key, value) for key, value in found.get("camera", [])]
        cameras = [value if "camera" in value.casefold() else f"Camera: {value}" for value in cameras if value]
        more = [self._words(key, value, keep=True) for kind in ("lens", "look") for key, value in found.get(kind, [])]
        spoken = [self._words(key, value, keep=True) for key, value in found.get("dialogue", [])]
        if any(spoken):
            self._say("what is said is added to the caption of its shot", None)
        for key, value in found.get("out", []):
            if value not in (None, "", []):
                self._say(f"{key} was left out: it is no part of a picture", number)
        parts: list[str] = []
        for part in (*sizes, *angles, *captions, *cameras, *more, *spoken):
            if part and not any(part.rstrip(".").casefold() in said.casefold() for said in parts):
                parts.append(part)
        if len(captions) == 1 and parts == [captions[0]]:
            return captions[0], self._shot_time(found, fps)
        if not parts:
            raise ValueError("a shot has no caption; say what the camera shows")
        return _sentences(parts), self._shot_time(found, fps)

    def _is_sum(self, entry: Mapping) -> bool:
        """Whether a row of a table says "Total" in place of a description."""
        described = any(SHOT_KEYS.get(key_name(key)) == "caption" and value for key, value in entry.items())
        return not described and any(str(value).strip(" :").casefold() in SUMS for value in entry.values())

    def _shot_time(self, found: dict[str, list], fps: float) -> lengths.Time | None:
        for key, value in found.get("duration", []):
            if value not in (None, ""):
                if isinstance(value, str) and not self._time(value):
                    raise ValueError(f"{key} {short(value)} is no length; a duration is a number of seconds, got text")
                return self._time(value)
        for _, value in found.get("milliseconds", []):
            if value not in (None, ""):
                return lengths.Time("length", _float(value) / 1000, 0.0, f"{value} ms")
        for _, value in found.get("span", []):
            if isinstance(value, str) and (time := lengths.read_time(value)):
                return time
        ends = [next((v for _, v in found.get(kind, []) if v not in (None, "")), None) for kind in ("start", "end")]
        if None not in ends:
            first, second = (self._time(end) for end in ends)
            if first and second:
                return lengths.Time("span", first.first, second.first, f"{ends[0]} to {ends[1]}")
        for _, value in found.get("frames", []):
            if value not in (None, "") and not isinstance(value, list):
                return lengths.Time("length", _float(value) / fps, 0.0, f"{value} frames")
        return None

    def _time(self, value: Any) -> lengths.Time | None:
        """The time of a value: a number of seconds, or text; None for what is none."""
        if isinstance(value, str):
            clean = value.strip()
            time = lengths.read_time(clean) or lengths.read_time(f"duration: {clean}")
            # A spreadsheet writes 4 s as 0:00:04.
            return time or lengths.read_time(f"{clean}s")
        if value is None:
            return None
        Shot("x", value)  # says what is wrong with a number
        return lengths.Time("length", float(value), 0.0, str(value))

    def _words(self, key: str, value: Any, keep: bool = False) -> str:
        """The words of a value; lists and mappings become enumerations. `keep`: with the key before them."""
        if value is None:
            return ""
        if isinstance(value, Mapping):
            pairs = [(name, self._words("", entry)) for name, entry in value.items() if entry not in (None, "")]
            plain = ("description", "type", "name", "movement")
            words = ", ".join(entry if name in plain else f"{name}: {entry}" for name, entry in pairs)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words = "; ".join(filter(None, (self._words("", entry) for entry in value)))
        elif isinstance(value, str) or key == "":
            words = str(value).strip()
        elif keep and isinstance(value, (int, float)):
            words = f"{value}"
        else:
            raise ValueError(
                f"a shot's caption must be text, got {kind_of(value)}; put it in quotes if it looks like a number"
            )
        return f"{key.replace('_', ' ').capitalize()}: {words}" if keep and words else words

    def _say(self, note: str, number: int | None) -> None:
        """Notes something once; `number` is the first shot of which it is true."""
        if not any(note in said for said in self.notes):
            self.notes.append(note if number is None else f"shot {number}: {note}")


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a length must be a number, got {short(str(value))}") from error


def _made(number: int, words: str, seconds: float | None) -> Shot:
    try:
        return Shot(words, seconds)
    except ValueError as error:
        raise ValueError(f"shot {number}: {error}") from error


def _sentences(parts: Sequence[str]) -> str:
    """Parts as sentences, each with a full stop where it ends without one."""
    parts = [part.strip() for part in parts if part and part.strip()]
    closed = [
        part if part[-1] in '.!?。！？…”"' or len(parts) == 1 else part + ("." if part[-1].isascii() else "。")
        for part in parts
    ]
    return " ".join(closed)


def rows_of_table(table: Table) -> list[dict]:
    """Returns the shots of a table as mappings, one a row; a row without words, such as a sum, says so under "".

    Raises:
        ValueError: no column describes the shots.
    """
    if not {"caption", "camera"} & {SHOT_KEYS.get(key_name(name)) for name in table.columns}:
        names = ", ".join(table.columns)
        raise ValueError(
            f"a table of shots needs a column that describes them, such as Description; it has {short(names)}"
        )
    return [dict(filter(lambda pair: pair[1], zip(table.columns, cells, strict=False))) for _, cells in table.rows]


def by_scene(shots: list) -> list[tuple[str, list]]:
    """Returns (name, shots) of every scene that the key `scene` of shots tells apart; without it one, named ""."""
    key = next((key for key in _first(shots) if SHOT_KEYS.get(key_name(key)) == "scene"), None)
    if key is None or not all(isinstance(shot, Mapping) for shot in shots):
        return [("", shots)]
    scenes: dict[str, list] = {}
    name = ""
    for shot in shots:
        name = str(shot.get(key) or name).strip()  # a table may name the scene in its first row only
        scenes.setdefault(name, []).append({other: value for other, value in shot.items() if other != key})
    return list(scenes.items())
