"""Tables of results as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that can be pasted into Markdown; the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])


def interval_text(mean: float, ci95: Sequence[float] | None, digits: int = 3) -> tuple[str, str]:
    """Mean and interval as text; a single run has none."""
    return f"{mean:.{digits}f}", "-" if ci95 is None else f"[{ci95[0]:.{digits}f}, {ci95[1]:.{digits}f}]"


def beyond_note(rows: Sequence[Mapping[str, Any]]) -> str:
    """Why an interval of shares, rows of "ci95", reaches beyond 0 or 1; nothing if none does."""
    bounds = [bound for row in rows for bound in row["ci95"] or ()]
    if all(0 <= bound <= 1 for bound in bounds):
        return ""
    return "\n\nA t interval of few runs knows no limits: where it reaches beyond 0 or 1, ask for more --runs."
