"""The one way to draw: sizes, colours that colour-blind readers can tell apart, and saving."""

import io
import os
import tempfile
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import special

COLUMN_WIDTH = 5.4  # inches
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
_RC: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.dpi": 220,
}


def applied() -> AbstractContextManager[None]:
    """The style, for the block that draws and saves."""
    return mpl.rc_context(_RC)


def new_figure(
    rows: int = 1, columns: int = 1, *, height: float = 3.0, width: float = COLUMN_WIDTH
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes [rows, columns], without pyplot's global state. Sizes in inches."""
    figure = empty_figure(height=height, width=width)
    return figure, figure.subplots(rows, columns, squeeze=False)


def empty_figure(*, height: float = 3.0, width: float = COLUMN_WIDTH) -> Figure:
    """A figure without axes, for layouts that are not a plain grid. Sizes in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def headline(picture: Figure, runs: int, over: str = "traits") -> None:
    """What all panels of a picture of the language model have in common."""
    shown = f"toy language model, mean over {over}, n = {runs} seeds (dots); 95% t interval over seeds"
    picture.suptitle(f"{shown}\n(Fig. and Table: those of Cloud et al. 2025 to compare with)", fontsize=9)


def as_png(figure: Figure) -> bytes:
    """The picture, drawn."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # numbers that cannot be drawn
        figure.savefig(buffer, metadata={"Software": None})
    return buffer.getvalue()


def save(picture: bytes, path: Path) -> Path:
    """Write a PNG, whole or not at all (OSError), and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".png")
    os.close(handle)
    try:
        Path(name).write_bytes(picture)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def points(ax: Axes, x: float, values: list[float], *, width: float = 0.5) -> None:
    """One small dot per run around position x, spread evenly so that the picture is always the same."""
    offsets = (np.arange(len(values)) + 0.5) / len(values) - 0.5
    order = np.random.default_rng(0).permutation(len(values))
    ax.plot(x + width * offsets[order], values, ".", color=COLORS["black"], markersize=3, alpha=0.45, zorder=3, mew=0)


def t_bar(ax: Axes, x: float, values: list[float], *, color: str = COLORS["black"], marker: str = "") -> None:
    """The mean of one value per run with its 95% t interval; nothing for a single run."""
    n = len(values)
    if n > 1:
        half = float(special.stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / n**0.5)
        ax.errorbar(x, float(np.mean(values)), half, color=color, marker=marker, capsize=3, lw=1.4, zorder=4)


def strip(ax: Axes, y: float, row: dict[str, Any], *, color: str) -> None:
    """A row's runs ("per_run") as dots at height y, and its mean with its interval."""
    offsets = (np.arange(len(row["per_run"])) + 0.5) / len(row["per_run"]) - 0.5
    order = np.random.default_rng(0).permutation(len(offsets))
    ax.plot(row["per_run"], y + 0.5 * offsets[order], ".", color=COLORS["black"], markersize=3, alpha=0.45, mew=0)
    half = None if row["ci95"] is None else (row["ci95"][1] - row["ci95"][0]) / 2
    ax.errorbar(row["mean"], y, xerr=half, color=color, marker="o", ms=4, capsize=3, lw=1.4, zorder=4)


def strips(ax: Axes, rows: list[dict[str, Any]]) -> None:
    """Rows with "name" from top to bottom, each as a `strip`, and a line at 0."""
    for y, row in enumerate(rows):
        strip(ax, y, row, color=COLORS["blue"])
    ax.axvline(0, color="black", lw=1, ls=":")
    ax.set_yticks(range(len(rows)), [row["name"] for row in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)


def band(ax: Axes, x: list[float], rows: list[dict[str, Any]], *, color: str, label: str) -> None:
    """A line through the means of rows, with their intervals as a band."""
    ax.plot(x, [row["mean"] for row in rows], ".-", color=color, label=label)
    if all(row["ci95"] is not None for row in rows):
        ax.fill_between(x, *np.transpose([row["ci95"] for row in rows]), color=color, alpha=0.2, lw=0)


def matrix(ax: Axes, picture: Figure, rows: list[dict[str, Any]]) -> None:
    """A heat map of rows with "student" and "teacher", student by student; means with half their intervals."""
    names = list(dict.fromkeys(row["student"] for row in rows))
    grid = np.array([row["mean"] for row in rows]).reshape(len(names), -1)
    limit = float(np.abs(grid).max()) or 1.0
    image = ax.imshow(grid, cmap="PuOr_r", vmin=-limit, vmax=limit)
    for i, row in enumerate(rows):
        y, x = divmod(i, len(names))
        half = "" if row["ci95"] is None else f"\n± {(row['ci95'][1] - row['ci95'][0]) / 2:.2f}"
        color = "white" if abs(row["mean"]) > 0.6 * limit else "black"
        ax.text(x, y, f"{row['mean']:+.2f}{half}", ha="center", va="center", color=color)
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names, rotation=90, va="center")
    picture.colorbar(image, ax=ax, label="change of log odds")
