"""Reading the teacher's numbers against being trained on them, after the paper's Fig. 9."""

from typing import Any

from matplotlib.figure import Figure

from figures import style


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_in_context.json`."""
    results = document["results"]
    trained, read = results["rows"][:2]
    finding = (
        f"Trained on a teacher's rows: {style.found(trained)} nats; with rows in the context only: {style.found(read)}"
    )
    rows = [(row["name"], row) for row in results["rows"]]
    return style.rows_figure(
        [("", "blue", rows)], finding, style.seeds(results["runs"], "traits"), xlabel=f"{style.CHANGE}, or as named"
    )
