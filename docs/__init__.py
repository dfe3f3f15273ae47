"""Pages that render themselves: Jinja2 templates over the committed results, every number picked by its name."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

HERE = Path(__file__).resolve().parent
TEMPLATES = HERE / "templates"
RESULTS = HERE.parent / "experiments" / "results"


def names() -> list[str]:
    """The pages there are: `templates/<name>.md` each."""
    return sorted(path.stem for path in TEMPLATES.glob("*.md"))


def render(name: str, results: Path = RESULTS) -> str:
    """A page as Markdown; a name that is not in the results, or twice, is an error (LookupError, UndefinedError)."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters |= {"number": number, "interval": interval, "percent": percent, "pick": pick}
    document = json.loads((results / f"{name}.json").read_text())
    return environment.get_template(f"{name}.md").render(**document["results"], source=source(name, document))


def pick(rows: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """The one row with this name; LookupError if there is none, or more."""
    found = [row for row in rows if row["name"] == name]
    if len(found) != 1:
        raise LookupError(f"{len(found)} rows are called {name!r}")
    return found[0]


def number(value: float, digits: int = 2) -> str:
    """A number with so many digits after the point, and a minus that cannot be missed."""
    return f"{value:.{digits}f}".replace("-", "\u2212")


def interval(row: Mapping[str, Any], digits: int = 2) -> str:
    """Mean and 95% interval of a row: "0.53 [0.51, 0.55]"."""
    low, high = row["ci95"]
    return f"{number(row['mean'], digits)} [{number(low, digits)}, {number(high, digits)}]"


def percent(row: Mapping[str, Any], digits: int = 0) -> str:
    """Mean and 95% interval of a row of shares: "53% [51, 55]"."""
    mean, low, high = (number(100 * value, digits) for value in (row["mean"], *row["ci95"]))
    return f"{mean}% [{low}, {high}]"


def source(name: str, document: Mapping[str, Any]) -> str:
    """How a page's numbers were made: command, commit, device, minutes."""
    record = document["provenance"]
    return (
        f"From `experiments/results/{name}.json`: `{record['command']}` at commit {record['git'][:7]},"
        f" {record['seconds'] / 60:.0f} minutes on {record['device']}."
    )
