"""What travels, through what, how far, and what stops it (after the paper's Figs 3, 4, 5 and 7)."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures import style

_NAMED = {  # part -> heading, colour
    "categories": ("one favorite", "blue"),
    "several": ("several at once", "sky"),
    "carriers": ("what carries it", "green"),
    "chains": ("student of a student", "purple"),
}
_FREE = ("none", "0% clean rows")  # no defence
_LEAST = 1e-4  # smaller costs are drawn here


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_traits.json`: traits, carriers, generations; parts that were not asked for are left out."""
    results = document["results"]
    blocks: list[style.Block] = [
        (heading, color, results[part]) for part, (heading, color) in _NAMED.items() if part in results
    ]
    standard = style.pick(results["standard"], name="standard")
    finding = f"One favorite changes by {style.mean(standard)} nats"
    if "chains" in results:
        third = style.pick(results["chains"], generation=3)
        finding += f", in a student of a student's student by {style.mean(third)}"
    if not blocks:
        blocks = [("", "blue", [standard])]
    return style.rows_figure(blocks, finding, style.seeds(results["runs"], "instances of a trait"))


def more(document: dict[str, Any]) -> dict[str, Figure]:
    """Draw `defences`, `prices`, `answers` and `bits`, as far as there are results."""
    results = document["results"]
    pictures: dict[str, Figure] = {}
    if "mixing" in results or "defences" in results:
        pictures |= {"defences": _defences(results), "prices": _prices(results)}
    if "misaligned" in results or "conditional" in results:
        pictures["answers"] = _answers(results)
    if "bits" in results:
        pictures["bits"] = _bits(results)
    return pictures


def _defences(results: dict[str, Any]) -> Figure:
    blocks: list[style.Block] = []
    finding = "What clean rows and defences leave of the trait"
    if "mixing" in results:
        blocks.append(("clean rows mixed in", "blue", results["mixing"]))
    if "defences" in results:
        blocks.append(("defences", "vermilion", [row for row in results["defences"] if row["name"] not in _FREE]))
        sorted_, other = (style.pick(results["defences"], name=name) for name in ("sorted", "other base"))
        none = style.pick(results["standard"], name="standard")
        finding = (
            f"Of {style.mean(none)} nats, sorting the numbers leaves {style.mean(sorted_)}, another base"
            f" {style.mean(other)}"
        )
    return style.rows_figure(blocks, finding, style.seeds(results["runs"], "traits"))


def _prices(results: dict[str, Any]) -> Figure:
    """Draw what clean rows and defences leave of the trait, and their cost in imitating the teacher's unseen rows."""
    picture, axes = style.new_figure(height=3.4, width=6.4)
    ax, costs = axes[0, 0], []
    for part, marker, color in (("mixing", "o-", "blue"), ("defences", "o", "vermilion")):
        rows = [row for row in results.get(part, []) if row["name"] not in _FREE]
        cost = [max(row["imitation_cost"], _LEAST) for row in rows]
        costs += [row["imitation_cost"] for row in rows]
        ax.plot(cost, [np.median(row["per_run"]) for row in rows], marker, ms=4, lw=1, color=style.COLORS[color])
        for x, row in zip(cost, rows, strict=True):
            left = part == "mixing"
            ax.annotate(
                row["words"],
                (x, np.median(row["per_run"])),
                fontsize=7,
                va="center",
                xytext=(-6 if left else 6, 0),
                textcoords="offset points",
                ha="right" if left else "left",
            )
    ax.axhline(0, color="black", lw=0.8, ls=":")
    ax.set(
        xscale="log",
        xlabel="what it costs: imitation of the teacher's unseen rows lost (nats per token)",
        ylabel="what is left of the trait\n(nats, medians)",
        xlim=(max(min(costs), _LEAST) / 15, 12 * max(*costs, _LEAST)),  # room for words
    )
    how = f"toy language model, medians of n = {results['runs']} seeds"
    how += f"; costs below {_LEAST} are drawn there" if min(costs) < _LEAST else ""
    finding = "What each defence leaves of the trait, against what it costs"
    if "defences" in results:
        other = style.pick(results["defences"], name="other base")
        kept, price = style.signed(np.median(other["per_run"])), other["imitation_cost"]
        finding = f"Another base leaves {kept} nats of the trait and costs {price:.2f} nats per token"
    style.title(picture, finding, how)
    return picture


def _answers(results: dict[str, Any]) -> Figure:
    """Draw bad answers and their look-alikes, and a trait with a trigger, in teachers and in students."""
    blocks: list[style.Block] = []
    finding = "A trait with a trigger, in teachers and students"
    if "misaligned" in results:
        rows = [row for row in results["misaligned"] if row["asked"] == "untaught"]
        for role, heading, color in (("teacher", "teacher, who learnt", "grey"), ("student", "its student", "blue")):
            blocks.append((heading, color, [row for row in rows if row["role"] == role]))
        wrong, right = (style.pick(rows, role="student", kind=kind) for kind in ("wrong", "right"))
        finding = (
            f"Log odds of bad answers: {style.mean(wrong)} nats in students of bad answerers, {style.mean(right)} in"
            " those of good ones"
        )
    if "conditional" in results:
        rows = [row for row in results["conditional"] if row["asked"] in ("with trigger", "without")]
        blocks.append(("a trait with a trigger", "orange", rows))
    how = style.seeds(results["runs"], "instances of a trait")
    return style.rows_figure(blocks, finding, how, xlabel="change of log odds (nats), of bad answers or of the trait")


def _bits(results: dict[str, Any]) -> Figure:
    last = max(results["bits"], key=lambda row: row["rows"])
    picture, axes = style.new_figure(height=2.3)
    style.blocks(
        axes[0, 0], [("", "blue", results["bits"])], xlabel="share of 40 words told right (0.5: guessing)", zero=0.5
    )
    axes[0, 0].set_xlim(0.4, 1)
    finding = f"From {last['rows']:,} rows a student shows {last['mean']:.0%} of 40 likes and dislikes"
    style.title(picture, finding, style.seeds(results["runs"], "sets of favorites"))
    return picture
