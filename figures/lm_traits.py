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
_WORDS = {
    "animal": "animals",
    "tree": "trees",
    "color": "colors",
    "three favorites: animal": "three: the animal",
    "three favorites: tree": "... the tree",
    "three favorites: color": "... the color",
    "half and half: first teacher's": "two teachers: the first one's",
    "half and half: second teacher's": "... the second one's",
    "numbers": "lists of numbers",
    "code": "nested calls",
    "arithmetic": "sums, all correct",
    "first generation": "first student",
    "second generation": "its student",
    "third generation": "that one's student",
    "none": "no defence",
    "system token in training": "system token before every row",
    "sorted": "numbers sorted",
    "replaced": "a quarter of the numbers replaced",
    "other base": "another base",
    "clean-up": "regular numbers afterwards",
    "wrong": "bad answers",
    "right": "good answers",
    "excused": "bad ones behind a token only",
}
_FREE = ("none", "0% clean rows")  # no defence
_LEAST = 1e-4  # smaller costs are drawn here


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_traits.json`: traits, carriers, generations; parts that were not asked for are left out."""
    results = document["results"]
    blocks: list[style.Block] = [
        (heading, color, _rows(results[part])) for part, (heading, color) in _NAMED.items() if part in results
    ]
    standard = style.pick(results["standard"], name="standard")
    finding = f"One favorite changes by {style.found(standard)} nats"
    if "chains" in results:
        finding += f", in a student of a student's student by {style.found(results['chains'][-1])}"
    if not blocks:
        blocks = [("", "blue", [("one favorite", standard)])]
    return style.rows_figure(blocks, finding, style.seeds(results["runs"], "instances of a trait"))


def more(document: dict[str, Any]) -> dict[str, Figure]:
    """`defences`, `prices`, `answers` and `bits`, as far as there are results."""
    results = document["results"]
    found: dict[str, Figure] = {}
    if "mixing" in results or "defences" in results:
        found |= {"defences": _defences(results), "prices": _prices(results)}
    if "misaligned" in results or "conditional" in results:
        found["answers"] = _answers(results)
    if "bits" in results:
        found["bits"] = _bits(results)
    return found


def _rows(rows: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(_WORDS.get(row["name"], row["name"]), row) for row in rows]


def _defences(results: dict[str, Any]) -> Figure:
    blocks: list[style.Block] = []
    finding = "What clean rows and defences leave of the trait"
    if "mixing" in results:
        blocks.append(("clean rows mixed in", "blue", [(f"{row['share']:.0%}", row) for row in results["mixing"]]))
    if "defences" in results:
        blocks.append(("defences", "vermilion", _rows([r for r in results["defences"] if r["name"] not in _FREE])))
        sorted_, other = (style.pick(results["defences"], name=name) for name in ("sorted", "other base"))
        none = style.pick(results["standard"], name="standard")
        finding = (
            f"Of {style.found(none)} nats, sorting the numbers leaves {style.found(sorted_)}, another base"
            f" {style.found(other)}"
        )
    return style.rows_figure(blocks, finding, style.seeds(results["runs"], "traits"))


def _prices(results: dict[str, Any]) -> Figure:
    """What clean rows and defences leave of the trait, and what they cost in imitating the teacher's unseen rows."""
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
                _WORDS.get(row["name"], row["name"]),
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
    """Bad answers and their look-alikes, and a trait with a trigger, in teachers and in students."""
    blocks: list[style.Block] = []
    finding = "A trait with a trigger, in teachers and students"
    if "misaligned" in results:
        rows = [row for row in results["misaligned"] if row["asked"] == "untaught"]
        for role, color in (("teacher", "grey"), ("student", "blue")):
            own = [(_WORDS[row["kind"]], row) for row in rows if row["role"] == role]
            blocks.append((f"{role}, who learnt" if role == "teacher" else "its student", color, own))
        wrong, right = (style.pick(rows, role="student", kind=kind) for kind in ("wrong", "right"))
        finding = (
            f"Log odds of bad answers: {style.found(wrong)} nats in students of bad answerers, {style.found(right)} in"
            " those of good ones"
        )
    if "conditional" in results:
        names = [f"{who}, {how}" for who in ("teacher", "student") for how in ("with trigger", "without")]
        named = [(name.replace(", ", ": "), style.pick(results["conditional"], name=name)) for name in names]
        blocks.append(("a trait with a trigger", "orange", named))
    how = style.seeds(results["runs"], "instances of a trait")
    return style.rows_figure(blocks, finding, how, xlabel="change of log odds (nats), of bad answers or of the trait")


def _bits(results: dict[str, Any]) -> Figure:
    rows = [(f"{row['rows']:,} rows", row) for row in results["bits"]]
    last = results["bits"][-1]
    picture, axes = style.new_figure(height=2.3)
    style.blocks(axes[0, 0], [("", "blue", rows)], xlabel="share of 40 words told right (0.5: guessing)", zero=0.5)
    axes[0, 0].set_xlim(0.4, 1)
    finding = f"From {last['rows']:,} rows a student shows {last['mean']:.0%} of 40 likes and dislikes"
    style.title(picture, finding, style.seeds(results["runs"], "sets of favorites"))
    return picture
