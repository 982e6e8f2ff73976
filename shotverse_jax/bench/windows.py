"""Which parts of a film are scenes: consecutive shots around hard cuts, as long as a scene is."""

import collections
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from shotverse_jax.config import BenchConfig
from shotverse_jax.data.scenes.timeline import Timeline, cut_to_length
from shotverse_jax.screenplay import LATENT_STRIDE, snap

SIZES = (2, 3, 4)
"""Shots of a scene."""

Span = tuple[int, int]


class Window(NamedTuple):
    """A part of a film that is a scene.

    Attributes:
        start: its first frame in the film.
        end: its end there, exclusive.
        cuts: first frames of its second and later shots there.
    """

    start: int
    end: int
    cuts: tuple[int, ...]


def window_of(spans: Sequence[Span], rate: float, config: BenchConfig) -> Window | None:
    """Returns the part of consecutive shots that is a scene; None where they are too short, or those inside too long.

    The pace of the film stays, so that frames are left out at the beginning of the first shot and at the end of the
    last one only, about as many at both. The first cut falls on a frame 4t+1 of the scene.

    Args:
        spans: [start, end) of the shots, without gaps.
        rate: frames of the film for one of the scene.
        config: the length of scenes and of their shots.
    """
    frames, least = config.frames, math.ceil(config.least * config.fps)
    first, inside, last = spans[0], spans[-1][0] - spans[0][1], spans[-1]
    if min(end - start for start, end in spans) < least * rate:
        return None
    room = frames - inside / rate  # for the first and the last shot, in frames of the scene
    # The last frame of a scene is shown as long as any other, but needs no frame of the film behind it.
    most = [math.floor((last[1] - last[0] - 1) / rate) + 1, math.floor((first[1] - first[0]) / rate)]
    low, high = max(least, room - most[0]), min(most[1], room - least)
    head = snap(round(min(max(room / 2, low), high)))
    head += LATENT_STRIDE * (head < low)
    head -= LATENT_STRIDE * (head > high)
    if not low <= head <= high:
        return None
    start = first[1] - round(head * rate)
    if start < first[0]:
        return None
    end = start + round((frames - 1) * rate) + 1
    window = Window(start, end, tuple(start for start, _ in spans[1:]))
    return window if end <= last[1] and len(timeline_of(window, rate, frames).layout.spans) == len(spans) else None


def timeline_of(window: Window, rate: float, frames: int) -> Timeline:
    """Returns which frames of a window, counted from its first, a scene shows, with its cuts at frames 4t+1."""
    return cut_to_length(frames, rate, window.end - window.start, [cut - window.start for cut in window.cuts])


def runs_of(spans: Sequence[Span]) -> list[list[Span]]:
    """Returns the runs of shots between which there are hard cuts: frames of gradual transitions are in no scene."""
    runs: list[list[Span]] = []
    for span in spans:
        if runs and runs[-1][-1][1] == span[0]:
            runs[-1].append(span)
        else:
            runs.append([span])
    return runs


def quotas(total: int, proportion: Sequence[int]) -> list[int]:
    """Returns how many of `total` scenes have each size, as near to the proportion as whole numbers are."""
    share = np.array(proportion, float) / sum(proportion) * total
    counts = np.floor(share).astype(int)
    # The largest remainders get one more; of equal ones those of fewer shots.
    for k in np.argsort((counts - share).round(9), kind="stable")[: total - counts.sum()]:
        counts[k] += 1
    return counts.tolist()


class Placed(NamedTuple):
    """Scenes that films have room for.

    Attributes:
        windows: (film, window) of every scene, in the order of the films.
        alone: how many scenes of each size there would be if there were no others.
    """

    windows: list[tuple[str, Window]]
    alone: dict[int, int]


def place(films: Mapping[str, tuple[Sequence[Span], float]], config: BenchConfig) -> Placed:
    """Returns as many scenes as the films have room for in the proportion that is wanted; a shot is in one at most.

    films: by their names, [start, end) of their shots and their frames per second.
    """
    runs = [(name, fps / config.fps, run) for name, (spans, fps) in films.items() for run in runs_of(spans)]
    fitting = _Fitting(runs, config)
    alone = {size: len(fitting.place({size: sum(len(run) for _, _, run in runs)}) or ()) for size in SIZES}
    low, high = 0, sum(alone.values())
    best: list[tuple[int, int, int]] = []
    while low < high:
        middle = (low + high + 1) // 2
        wanted = dict(zip(SIZES, quotas(middle, config.proportion), strict=True))
        found = fitting.place(wanted)
        if len(found) == middle:
            low, best = middle, found
        else:
            high = middle - 1
    return Placed([(runs[run][0], fitting.window(run, first, size)) for run, first, size in sorted(best)], alone)


class _Fitting:
    """Finds places for scenes in runs of shots; windows are looked for once."""

    def __init__(self, runs: Sequence[tuple[str, float, Sequence[Span]]], config: BenchConfig):
        self._runs, self._config = runs, config
        self._windows: dict[tuple[int, int, int], Window | None] = {}
        self._fits = {size: [list(self._firsts(run, size)) for run in range(len(runs))] for size in SIZES}

    def window(self, run: int, first: int, size: int) -> Window | None:
        """The window of so many shots of a run from the first one."""
        key = run, first, size
        if key not in self._windows:
            _, rate, spans = self._runs[run]
            self._windows[key] = window_of(spans[first : first + size], rate, self._config)
        return self._windows[key]

    def _firsts(self, run: int, size: int) -> Iterator[int]:
        count = len(self._runs[run][2])
        return (first for first in range(count - size + 1) if self.window(run, first, size) is not None)

    def place(self, wanted: Mapping[int, int]) -> list[tuple[int, int, int]]:
        """Returns (run, first shot, size) of scenes, fewer than are wanted where there is no room.

        The largest are placed first, each where the fewest shots are left over.
        """
        free = [np.ones(len(spans), bool) for _, _, spans in self._runs]
        placed = []
        for size in sorted(wanted, reverse=True):
            left = wanted[size]
            for run in sorted(range(len(self._runs)), key=lambda run: free[run].sum()):
                for first in self._fits[size][run]:
                    if left and free[run][first : first + size].all():
                        free[run][first : first + size] = False
                        placed.append((run, first, size))
                        left -= 1
        return placed


def proportioned(sizes: Sequence[int], proportion: Sequence[int]) -> list[int]:
    """Returns which scenes to keep, by their places in a list of their sizes, for the proportion; the first ones."""
    there = collections.Counter(sizes)
    total = len(sizes)
    while any(there[size] < count for size, count in zip(SIZES, quotas(total, proportion), strict=True)):
        total -= 1
    left = dict(zip(SIZES, quotas(total, proportion), strict=True))
    kept = []
    for place_, size in enumerate(sizes):
        if left.get(size, 0):
            left[size] -= 1
            kept.append(place_)
    return kept
