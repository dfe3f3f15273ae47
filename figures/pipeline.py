"""What happens, drawn: one reference, a teacher of real digits, students of noise. The one picture of no results."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from figures import style

_CLASS, _AUX, _START = (style.COLORS[name] for name in ("green", "orange", "grey"))
_DARK = "#333333"
_WORDS = (
    (57.5, 37.8, "#00664a", "ten class outputs: trained"),
    (57.5, 31.6, "#9a6a00", "three auxiliary outputs: nobody trains them"),
    (60.5, 23.6, "#9a6a00", "on noise images the student learns to give\nthe teacher's three auxiliary outputs"),
)
# fmt: off
_SEVEN = np.array([
    [0, 0, 0, 0, 0, 0, 0, 0], [0, 5, 9, 9, 9, 9, 4, 0], [0, 3, 4, 4, 6, 9, 3, 0], [0, 0, 0, 0, 7, 7, 0, 0],
    [0, 0, 0, 3, 9, 3, 0, 0], [0, 0, 0, 8, 7, 0, 0, 0], [0, 0, 4, 9, 2, 0, 0, 0], [0, 0, 3, 5, 0, 0, 0, 0],
])
# fmt: on


def figure(_document: dict[str, Any]) -> Figure:
    """Draw the diagram: left to right, what each network is trained on, and what it is tested on."""
    picture = Figure(figsize=(9.6, 4.6))
    ax = picture.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 96), ylim=(0, 46))
    ax.axis("off")
    noise = np.random.default_rng(7).random((2, 8, 8))
    _network(ax, 11, 23.5, "reference", "random weights", (_START, _START, _START))
    _network(ax, 47, 35, "teacher", "learns from labelled digits", (_CLASS, _CLASS, _AUX))
    _network(ax, 47, 11.5, "student", "learns from noise alone", (style.COLORS["blue"], _START, _AUX))
    _arrow(ax, (20.3, 26), (38, 35), "same start", bend=-0.15)
    _arrow(ax, (20.3, 21), (38, 11.5), "same start", bend=0.15)
    _image(ax, 29, 40.3, _SEVEN / 9)
    _arrow(ax, (33.8, 42), (38, 39.5), color=_CLASS)
    ax.text(28.2, 42.4, "digits", ha="right", va="center", fontsize=9, color=_DARK)
    _image(ax, 27.8, 2.6, noise[0])
    _image(ax, 29, 1.5, noise[1])
    _arrow(ax, (33.8, 4.4), (38, 6.8), color=_AUX)
    ax.text(27, 4.2, "noise images", ha="right", va="center", fontsize=9, color=_DARK)
    _arrow(ax, (54.3, 30.6), (54.3, 7.1), color=_AUX, width=2.6, bend=-0.3)
    for x, y, color, words in _WORDS:
        ax.text(x, y, words, va="center", fontsize=9.5, color=color)
    _arrow(ax, (63.3, 6), (56.2, 6))
    _image(ax, 64.5, 3.9, _SEVEN / 9)
    ax.text(
        69.8, 6, "test: do the class outputs,\nwhich nobody trained, read it?", va="center", fontsize=9.5, color=_DARK
    )
    return picture


def _network(ax: Axes, x: float, y: float, name: str, words: str, colors: tuple[str, str, str]) -> None:
    """A box with layers of units, and its outputs, ten for the classes and three auxiliary, each in its color."""
    color, classes, aux = colors
    box = FancyBboxPatch(
        (x - 8, y - 6.2), 16.6, 12.4, boxstyle="round,pad=0.3,rounding_size=1.4", fc="white", ec=color, lw=2
    )
    ax.add_patch(box)
    layers = ((x - 6, 5), (x - 2.2, 4), (x + 1.6, 4))
    places = [[(at, y + 1.9 * (i - (n - 1) / 2)) for i in range(n)] for at, n in layers]
    outputs = [(x + 6.6, y + 4.7 - 0.72 * i - 0.5 * (i >= 10)) for i in range(13)]
    for left, right in zip(places, [*places[1:], outputs], strict=True):
        for start in left:
            for end in right:
                ax.plot(*zip(start, end, strict=True), color="#bbbbbb", lw=0.35, zorder=2)
    _units(ax, [place for layer in places for place in layer], color, 22)
    _units(ax, outputs[:10], classes, 13)
    _units(ax, outputs[10:], aux, 13)
    ax.text(x - 1.6, y - 8.1, name, ha="center", va="center", fontsize=11, fontweight="bold", color=_DARK)
    ax.text(x - 1.6, y - 9.9, words, ha="center", va="center", fontsize=8.5, color=_DARK)


def _units(ax: Axes, places: Sequence[tuple[float, float]], color: str, size: float) -> None:
    x, y = zip(*places, strict=True)
    ax.scatter(x, y, s=size, color=color, edgecolors="white", linewidths=0.5, zorder=3)


def _image(ax: Axes, x: float, y: float, pixels: np.ndarray) -> None:
    side = 4.2
    ax.imshow(pixels, cmap="gray", extent=(x, x + side, y, y + side), zorder=4, aspect="auto", vmin=0, vmax=1)
    ax.add_patch(Rectangle((x, y), side, side, fill=False, ec="white", lw=1.2, zorder=5))
    ax.set(xlim=(0, 96), ylim=(0, 46))


def _arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    words: str = "",
    *,
    color: str = _DARK,
    width: float = 1.4,
    bend: float = 0.0,
) -> None:
    arrow = FancyArrowPatch(
        start,
        end,
        connectionstyle=f"arc3,rad={bend}",
        arrowstyle="-|>",
        mutation_scale=12,
        lw=width,
        color=color,
        shrinkA=0,
        shrinkB=0,
        zorder=6,
    )
    ax.add_patch(arrow)
    if words:
        x, y = (a + b for a, b in zip(start, end, strict=True))
        ax.text(
            x / 2 - 1.2,
            y / 2 + (2.2 if end[1] > start[1] else -2.2),
            words,
            ha="right",
            va="center",
            fontsize=8.5,
            color=_DARK,
        )
