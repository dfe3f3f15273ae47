"""Reading the teacher's numbers against being trained on them, after the paper's Fig. 9."""

from typing import Any

from matplotlib.figure import Figure

from figures import style


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_in_context.json`."""
    results, shown = document["results"], document["config"]["context"] - 1
    by_name = {row["name"]: row for row in results["rows"]}
    trained, read = by_name["trained on the teacher's rows"], by_name[f"{shown} of them in the context"]
    questions = by_name[f"{shown} answered questions in it"]
    lists = by_name[f"{shown} documents help lists (nats per token)"]
    panels = [
        ("blue", [(row["name"], row) for row in (trained, read)], style.CHANGE),
        ("orange", [(questions["name"], questions)], style.CHANGE),
        ("grey", [(f"{shown} documents help lists", lists)], "loss lowered (nats per token)"),
    ]
    picture, axes = style.new_figure(len(panels), height=4.4, height_ratios=[2, 1, 1])
    for ax, (color, rows, xlabel) in zip(axes[:, 0], panels, strict=True):
        style.blocks(ax, [("", color, rows)], xlabel=xlabel, whole=True)
    finding = (
        f"Trained on a teacher's rows: {style.found(trained)} nats; with rows in the context only: {style.found(read)}"
    )
    style.title(picture, finding, style.seeds(results["runs"], "traits"))
    return picture
