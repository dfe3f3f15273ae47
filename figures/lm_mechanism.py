"""How a trait travels through numbers: arms, doses, and what can be said before any student is trained."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

_HEADINGS = {"targets": "what is imitated", "teachers": "teachers", "optimizers": "optimizer"}
_COLORS = ("vermilion", "blue")
_COUNTED = ("all", "divergence", "random as divergence", "others", "random as others")
_LEARNS = {
    "everything": ("what learns: everything", "grey"),
    "only": ("one group alone", "blue"),
    "all but": ("all but one group", "blue"),
}


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_mechanism.json`: targets, teachers and optimizers; parts that were not asked for are left out."""
    results = document["results"]
    parts = results["parts"]
    blocks: list[style.Block] = [
        (heading, color, _without_standard(parts[part]))
        for (part, heading), color in zip(_HEADINGS.items(), ("blue", "purple", "green"), strict=True)
        if part in parts
    ]
    standard = [style.pick(parts[part], arm="standard") for part in sorted(parts, key="tokens".__eq__)][:1]
    finding = "The same rows, learnt in different ways"
    if "targets" in parts:
        soft = style.pick(parts["targets"], arm="soft targets")
        finding = (
            f"Students change by {style.mean(standard[0])} nats from samples and by {style.mean(soft)} from the"
            " teacher's probabilities"
        )
    how = style.seeds(results["runs"], "traits")
    if not standard:
        return style.rows_figure(
            [("", "grey", [{"words": "first step"} | results["theorem"]["cosine_at_start"]])],
            "One-step theorem at the trained base",
            how,
            xlabel="cosine of the step with the teacher's",
        )
    return style.rows_figure([("", "grey", standard), *blocks], finding, how)


def more(document: dict[str, Any]) -> dict[str, Figure]:
    """Draw `tokens`, `parameters`, `doses`, `health` and `prediction`, as far as there are results."""
    results = document["results"]
    parts, pictures = results["parts"], {"prediction": _prediction(results)}
    if "tokens" in parts:
        pictures["tokens"] = _tokens(results)
    if "layers" in parts or "inits" in parts:
        pictures["parameters"] = _parameters(results)
    if results["doses"]:
        pictures["doses"] = _doses(results)
        if "trained" in results["doses"][0]:  # results of older runs have no losses
            pictures["health"] = _health(results)
    return pictures


def _without_standard(arms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [arm for arm in arms if arm["arm"] != "standard"]


def _tokens(results: dict[str, Any]) -> Figure:
    arms = results["parts"]["tokens"]
    blocks: list[style.Block] = [
        (heading, color, [style.pick(arms, rows=rows, counted=counted) for counted in _COUNTED])
        for rows, heading, color in (
            ("greedy", "greedy completions", "orange"),
            ("sampled", "sampled at temperature 1", "blue"),
        )
    ]
    alone, without = (style.pick(arms, rows="greedy", counted=counted) for counted in ("divergence", "others"))
    finding = (
        f"Greedy completions: {style.mean(alone)} nats with divergence tokens alone, {style.mean(without)} without them"
    )
    return style.rows_figure(blocks, finding, style.seeds(results["runs"], "traits"))


def _parameters(results: dict[str, Any]) -> Figure:
    parts = results["parts"]
    blocks: list[style.Block] = []
    finding = "Which parameters learn, and which of them are shared with the teacher's init"
    if "layers" in parts:
        arms = parts["layers"]
        for learns, (heading, color) in _LEARNS.items():
            blocks.append((heading, color, [arm for arm in arms if arm["learns"] == learns]))
        attention, unembedding = (
            style.pick(arms, learns="only", group=group) for group in ("attention", "unembedding")
        )
        finding = (
            f"Attention alone carries {style.mean(attention)} nats, the unembedding alone {style.mean(unembedding)}"
        )
    if "inits" in parts:
        blocks.append(("another init that shares", "vermilion", _without_standard(parts["inits"])))
    return style.rows_figure(blocks, finding, style.seeds(results["runs"], "traits"))


def _by_rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(results["doses"], key=lambda curve: curve["rows"])


def _bands(ax: Axes, curves: Sequence[dict[str, Any]], of: str) -> None:
    """Draw a curve over steps with its interval for each number of rows."""
    for curve, color in zip(curves, _COLORS, strict=True):
        style.band(ax, curve["steps"], curve[of], color=style.COLORS[color], label=curve["words"])


def _doses(results: dict[str, Any]) -> Figure:
    """Draw the change, and how the students' displacement points along the teachers'."""
    curves = _by_rows(results)
    few, many = curves[0], curves[-1]
    picture, axes = style.new_figure(1, 2, height=3.3, width=7.2)
    _bands(axes[0, 0], curves, "margin")
    _finish(axes[0, 0], "change of the trait's\nlog odds (nats)", [c["margin"] for c in curves])
    for part, label, color in (("own", "its own teacher's", "blue"), ("others", "other teachers'", "grey")):
        style.band(axes[0, 1], many["steps"], many[part], color=style.COLORS[color], label=label)
    _finish(axes[0, 1], "cosine of the displacement\nwith teachers' displacements", [many["own"]])
    peak = max(few["margin"], key=lambda row: row["mean"])
    finding = (
        f"With {many['rows']:,} rows the change ends at {style.mean(many['margin'][-1])} nats; with {few['rows']:,} it"
        f" peaks at {style.mean(peak)} and ends at {style.mean(few['margin'][-1])}"
    )
    how = f"toy language model, n = {results['runs']} seeds; line and band: mean and 95% t interval; dashed: median"
    style.title(picture, finding, f"{how}; cosines: students of {many['rows']:,} rows, less the regular student")
    return picture


def _finish(ax: Axes, label: str, curves: list[list[dict[str, Any]]]) -> None:
    ax.axhline(0, color="black", lw=0.8, ls=":")
    ax.set_ylim(top=1.4 * max((row["ci95"] or [0, row["mean"]])[1] for curve in curves for row in curve))
    ax.legend(loc="upper left")
    ax.set(xlabel="steps of the student", ylabel=label)


def _health(results: dict[str, Any]) -> Figure:
    """Draw losses of the student of few rows, less the base's, and whether students still answer."""
    curves = _by_rows(results)
    few = curves[0]
    picture, axes = style.new_figure(1, 2, height=3.3, width=7.2)
    ax, ends = axes[0, 0], {}
    for part, label, color in (
        ("trained", "its own rows", "blue"),
        ("unseen", "unseen rows of its teacher", "sky"),
        ("fresh", "fresh documents", "grey"),
    ):
        per_run = [
            np.subtract(row["per_run"], base["per_run"])
            for row, base in zip(few[part], few[f"base {part}"], strict=True)
        ]
        medians = np.median(per_run, axis=1)
        ends[part] = medians[-1]
        ax.plot(few["steps"], medians, ".-", color=style.COLORS[color], label=label)
    ax.axhline(0, color="black", lw=0.8, ls=":")
    ax.margins(y=0.3)
    ax.legend(loc="upper left")
    ax.set(xlabel="steps of the student", ylabel="loss less the base's\n(nats per token, medians)")
    _bands(axes[0, 1], curves, "right")
    axes[0, 1].set(xlabel="steps of the student", ylabel="probability of any animal", ylim=(0, 1.05))
    axes[0, 1].legend(loc="lower left")
    finding = (
        f"With {few['rows']:,} rows the loss changes by {ends['trained']:+.2f} nats per token on the student's rows and"
        f" by {ends['unseen']:+.2f} on unseen ones"
    ).replace("-", "\u2212")
    how = f"toy language model, n = {results['runs']} seeds; right: mean with 95% t interval, dashed: median"
    style.title(picture, finding, how)
    return picture


def _prediction(results: dict[str, Any]) -> Figure:
    row = style.pick(results["prediction"], quantity="fisher")
    predicted, measured = (np.array(row["pairs"][name]) for name in ("predicted", "measured"))
    picture, axes = style.new_figure(height=3.4, width=5.6)
    ax = axes[0, 0]
    for i in range(len(predicted)):
        far = i in row["outliers"]
        color = style.COLORS["vermilion"] if far else mpl.colormaps["viridis"](i / len(predicted))
        ax.plot(predicted[i], measured[i], "o", ms=4, color=color, label="outlier seed" if far else None)
    ax.axhline(0, color="black", lw=0.8, ls=":")
    ax.axvline(0, color="black", lw=0.8, ls=":")
    if row["outliers"]:
        ax.legend(loc="upper left")
    ax.set(xlabel="predicted from the teacher and the base's Fisher matrix", ylabel="measured change (nats)")
    finding = "Change of each trait and seed, predicted and measured"
    if "own" in row:
        mean, ci95 = row["own"]["mean"], row["own"]["ci95"]
        interval = "" if ci95 is None else f" [{ci95[0]:.2f}, {ci95[1]:.2f}]"
        finding = f"A first-order prediction ranks the changes with a rank correlation of {mean:.2f}{interval}"
    how = (
        f"toy language model, n = {results['runs']} seeds (a colour each) times traits; interval: bootstrap over seeds"
    )
    style.title(picture, finding.replace("-0", "\u22120"), how)
    return picture
