"""Which parts of films are scenes, and which scenes make the proportion."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shotverse_jax.bench.choosing import choose, split
from shotverse_jax.bench.scenes import Scene
from shotverse_jax.bench.windows import SIZES, Window, place, proportioned, quotas, runs_of, timeline_of, window_of
from shotverse_jax.calibration.shots import Box
from shotverse_jax.config import BenchConfig, CalibrationConfig
from shotverse_jax.views.video import VideoInfo

CONFIG = BenchConfig(frames=49, fps=8.0)


def spans_of(lengths, first=0):
    edges = [first, *(first + np.cumsum(lengths))]
    return [(int(a), int(b)) for a, b in zip(edges, edges[1:], strict=False)]


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 90), min_size=2, max_size=4), st.sampled_from([8.0, 12.0, 23.976, 25.0]), st.integers(0, 9)
)
def test_a_window_is_whole(lengths, fps, first):
    spans, rate = spans_of(lengths, first), fps / 8
    window = window_of(spans, rate, CONFIG)
    least, room = 8 * rate, sum(lengths) - 49 * rate
    if window is None:
        inside = sum(lengths[1:-1])
        # Rounding to frames 4t+1 may cost four frames of the scene at each end.
        assert min(lengths) < least or room < 8 * rate + 1 or inside + 2 * least > (49 - 8) * rate
        return
    assert spans[0][0] <= window.start < window.cuts[0] and window.cuts[-1] < window.end <= spans[-1][1]
    assert window.cuts == tuple(start for start, _ in spans[1:])
    timeline = timeline_of(window, rate, 49)
    number_F = np.round(timeline.source_F).astype(int) + window.start
    assert number_F[0] == window.start and number_F[-1] == window.end - 1
    for (start, end), (low, high) in zip(timeline.layout.spans, spans, strict=True):
        assert ((low <= number_F[start:end]) & (number_F[start:end] < high)).all()  # no frame of another shot
        assert end - start >= 8 - 4
    # The pace is that of the film, but next to cuts; the first cut is where it was.
    assert np.abs(number_F - window.start - np.arange(49) * rate).max() <= 2 * rate + 1
    first_cut = timeline.layout.cuts[0]
    assert abs(number_F[first_cut] - window.start - first_cut * rate) <= rate / 2 + 1


def test_windows_that_there_are_not():
    assert window_of(spans_of([24, 24]), 1.0, CONFIG) is None  # 48 of 49 frames
    assert window_of(spans_of([25, 24]), 1.0, CONFIG) == Window(0, 49, (25,))
    assert window_of(spans_of([100, 7, 100]), 1.0, CONFIG) is None  # a second is 8 frames
    assert window_of(spans_of([100, 8, 100]), 1.0, CONFIG) == Window(79, 128, (100, 108))
    assert window_of(spans_of([100, 34, 100]), 1.0, CONFIG) is None  # no room for a second at each end


def test_fades_are_in_no_scene():
    assert runs_of([(0, 10), (10, 30), (35, 40), (40, 60)]) == [[(0, 10), (10, 30)], [(35, 40), (40, 60)]]
    assert place({"film": ([(0, 60), (65, 120)], 8.0)}, CONFIG).windows == []


def test_quotas():
    assert quotas(1100, (6, 3, 1)) == [660, 330, 110] and quotas(20, (6, 3, 1)) == [12, 6, 2]
    assert quotas(4, (6, 3, 1)) == [3, 1, 0] and quotas(3, (0, 1, 0)) == [0, 3, 0]
    assert all(sum(quotas(total, (6, 3, 1))) == total for total in range(50))


def test_as_many_scenes_as_there_is_room_for():
    films = {f"two{i}": (spans_of([40, 40]), 8.0) for i in range(30)}
    films |= {f"long{i}": (spans_of([20] * 10), 8.0) for i in range(4)}
    films |= {f"four{i}": (spans_of([13] * 4), 8.0) for i in range(4)}
    placed = place(films, CONFIG)
    sizes = collections.Counter(len(window.cuts) + 1 for _, window in placed.windows)
    assert [sizes[size] for size in SIZES] == quotas(len(placed.windows), (6, 3, 1)) and len(placed.windows) == 41
    assert placed.alone == {2: 30, 3: 12, 4: 4}
    used = collections.defaultdict(list)
    for name, window in placed.windows:
        used[name].append((window.start, window.end))
    for parts in used.values():
        assert all(end <= start for (_, end), (start, _) in zip(sorted(parts), sorted(parts)[1:], strict=False))
    # Films of two shots alone: there is no proportion but that of one or two scenes.
    assert len(place({f"two{i}": (spans_of([40, 40]), 8.0) for i in range(30)}, CONFIG).windows) == 1
    every = BenchConfig(frames=49, fps=8.0, proportion=(1, 0, 0))
    assert len(place({f"two{i}": (spans_of([40, 40]), 8.0) for i in range(30)}, every).windows) == 30


def scene(number, size, source):
    info, window = VideoInfo(100, 8.0, 48, 32), Window(0, 49, tuple(range(10, 10 * size, 10)))
    return Scene(f"scene{number}", "film", source, "film.mp4", info, Box(0, 0, 48, 32), window, CalibrationConfig())


def test_what_is_kept_for_the_proportion():
    sizes = [2] * 30 + [3] * 6 + [4] * 5
    kept = choose([scene(number, size, "s") for number, size in enumerate(sizes)], (6, 3, 1))
    assert [sum(one.size == size for one in kept) for size in SIZES] == [13, 6, 2]
    assert proportioned([2, 3, 4], (6, 3, 1)) == [0, 1] and proportioned([], (6, 3, 1)) == []


@pytest.mark.parametrize(("sources", "wanted"), [(1, 0), (2, 0.5), (40, 0.1)])
def test_sources_are_in_one_split(sources, wanted):
    scenes = [scene(number, 2, f"s{number % sources}") for number in range(80)]
    of_source = split(scenes, 0.1)
    assert set(of_source) == {f"s{number}" for number in range(sources)}
    share = np.mean([of_source[one.source] == "test" for one in scenes])
    assert share == pytest.approx(wanted, abs=0.03)
    assert set(split(scenes, 0.0).values()) == {"train"}
