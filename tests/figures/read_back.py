"""What is drawn, read back from Matplotlib: the numbers beside each label."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

Row = dict[str, Any]


def text(words: str) -> str:
    """Words on one line."""
    return " ".join(words.split())


def ticks(ax: Axes, axis: str) -> dict[float, str]:
    """The labels of an axis by their places."""
    one = ax.xaxis if axis == "x" else ax.yaxis
    places, labels = one.get_majorticklocs(), one.get_majorticklabels()
    return {float(place): text(label.get_text()) for place, label in zip(places, labels, strict=True)}


def near(found: Sequence[float] | np.ndarray, expected: Sequence[float] | np.ndarray) -> bool:
    """Whether these are the same numbers in the same order, to rounding of what results keep."""
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    return found.shape == expected.shape and bool(np.allclose(found, expected, rtol=1e-9, atol=1e-9))


def strips(ax: Axes) -> dict[tuple[str, str], float]:
    """The height of every row of a panel of rows, by heading and label."""
    headings = sorted(
        (float(note.xy[1]), text(note.get_text()))
        for note in ax.texts
        if isinstance(note, Annotation) and note.get_fontweight() == "bold"
    )
    found = {}
    for place, label in ticks(ax, "y").items():
        above = [words for y, words in headings if y < place]
        found[above[-1] if above else "", label] = place
    return found


def demand_strip(ax: Axes, y: float, row: Row, *, seen: bool = True) -> None:
    """Demand that what is drawn at a height is a row: mean, interval, median and every run (far outliers as arrows)."""
    values = np.asarray(row["per_run"], float)
    bars = [bar for bar in errorbars(ax) if bar["y"][0] == y]
    assert len(bars) == 1
    assert bars[0]["x"][0] == pytest.approx(row["mean"], rel=1e-9)
    ends = row["ci95"] or []
    assert sorted(bars[0]["ends"]) == pytest.approx(sorted(ends), rel=1e-9, abs=1e-12)
    (median,) = [line.get_xdata()[0] for line in marked(ax, "D") if line.get_ydata()[0] == y]
    assert median == pytest.approx(np.median(values))
    dots = [x for kind in (".", "o") for line in marked(ax, kind) for x in at(line, y)]
    arrows = [note for note in ax.texts if isinstance(note, Annotation) and note.get_fontweight() != "bold"]
    far = [note.get_text() for note in arrows if abs(float(note.xy[1]) - y) < 0.3]
    drawn, rest = sorted(dots), sorted(values)
    for x in drawn:
        rest.remove(next(value for value in rest if abs(value - x) < 1e-9))
    assert sorted(far) == sorted(f"{value:.1f}".replace("-", "\u2212") for value in rest)
    if seen:
        low, high = sorted(ax.get_xlim())
        assert low <= row["mean"] <= high


def marked(ax: Axes, marker: str) -> list[Line2D]:
    """The lines of dots with a marker that are no means of error bars."""
    means = {id(container.lines[0]) for container in ax.containers if isinstance(container, ErrorbarContainer)}
    return [line for line in ax.lines if line.get_marker() == marker and id(line) not in means]


def at(line: Line2D, y: float) -> list[float]:
    """The x of the dots of a line around a height."""
    return [float(x) for x, height in zip(*line.get_data(), strict=True) if abs(height - y) < 0.3]


def errorbars(ax: Axes) -> list[dict[str, Any]]:
    """Every error bar: its points, and the ends of its bars along the axis that they lie on."""
    found = []
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer):
            line, _, bars = container.lines
            assert line is not None
            pairs = [segment for bar in bars for segment in bar.get_segments()]
            along = 0 if container.has_xerr else 1
            ends = [float(v) for pair in pairs for v in pair[:, along]]
            x, y = line.get_data()
            found.append(
                {"x": np.asarray(x, float).ravel().tolist(), "y": np.asarray(y, float).ravel().tolist(), "ends": ends,
                 "label": container.get_label(), "color": to_hex(line.get_color())}
            )  # fmt: skip
    return found


def curves(ax: Axes) -> dict[str, Line2D]:
    """The lines that the legend names."""
    return {text(str(line.get_label())): line for line in ax.lines if not str(line.get_label()).startswith("_")}


def demand_band(ax: Axes, label: str, x: Sequence[float], rows: Sequence[Row]) -> None:
    """Demand that beside a label of the legend are means, medians (dashed) and intervals (a band) of rows."""
    line = curves(ax)[label]
    assert near(line.get_xdata(), x)
    assert near(line.get_ydata(), [row["mean"] for row in rows])
    same = [other for other in ax.lines if other is not line and other.get_color() == line.get_color()]
    (dashed,) = [other for other in same if other.get_linestyle() == "--"]
    assert near(dashed.get_xdata(), x)
    assert near(dashed.get_ydata(), [np.median(row["per_run"]) for row in rows])
    color = to_hex(line.get_color())
    (area,) = [
        area for area in ax.collections if len(area.get_facecolor()) and to_hex(area.get_facecolor()[0]) == color
    ]
    corners = area.get_paths()[0].vertices
    for place, row in zip(x, rows, strict=True):
        here = corners[np.isclose(corners[:, 0], place), 1]
        assert near([here.min(), here.max()], row["ci95"]), (label, place)


def bars(ax: Axes, color: str) -> dict[float, Rectangle]:
    """The bars of a colour by the middle of each."""
    own = [patch for patch in ax.patches if isinstance(patch, Rectangle) and to_hex(patch.get_facecolor()) == color]
    return {patch.get_x() + patch.get_width() / 2: patch for patch in own}


def legend(ax: Axes) -> dict[str, str]:
    """The colour of every patch that the legend names."""
    shown = ax.get_legend()
    assert shown is not None
    colors = [to_hex(handle.get_facecolor()) for handle in shown.get_patches()]  # type: ignore[arg-type]
    return dict(zip([text(words.get_text()) for words in shown.get_texts()], colors, strict=True))


def demand_bar(ax: Axes, x: float, height: float, values: Sequence[float], ends: Sequence[float]) -> None:
    """Demand that around a place is one bar of this height, with an interval and a dot for every run."""
    (error,) = [bar for bar in errorbars(ax) if abs(bar["x"][0] - x) < 1e-9]
    assert error["y"][0] == pytest.approx(height)
    assert sorted(error["ends"]) == pytest.approx(sorted(ends))
    dots = [line for line in ax.lines if line.get_marker() == "." and abs(np.mean(line.get_xdata()) - x) < 1e-6]
    assert [sorted(line.get_ydata()) for line in dots] == [pytest.approx(sorted(values))]


def cells(ax: Axes) -> dict[tuple[str, str], tuple[float, str]]:
    """A heat map's numbers and words by the labels down and across."""
    down, across = ticks(ax, "y"), ticks(ax, "x")
    grid = np.asarray(ax.images[0].get_array())
    words = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in ax.texts}
    assert grid.shape == (len(down), len(across))
    return {(down[y], across[x]): (float(grid[int(y), int(x)]), words[int(y), int(x)]) for y in down for x in across}
