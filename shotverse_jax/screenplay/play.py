"""The screenplay as a value, and the exact frames at which its shots change.

Video and latent frames follow Wan's causal VAE: latent frame 0 is video frame 0, latent frame i >= 1 is video frames
4i-3 .. 4i. Totals and cuts are therefore snapped to 4t+1; every shot then owns whole latent frames.
"""

import dataclasses
import math
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from shotverse_jax.screenplay import adapters

LATENT_STRIDE = 4
"""Video frames per latent frame."""
MAX_SHOTS = 60
MAX_CAPTION_WORDS = 1_000
MAX_CAPTION_CHARACTERS = 10_000
# Five minutes at 16 frames per second, and one frame to make it 4t+1.
MAX_FRAMES = 16 * 60 * 5 + 1
MIN_SHOT_FRAMES = 4
# Wan's usual clip has 81 frames, about 5 s; a scene of ShotVerse-Bench has 249 (ShotVerse §4.1).
ONE_SHOT_FRAMES = 81
MANY_SHOTS_FRAMES = 249
_MARKERS = re.compile(r"\[\s*(global caption|per shot caption|shot cut)\s*\]", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Shot:
    """One shot.

    Attributes:
        caption: description of the shot; white space becomes single blanks.
        duration: seconds; None (default) lets `Screenplay.layout` decide.
        loras: (name, strength) of every adapter that is asked for, the strength None where none is said. Marks in the
            caption, `[lora: close-up 0.8, pan-left]`, are taken out of it and added.

    Raises:
        ValueError: the caption is empty, too long or has control characters, the duration is no positive number, or an
            adapter is written as none can be.
    """

    caption: str
    duration: float | None = None
    loras: adapters.Asked = ()

    def __post_init__(self):
        caption, marks = adapters.taken(_clean_caption(self.caption, "a shot's caption"))
        caption = " ".join(caption.split())
        object.__setattr__(self, "loras", adapters.checked((*self.loras, *marks)))
        if not caption:
            raise ValueError("a shot has no caption; say what the camera shows")
        object.__setattr__(self, "caption", caption)
        if self.duration is not None:
            seconds = _number(self.duration, "a shot's duration (seconds)", 0, MAX_FRAMES)
            if seconds == 0:
                raise ValueError("a shot's duration must be a positive number of seconds, got 0")
            object.__setattr__(self, "duration", float(seconds))

    def asking(self, loras: adapters.Asked) -> "Shot":
        """Returns the shot with more adapters; those that it names itself stay as they are."""
        own = {name for name, _ in self.loras}
        more = tuple(entry for entry in loras if entry[0] not in own)
        return dataclasses.replace(self, loras=(*self.loras, *more)) if more else self


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """Which frames belong to which shot.

    Attributes:
        num_frames: frames of the film, 4t+1.
        cuts: first frame of each of the shots 1..K-1, each 4t+1.
        spans: (first frame, end frame exclusive) of every shot.
        latent_frames: number of latent frames, t+1.
        latent_index_T: [latent_frames] int32, the shot of every latent frame.
    """

    num_frames: int
    cuts: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    latent_frames: int
    latent_index_T: np.ndarray

    def scaled(self, frames: int) -> "Layout":
        """Returns the layout of the same shots in a film of `frames` frames, snapped to 4t+1.

        Every shot gets 4 frames (the first one 5). The rest is given out one latent frame at a time, each to the shot
        that is furthest below its share of the film. A shot then differs from its share by less than one latent frame,
        unless its minimum is larger than its share.

        Raises:
            ValueError: there are fewer than 4K+1 frames for K shots.
        """
        total, count = snap(frames), len(self.spans)
        _check_room(count, total)
        length_K = np.full(count, LATENT_STRIDE)
        # Latent frame 0 stands for a single video frame, so the first shot has one frame more.
        length_K[0] += 1
        share_K = np.diff(self.spans)[:, 0] * total / self.num_frames
        while length_K.sum() < total:
            length_K[np.argmax(share_K - length_K)] += LATENT_STRIDE
        return layout_from_cuts(total, np.cumsum(length_K)[:-1])


@dataclasses.dataclass(frozen=True)
class Screenplay:
    """One scene of a film.

    Attributes:
        caption: description of everything that the shots have in common; "" for none. HoloCine's sentence "This scene
            contains K shots." is removed from it, and added again where a HoloCine prompt is written. Adapters
            that are marked in it go to every shot.
        shots: at least one.
        fps: frames per second; default 16.
        width, height: size in pixels; default 832 x 480.
        frames: number of frames, which `layout` snaps to 4t+1; None (default) lets the durations decide.
        notes: a sentence for everything that the reader of the file assumed, left out or did not understand; it is no
            part of the screenplay, and two screenplays that differ in their notes alone are equal.

    Raises:
        ValueError: there are no shots or too many, a caption or number is out of range, or the durations contradict
            `frames`.
    """

    caption: str
    shots: tuple[Shot, ...]
    fps: float = 16.0
    width: int = 832
    height: int = 480
    frames: int | None = None
    notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    def __post_init__(self):
        shots = tuple(self.shots)
        if not shots:
            raise ValueError("the screenplay has no shots; describe at least one")
        if len(shots) > MAX_SHOTS:
            raise ValueError(f"a screenplay holds at most {MAX_SHOTS} shots, got {len(shots)}; split it into scenes")
        if not all(isinstance(shot, Shot) for shot in shots):
            raise ValueError("the shots of a screenplay must be Shot values")
        caption, common = adapters.taken(_clean_caption(self.caption, "the global caption"))
        caption, shots = " ".join(caption.split()), tuple(shot.asking(common) for shot in shots)
        while caption.endswith(count_sentence(len(shots))):
            caption = caption.removesuffix(count_sentence(len(shots))).rstrip()
        object.__setattr__(self, "shots", shots)
        object.__setattr__(self, "notes", tuple(self.notes))
        object.__setattr__(self, "caption", caption)
        object.__setattr__(self, "fps", float(_number(self.fps, "fps", 1, 240)))
        for name, low, high in (("width", 16, 4096), ("height", 16, 4096), ("frames", 1, MAX_FRAMES)):
            value = getattr(self, name)
            if not (name == "frames" and value is None):
                object.__setattr__(self, name, _whole(value, name, low, high))
        self.layout()  # so that a screenplay that exists can be filmed

    def words(self, number: int) -> str:
        """Returns all that is said of shot `number` (from 0): the caption of the scene, then that of the shot."""
        return " ".join(filter(None, (self.caption, self.shots[number].caption)))

    def layout(self) -> Layout:
        """Returns the number of frames and the cuts.

        Without durations the film has `frames` frames (default 249, or 81 for one shot) and equal shots, as in
        HoloCine. With durations every cut is where the shots before it end. If only some shots have a duration, the
        others share equally the frames that are left of `frames`; without `frames` each takes the mean of the given
        durations. Every shot has at least 4 frames: cuts move to make room, and the film grows if `frames` is None.

        Raises:
            ValueError: there are too few or too many frames, or the durations contradict `frames`.
        """
        count = len(self.shots)
        durations = [shot.duration for shot in self.shots]
        if any(durations):
            ends = self._timed_ends(durations)
        else:
            total = snap(self.frames or (MANY_SHOTS_FRAMES if count > 1 else ONE_SHOT_FRAMES))
            # Halves are rounded to even, as in HoloCine's script; another rounding would move some of its cuts by a
            # frame.
            ends = [round(i * total / count) for i in range(1, count)] + [total]
        return _room_for_every_shot([snap(end) for end in ends], fixed=self.frames is not None)

    def _timed_ends(self, durations: list[float | None]) -> list[int]:
        """Frame at which every shot ends, unsnapped; at least one duration is given."""
        given = [seconds for seconds in durations if seconds is not None]
        missing = len(durations) - len(given)
        spent = math.fsum(given)
        share = spent / len(given)
        if self.frames is not None:
            total = snap(self.frames)
            if missing:
                share = (total / self.fps - spent) / missing
                if share * self.fps < MIN_SHOT_FRAMES:
                    raise ValueError(
                        f"the given durations take {spent:g} s of {total / self.fps:g} s and leave too little for the "
                        f"shots without one; raise frames ({self.frames}) or shorten them"
                    )
            elif snap(round(spent * self.fps)) != total:
                raise ValueError(
                    f"the durations add up to {spent:g} s, {round(spent * self.fps)} frames at {self.fps:g} fps, "
                    f"but frames is {self.frames}; remove frames or the durations"
                )
        filled = [share if seconds is None else seconds for seconds in durations]
        # Every end is rounded by itself from the exact sum: errors of rounding do not add up over the shots.
        return [round(math.fsum(filled[: i + 1]) * self.fps) for i in range(len(filled))]


def snap(frame: int) -> int:
    """Returns the nearest frame 4t+1; of two equally near ones that with an even t (HoloCine's inference script)."""
    return LATENT_STRIDE * round((frame - 1) / LATENT_STRIDE) + 1


def layout_from_cuts(num_frames: int, cuts: Sequence[int] = ()) -> Layout:
    """Returns the layout of a film with a known length and known cuts; all are snapped to 4t+1.

    Source: HoloCine's inference script and pipeline (the latent index of frame f is (f-1)//4 + 1).

    Args:
        num_frames: frames of the film.
        cuts: first frames of shots 1..K-1; none by default.

    Raises:
        ValueError: a cut is outside the film, or a shot has no latent frame of its own.
    """
    bounds = [0, *(snap(cut) for cut in cuts), snap(num_frames)]
    if num_frames < 1:
        raise ValueError(f"a film has at least one frame, got {num_frames}")
    if any(end <= start for start, end in zip(bounds, bounds[1:], strict=False)):
        raise ValueError(
            f"the cuts {[int(cut) for cut in cuts]} of a film of {num_frames} frames give {bounds} when snapped to "
            "4t+1, which is not increasing; move them at least 4 frames apart"
        )
    if bounds[-1] > MAX_FRAMES:
        raise ValueError(f"a film has at most {MAX_FRAMES} frames, got {bounds[-1]}; make it shorter")
    spans = tuple(zip(bounds, bounds[1:], strict=False))
    latents = [1 + (end - 1) // LATENT_STRIDE for end in bounds[1:]]
    latent_index_T = np.repeat(np.arange(len(spans)), np.diff([0, *latents])).astype(np.int32)
    return Layout(bounds[-1], tuple(bounds[1:-1]), spans, latents[-1], latent_index_T)


def _room_for_every_shot(ends: list[int], fixed: bool) -> Layout:
    """Layout of shots that end at `ends` (snapped), moved as little as possible to give each shot 4 frames.

    With `fixed` the last end stays.
    """
    count = len(ends)
    ends = list(ends)
    if fixed:
        _check_room(count, ends[-1])
    # From the left every end is pushed on behind the one before; with a fixed total, from the right they are pushed
    # back again.
    total, previous = ends[-1], 1
    for i, end in enumerate(ends):
        ends[i] = previous = max(end, previous + LATENT_STRIDE)
    if fixed:
        ends[-1] = total
        for i in reversed(range(count - 1)):
            ends[i] = min(ends[i], ends[i + 1] - LATENT_STRIDE)
    return layout_from_cuts(ends[-1], ends[:-1])


def _check_room(count: int, frames: int) -> None:
    if frames < LATENT_STRIDE * count + 1:
        raise ValueError(f"{count} shots need at least {LATENT_STRIDE * count + 1} frames, got {frames}; raise frames")


def count_sentence(count: int) -> str:
    """Returns the sentence that ends the global caption of a HoloCine prompt."""
    return f"This scene contains {count} shots."


# ---------------------------------------------------------------------------------------------------- checks


def _clean_caption(caption, what: str) -> str:
    """A caption on one line. Raises ValueError for a caption that no model could read."""
    if not isinstance(caption, str):
        raise ValueError(f"{what} must be text, got {kind_of(caption)}; put it in quotes if it looks like a number")
    # A byte order mark inside a text is no white space for `split`.
    words = caption.replace("\ufeff", " ").split()
    if len(words) > MAX_CAPTION_WORDS:
        raise ValueError(f"{what} has {len(words)} words; {MAX_CAPTION_WORDS} is the most")
    cleaned = " ".join(words)
    if len(cleaned) > MAX_CAPTION_CHARACTERS:
        raise ValueError(f"{what} has {len(cleaned)} characters; {MAX_CAPTION_CHARACTERS} is the most")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in cleaned):
        raise ValueError(f"{what} holds control characters; is this a text file?")
    marker = _MARKERS.search(cleaned)
    if marker:
        raise ValueError(f"{what} holds the marker {marker[0]}, which separates captions; remove it")
    return cleaned


def _number(value, what: str, low: float, high: float) -> float:
    # For Python True is a whole number.
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ValueError(f"{what} must be a number, got {kind_of(value)}")
    if not low <= value <= high:  # also refuses nan
        raise ValueError(f"{what} must be a number from {low} to {high}, got {short(value)}")
    return value


def _whole(value, what: str, low: int, high: int) -> int:
    value = _number(value, what, low, high)
    if value != int(value):
        raise ValueError(f"{what} must be a whole number, got {value}")
    return int(value)


def kind_of(value) -> str:
    """Returns the kind of a value in words, for an error message."""
    names = {type(None): "nothing", str: "text", bool: "a yes/no value", dict: "a mapping", list: "a list"}
    return names.get(type(value), short(value) if isinstance(value, (int, float)) else f"a {type(value).__name__}")


def short(value) -> str:
    """Returns a value in at most 60 characters, for an error message."""
    # Python refuses to print an integer of thousands of digits.
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a huge number"
    text = repr(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
