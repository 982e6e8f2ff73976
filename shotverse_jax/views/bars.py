"""Counts as bars, several panels on a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from shotverse_jax.views.drawing import INK, PALE, short, write_figure

COLORS = ("#31688e", "#e08e45", "#7aa974")
COLUMNS = 2
ROW, HEAD, EMPTY = 0.26, 0.85, 0.5
"""Inches: the height of a bar, of what is around the bars of a panel, and of a panel without bars."""


class Panel(NamedTuple):
    """A panel.

    Attributes:
        title: what is counted.
        counts: by the names of the bars, a number for each series.
        series: names of the series, for the legend; one without a name by default.
    """

    title: str
    counts: Mapping[str, Sequence[float]]
    series: Sequence[str] = ("",)


def plot_bars(title: str, panels: Sequence[Panel], path: str | Path) -> None:
    """Draws panels of horizontal bars in two columns, series one after the other.

    Raises:
        ValueError: the picture cannot be written.
    """
    rows = [panels[i : i + COLUMNS] for i in range(0, len(panels), COLUMNS)]
    heights = [HEAD + max(ROW * len(panel.counts) or EMPTY for panel in row) for row in rows]
    width, height = 11.0, sum(heights) + 0.6
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.02, 1 - 0.32 / height, short(title, 100), fontsize=13, color=INK, va="center")
    top = height - 0.6
    for row, tall in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            inside = ROW * len(panel.counts) or EMPTY
            left, span = column / COLUMNS + 0.13, 1 / COLUMNS - 0.16
            axes = figure.add_axes((left, (top - 0.4 - inside) / height, span, inside / height))
            _draw(axes, panel)
        top -= tall
    write_figure(figure, Path(path))


def _draw(axes, panel: Panel) -> None:
    names = [short(name, 22) for name in panel.counts]
    axes.set_title(panel.title, fontsize=10, color=INK, loc="left")
    axes.set_yticks(range(len(names)), names, fontsize=8.5, color=INK)
    axes.set_xticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(PALE)
    axes.tick_params(length=0)
    if not names:
        axes.text(0, 0.5, "none", fontsize=9, color=PALE, va="center", transform=axes.transAxes)
        axes.spines["left"].set_visible(False)
        return
    axes.set_ylim(len(names) - 0.5, -0.5)
    ends = [0.0] * len(names)
    for number, label in enumerate(panel.series):
        values = [counts[number] for counts in panel.counts.values()]
        axes.barh(range(len(names)), values, left=ends, height=0.7, color=COLORS[number % len(COLORS)], label=label)
        ends = [end + value for end, value in zip(ends, values, strict=True)]
    most = max(ends) or 1.0
    axes.set_xlim(0, 1.12 * most)
    for place, counts in enumerate(panel.counts.values()):
        text = " + ".join(f"{value:g}" for value in counts)
        axes.text(ends[place] + 0.01 * most, place, text, fontsize=8, color=INK, va="center")
    if len(panel.series) > 1:
        axes.legend(fontsize=8, frameon=False, loc="lower right")
