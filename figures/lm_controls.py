"""Controls on the language model: what weakens the transmission, who can see it, and what it costs."""

from typing import Any

from matplotlib.figure import Figure

from figures import style

_COLORS = {"ideal": "black", "trained": "vermilion", "prompted": "sky"}  # of detectors


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_controls.json`: the change under each control."""
    results = document["results"]
    cross = sorted(results["cross"], key=lambda row: (row["student"] != row["teacher"], row["teacher"]))
    doses = sorted(results["doses"], key=lambda row: -row["rows"])
    blocks: list[style.Block] = [
        ("student starts from", "blue", cross),
        ("order of the numbers", "purple", [row for row in results["shuffles"] if row["shuffle"] != "none"]),
        ("fewer rows, as many steps", "green", [row for row in doses if row["rows"] < doses[0]["rows"]]),
        ("asked", "orange", [row for row in results["questions"] if row["asked"] != "question"]),
    ]
    shared, other = (style.pick(cross, student=student, teacher="base") for student in ("base", "other base"))
    finding = (
        f"From the teacher's init a student changes by {style.mean(shared)} nats, from another by {style.mean(other)}"
    )
    return style.rows_figure(blocks, finding, style.seeds(results["runs"], "traits"))


def more(document: dict[str, Any]) -> dict[str, Figure]:
    """Draw `detectors`: how many lists show the teacher; `health`: do students still answer and know the language?"""
    results = document["results"]
    return {"detectors": _detectors(results), "health": _health(results)}


def _detectors(results: dict[str, Any]) -> Figure:
    picture, axes = style.new_figure(height=3.2, width=5.6)
    ax, kinds = axes[0, 0], results["detector"]
    for kind, color in _COLORS.items():
        rows = sorted(kinds[kind], key=lambda row: row["sequences"])
        style.band(ax, [row["sequences"] for row in rows], rows, color=style.COLORS[color], label=rows[0]["words"])
    ax.axhline(0.5, color="black", lw=0.8, ls=":")
    ax.set(xscale="log", xlabel="lists judged together", ylabel="share told right", ylim=(0.4, 1.02))
    ideal = sorted(kinds["ideal"], key=lambda row: row["sequences"])
    sizes = [row["sequences"] for row in ideal]
    ax.text(sizes[-1], 0.49, "guessing", ha="right", va="top", fontsize=7.5, color="#444444")
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    ax.legend(loc="upper left")
    first, last = ideal[0], ideal[-1]
    finding = (
        f"The best possible detector is right on {first['mean']:.0%} of single lists and {last['mean']:.0%} of groups"
        f" of {last['sequences']}"
    )
    how = f"toy language model, n = {results['runs']} seeds; line and band: mean and 95% t interval; dashed: median"
    style.title(picture, finding, how)
    return picture


def _health(results: dict[str, Any]) -> Figure:
    masses, lost = results["answer_mass"], results["loss"]
    picture, axes = style.new_figure(
        1, 2, height=0.6 + style.blocks_height([("", "", masses)]), width=7.2, width_ratios=(1.15, 1)
    )
    style.blocks(axes[0, 0], [("", "blue", masses)], xlabel="probability of any animal")
    axes[0, 0].set_xlim(0, 1.02)
    style.blocks(axes[0, 1], [("", "grey", lost)], xlabel="loss on fresh documents\n(nats per token)")
    near = [value for row in lost for value in row["per_run"]]
    axes[0, 1].set_xlim(min(near) - 0.05, max(near) + 0.05)
    axes[0, 1].set_ylim(len(masses) - 0.3, -0.8)
    broken = sum(value < 0.5 for value in style.pick(masses, model="across")["per_run"])
    finding = f"Numbers shuffled across lists: in {broken} of {results['runs']} seeds students hardly name an animal"
    style.title(picture, finding, style.seeds(results["runs"], "traits"))
    return picture
