"""The one way to draw: sizes, colours that colour-blind readers can tell apart, rows of runs, titles, and saving.

Runs are dots. A filled circle with a bar is their mean with its 95% t interval; a white diamond is their median.
Outliers are drawn as hollow circles, or, where they would stretch an axis, as an arrow at its end with their value
beside it. Intervals and outliers are those that rows of results carry (subliminal_toy/statistics.py).
"""

import contextlib
import io
import os
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

_BACKEND = os.environ.pop("MPLBACKEND", None)  # a notebook's, which Matplotlib refuses where it is not installed
import matplotlib as mpl  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

if _BACKEND is not None:  # the user's own pictures are drawn as before
    os.environ["MPLBACKEND"] = _BACKEND
    with contextlib.suppress(ValueError):
        mpl.rcParams["backend"] = _BACKEND

COLUMN_WIDTH = 6.4  # inches
COLORS = {  # Okabe and Ito's palette
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#999999",
}
DATASETS = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "digits": "8x8 digits"}
CHANGE = "change of the trait's log odds (nats)"
_RC: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.dpi": 180,
    "svg.hashsalt": "subliminal-toy",  # the same picture, the same file
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.hspace": 0.06,
}


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Apply our style over Matplotlib's defaults, whatever the user's are, for the block that draws and saves."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def new_figure(
    rows: int = 1, columns: int = 1, *, height: float = 3.0, width: float = COLUMN_WIDTH, **grid: Any
) -> tuple[Figure, np.ndarray]:
    """Make a figure and its axes [rows, columns], without pyplot's state. Sizes in inches; `grid`: for subplots."""
    figure = empty_figure(height=height, width=width)
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


def empty_figure(*, height: float = 3.0, width: float = COLUMN_WIDTH) -> Figure:
    """Make a figure without axes, for layouts that are not a plain grid. Sizes in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def title(picture: Figure, finding: str, how: str = "") -> None:
    """Write a sentence that says what is seen, and below the picture how it was made."""
    wide = picture.get_figwidth()
    picture.suptitle(textwrap.fill(finding, int(11.5 * wide)), x=0.015, ha="left", fontsize=10, fontweight="bold")
    if how:
        picture.supxlabel(textwrap.fill(how, int(17 * wide)), x=0.015, ha="left", fontsize=7.5, color="#444444")


def seeds(runs: int, over: str = "5 traits") -> str:
    """Say how a picture of the language model was made."""
    return (
        f"toy language model, n = {runs} seeds (dots, each a mean over {over}); circle and bar: mean and 95% t"
        " interval; white diamond: median; hollow circle: outlier"
    )


def as_bytes(figure: Figure, kind: str = "png") -> bytes:
    """Draw the picture as PNG or SVG."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # numbers that cannot be drawn
        metadata = {"Software": None} if kind == "png" else {"Date": None}
        figure.savefig(buffer, format=kind, metadata=metadata, backend={"png": "agg"}.get(kind, kind))
    return buffer.getvalue()


def outliers(row: dict[str, Any]) -> np.ndarray:
    """Return which of a row's runs are its "outliers", as a mask."""
    return np.isin(np.arange(len(row["per_run"])), row["outliers"])


def spread(n: int, width: float = 0.5) -> np.ndarray:
    """Place n dots around 0, spread evenly so that the picture is always the same."""
    return width * ((np.arange(n) + 0.5) / n - 0.5)[np.random.default_rng(0).permutation(n)]


def points(ax: Axes, x: float, values: list[float], *, width: float = 0.5) -> None:
    """Draw one small dot per run around position x."""
    ax.plot(x + spread(len(values), width), values, ".", color="black", markersize=3, alpha=0.45, zorder=3, mew=0)


def bar(ax: Axes, x: float, mean: float, ci95: list[float] | None, *, capsize: float = 3) -> None:
    """Draw the 95% interval of a mean; nothing for a single run, which has none."""
    if ci95 is not None:
        ax.errorbar(x, mean, [[mean - ci95[0]], [ci95[1] - mean]], color="black", capsize=capsize, lw=1.4, zorder=4)


def limits(rows: Sequence[dict[str, Any]], *, whole: bool = False) -> tuple[float, float]:
    """Return ends of an axis that holds 0, intervals and runs but far outliers (`whole`: these, too), with room."""
    values = [np.asarray(row["per_run"], float) for row in rows]
    inner = [runs[~outliers(row)] for runs, row in zip(values, rows, strict=True)]
    kept = np.concatenate([[0.0], *inner, *(row["ci95"] or [] for row in rows)])
    room = 0.25 * (np.ptp(kept) or 1.0)
    near = [v for runs in values for v in runs if whole or kept.min() - room <= v <= kept.max() + room]
    low, high = min(kept.min(), *near), max(kept.max(), *near)
    return low - 0.2 * room, high + 0.2 * room


def strip(ax: Axes, y: float, row: dict[str, Any], *, color: str) -> None:
    """Draw a row's runs ("per_run") at height y, their mean with its interval, and their median; see above."""
    values, places = np.asarray(row["per_run"], float), y + spread(len(row["per_run"]))
    marked = outliers(row)
    ax.plot(values[~marked], places[~marked], ".", color="black", markersize=3.5, alpha=0.45, mew=0)
    low, high = ax.get_xlim()
    for value, place in zip(values[marked], places[marked], strict=True):
        if low <= value <= high:
            ax.plot(value, place, "o", mfc="none", mec=COLORS["black"], ms=4, mew=0.8)
        else:
            _off(ax, value, place)
    half = None if row["ci95"] is None else (row["ci95"][1] - row["ci95"][0]) / 2
    ax.errorbar(row["mean"], y, xerr=half, color=color, marker="o", ms=4.5, capsize=3, lw=1.5, zorder=4)
    ax.plot(np.median(values), y, "D", mfc="white", mec=color, ms=3.2, mew=0.9, zorder=5)


def _off(ax: Axes, value: float, y: float) -> None:
    """Draw an outlier beyond the ends of the axis: an arrow there, and its value."""
    low, high = ax.get_xlim()
    end, arrow, side, room = (high, ">", "right", -4) if value > high else (low, "<", "left", 4)
    ax.plot(end, y, arrow, color=COLORS["black"], ms=4, mew=0, clip_on=False)
    look: Any = {"ha": side, "va": "center", "fontsize": 6.5, "color": COLORS["black"]}
    ax.annotate(f"{value:.1f}".replace("-", "\u2212"), (end, y), (room, 0), textcoords="offset points", **look)


Block = tuple[str, str, list[dict[str, Any]]]  # a heading, a colour, rows with "words"


def blocks(ax: Axes, blocks: Sequence[Block], *, xlabel: str = CHANGE, zero: float = 0.0, whole: bool = False) -> None:
    """Draw strips from top to bottom under bold headings, with a line at `zero`; `whole`: as in limits."""
    ax.set_xlim(*limits([row for _, _, rows in blocks for row in rows], whole=whole))
    ticks, y = [], 0.0
    for heading, color, rows in blocks:
        if heading:
            ax.annotate(heading, (0, y), xycoords=("axes fraction", "data"), xytext=(-4, 0), fontsize=8.5, ha="right",
                        textcoords="offset points", fontweight="bold", va="center", annotation_clip=False)  # fmt: skip
            y += 0.9
        for row in rows:
            strip(ax, y, row, color=COLORS[color])
            ticks.append((y, row["words"]))
            y += 1
        y += 0.4
    ax.axvline(zero, color="black", lw=0.8, ls=":", zorder=0)
    ax.set_yticks([place for place, _ in ticks], [words for _, words in ticks], fontsize=8)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(y - 0.7, -0.8)
    ax.set_xlabel(xlabel)


def blocks_height(blocks: Sequence[Block]) -> float:
    """Return the inches that such a picture wants."""
    return 1.55 + 0.215 * sum(len(rows) + 1.3 * bool(heading) for heading, _, rows in blocks)


def rows_figure(blocks_: Sequence[Block], finding: str, how: str, *, xlabel: str = CHANGE, zero: float = 0.0) -> Figure:
    """Draw one such panel."""
    picture, axes = new_figure(height=blocks_height(blocks_))
    blocks(axes[0, 0], blocks_, xlabel=xlabel, zero=zero)
    title(picture, finding, how)
    return picture


def band(ax: Axes, x: Sequence[float], rows: list[dict[str, Any]], *, color: str, label: str) -> None:
    """Draw a line through the means of rows, with their intervals as a band, and a dashed one through the medians."""
    ax.plot(x, [row["mean"] for row in rows], ".-", color=color, label=label)
    ax.plot(x, [np.median(row["per_run"]) for row in rows], "--", color=color, lw=1)
    if all(row["ci95"] is not None for row in rows):
        ax.fill_between(x, *np.transpose([row["ci95"] for row in rows]), color=color, alpha=0.18, lw=0)


def matrix(ax: Axes, picture: Figure, rows: list[dict[str, Any]]) -> None:
    """Draw a heat map of rows with "student" and "teacher", by student; means with half their intervals."""
    names = list(dict.fromkeys(row["student"] for row in rows))
    grid = np.array([row["mean"] for row in rows]).reshape(len(names), -1)
    limit = float(np.abs(grid).max()) or 1.0
    image = ax.imshow(grid, cmap="PuOr_r", vmin=-limit, vmax=limit)
    for i, row in enumerate(rows):
        y, x = divmod(i, len(names))
        half = "" if row["ci95"] is None else f"\n\u00b1 {(row['ci95'][1] - row['ci95'][0]) / 2:.2f}"
        color = "white" if abs(row["mean"]) > 0.6 * limit else "black"
        ax.text(x, y, f"{mean(row)}{half}", ha="center", va="center", color=color)
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    picture.colorbar(image, ax=ax, label=CHANGE, shrink=0.8)


def mean(row: dict[str, Any], digits: int = 2) -> str:
    """Write a row's mean as text, with its sign."""
    return signed(row["mean"], digits)


def signed(value: float, digits: int = 2) -> str:
    """Write a number as text, with its sign."""
    return f"{value:+z.{digits}f}".replace("-", "\u2212")


def pick(rows: Sequence[dict[str, Any]], /, **named: Any) -> dict[str, Any]:
    """Return the one row with these fields; LookupError if there is none, or more."""
    chosen = [row for row in rows if all(row.get(key) == value for key, value in named.items())]
    if len(chosen) != 1:
        raise LookupError(f"{len(chosen)} rows have {named}")
    return chosen[0]
