"""Pages that render themselves: Jinja2 templates over the committed results, every number picked by its name.

A template sees the results of the experiment that it is called after, by their names, and of all others by

    results("lm_numbers")                     what the experiment found; `config(...)` its settings, `made(...)` how
    rows | pick("teacher")                    the one row of this name; `pick(arm="greedy")` by other fields
    row | interval, percent, median           as text; `value | number`, `seconds | minutes`
    values | ranked(rows)                     rank correlation of a number for each row with the rows, over runs
    row | less(other), row | of_runs([0, 2])  paired difference of two rows; a row over some runs
    row | share(other)                        ratio of two means over the same runs, with a bootstrap interval
    row | per(number), number | exp           the row in units of a number; its exponential
    rows | pooled, rows | equal_means         all their runs as one row; p value of the test that their means are equal
    row | power(difference)                   probability that a paired t test of so many runs detects this difference
    row | spread                              its standard deviation over runs
    points | interpolated(row)                accuracies at each run's own place between points with a `fraction`
    table(name)                               the experiment's own table; `source` the command, commit, device and time
    what_is_trained(name)                     what its jobs train, from their plans (experiments/trained.py)
    code(file, first, last)                   lines of a file of ours, from the one that begins so to the one that does
    holds(condition)                          nothing, or an error: what the next sentence says is no longer so
"""

import contextlib
import importlib
import math
import re
import shlex
import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments.harness import files  # isort: skip - first: from here on, before slow imports, Ctrl-C is quiet

import jinja2
import numpy as np
from scipy import stats

from experiments.harness.commands import module_of
from subliminal_toy.statistics import describe

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TEMPLATES = HERE / "templates"
RESULTS = ROOT / "experiments" / "results"
FRONT = "README"
GUIDES = ("cluster",)  # pages that need no results
MADE = "Rendered from docs/templates/{}.md by python -m docs: edit that."  # a page's first line


class ClaimError(ValueError):
    """A page says what its results do not."""


class PageError(ValueError):
    """A page cannot be rendered; the message is one line."""


def names(results: Path = RESULTS) -> list[str]:
    """The pages that there are results for: `templates/<name>.md` each; parts of pages begin with an underscore."""
    every = sorted(path.stem for path in TEMPLATES.glob("[!._]*.md"))
    return [name for name in every if name in (FRONT, *GUIDES) or (results / f"{name}.json").exists()]


def place(name: str) -> Path:
    """Where a page is written: `docs/<name>.md`; the front page lies in the repository's root."""
    return (ROOT if name == FRONT else HERE) / f"{name}.md"


def render(name: str, results: Path = RESULTS, *, draft: bool = False) -> str:
    """A page as Markdown; a name that is not in the results, or twice, is an error (LookupError, UndefinedError).

    ClaimError if what it says does not hold for these results; a draft is marked there instead.
    """
    templates = environment(TEMPLATES)
    templates.globals |= {
        "there": lambda other: (results / f"{other}.json").exists(),
        "results": lambda other: load(results, other)["results"],
        "config": lambda other: load(results, other)["config"],
        "made": lambda other: load(results, other)["provenance"],
        "command": lambda other: command(load(results, other)),
        "sources": lambda *others: "\n\n".join(source(other, load(results, other)) for other in others),
        "table": partial(_table, results),
        "code": code,
        "what_is_trained": partial(_trained, results),
        "holds": _marked if draft else holds,
        "zip": zip,
    }
    own: dict[str, Any] = {}
    if name not in (FRONT, *GUIDES):
        document = load(results, name)
        own = {**document["results"], "settings": document["config"], "source": source(name, document), "name": name}
    text = templates.get_template(f"{name}.md").render(**own)
    made = "" if name == FRONT else f"<!-- {MADE.format(name)} -->\n"  # the front page has no byte to spare
    return made + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def page_of(name: str, results: Path = RESULTS, *, draft: bool = False) -> str:
    """The same for people who type commands: any error is a PageError."""
    with fitting(name, str(results)):
        return render(name, results, draft=draft)


@contextlib.contextmanager
def fitting(name: str, results: str) -> Iterator[None]:
    """An error of the block as a PageError: results may be wrong in any way, and so may templates."""
    try:
        yield
    except ClaimError as error:
        raise PageError(f"{name}: {error}, or print it with --draft") from error
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise PageError(f"{name} cannot be made of {results} ({why[:150]}); make these results again") from error


def environment(folder: Path) -> jinja2.Environment:
    """Templates of a folder, in which an unknown name is an error, with the filters on results."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    made.filters |= {
        "number": number, "signed": signed, "interval": interval, "percent": percent, "median": median,
        "minutes": minutes, "pick": pick, "mean": statistics.fmean, "outliers": outlying, "ranked": ranked,
        "less": less, "of_runs": of_runs, "share": share, "per": per, "pooled": pooled, "equal_means": equal_means,
        "power": power, "spread": spread, "correlated": correlated, "column_means": column_means,
        "interpolated": interpolated, "exp": math.exp,
    }  # fmt: skip
    return made


def load(results: Path, name: str) -> dict[str, Any]:
    """The document `<results>/<name>.json`, else the committed one; a variant's name begins with its folder."""
    path = results / f"{name}.json"
    document: dict[str, Any] = files.read_json(path if path.exists() else RESULTS / f"{name}.json")
    return document


def _table(results: Path, name: str) -> str:
    module = importlib.import_module(module_of(name.rpartition("/")[2]))
    text: str = module.table(load(results, name))
    return text


def _trained(results: Path, name: str) -> str:
    module = importlib.import_module(module_of(name.rpartition("/")[2]))
    trained = importlib.import_module("experiments.trained")
    text: str = trained.text(module.EXPERIMENT, trained.recorded(module.EXPERIMENT, load(results, name)["config"]))
    return text


def code(path: str, first: str, last: str) -> str:
    """Lines of a source file, without their indent: from the one that begins with `first` to the next with `last`."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith(first))
    end = next(i for i, line in enumerate(lines) if i > start and line.strip().startswith(last))
    return textwrap.dedent("\n".join(lines[start : end + 1]))


def pick(rows: Sequence[Mapping[str, Any]], name: str | None = None, /, **fields: Any) -> Mapping[str, Any]:
    """The one row with this name, or these fields; LookupError if there is none, or more."""
    wanted = fields if name is None else {"name": name} | fields
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    if len(found) != 1:
        raise LookupError(f"{len(found)} rows are called {name if name and not fields else wanted!r}")
    return found[0]


def holds(condition: bool) -> str:
    """Nothing, or an error if a sentence of the page no longer follows from the results: it has to be rewritten."""
    if not condition:
        raise ClaimError("a sentence does not hold for these results; rewrite it")
    return ""


def _marked(condition: bool) -> str:
    return "" if condition else "**(does not hold)** "


def number(value: float, digits: int = 2) -> str:
    """A number with so many digits after the point, a minus that cannot be missed, and none before zero."""
    return f"{value:z.{digits}f}".replace("-", "\u2212")


def signed(value: float, digits: int = 2) -> str:
    """The same with a sign."""
    return f"{value:+z.{digits}f}".replace("-", "\u2212")


def _with_interval(value: float, ends: Sequence[float] | None, digits: int) -> str:
    return number(value, digits) + (f" [{', '.join(number(end, digits) for end in ends)}]" if ends else "")


def interval(row: Mapping[str, Any], digits: int = 2) -> str:
    """Mean and 95% interval of a row: "0.53 [0.51, 0.55]"."""
    return _with_interval(row["mean"], row["ci95"], digits)


def median(row: Mapping[str, Any], digits: int = 2) -> str:
    """Median and 95% interval of a row."""
    return _with_interval(row["median"], row["median_ci95"], digits)


def outlying(row: Mapping[str, Any]) -> list[float]:
    """The runs of a row that are outliers."""
    return [row["per_run"][i] for i in row["outliers"]]


def ranked(values: Sequence[float], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Spearman's correlation of a number for each row with the rows' values, in each run, as a row."""
    found = zip(*(row["per_run"] for row in rows), strict=True)
    return describe([float(stats.spearmanr(values, run).statistic) for run in found])


def less(row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The difference of two rows with the same runs, run by run, as a row."""
    return _row([a - b for a, b in zip(_runs(row), _runs(other), strict=True)])


def of_runs(row: Mapping[str, Any], runs: Sequence[int]) -> dict[str, Any]:
    """The same row over some of its runs."""
    return _row([_runs(row)[run] for run in runs])


def share(row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The mean of a row divided by that of another with the same runs; 95% percentile bootstrap over runs."""
    pairs = np.asarray(_runs(row), np.float64), np.asarray(_runs(other), np.float64)
    if len(pairs[0]) < 2:
        return {"mean": float(_ratio(*pairs)), "ci95": None}
    found = stats.bootstrap(pairs, _ratio, paired=True, method="percentile", n_resamples=4000, rng=0)
    return {"mean": float(_ratio(*pairs)), "ci95": [float(end) for end in found.confidence_interval]}


def _ratio(values: np.ndarray, others: np.ndarray, axis: int = -1) -> np.ndarray:
    ratio: np.ndarray = values.mean(axis=axis) / others.mean(axis=axis)
    return ratio


def per(row: Mapping[str, Any], unit: float) -> dict[str, Any]:
    """Mean and interval of a row, divided by a number."""
    return {"mean": row["mean"] / unit, "ci95": [end / unit for end in row["ci95"] or ()]}


def pooled(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The runs of several independent rows as one row."""
    return _row([value for row in rows for value in _runs(row)])


def equal_means(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the p value of equal means of independent rows, whose spreads may differ (Alexander-Govern test)."""
    return float(stats.alexandergovern(*map(_runs, rows)).pvalue)


def power(row: Mapping[str, Any], difference: float) -> float:
    """Return the probability that a two-sided 5% t test of a row's number of runs, and spread, detects a true mean."""
    degrees = len(_runs(row)) - 1
    least = stats.t.ppf(0.975, degrees)
    effect = difference / stats.sem(_runs(row))
    return float(stats.nct.sf(least, degrees, effect) + stats.nct.cdf(-least, degrees, effect))


def column_means(rows: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean of each column."""
    return [statistics.fmean(column) for column in zip(*rows, strict=True)]


def correlated(values: Sequence[float], others: Sequence[float]) -> float:
    """Return Pearson's correlation of two lists of numbers."""
    return statistics.correlation(values, others)


def spread(row: Mapping[str, Any]) -> float:
    """Return the standard deviation of a row over its runs."""
    return statistics.stdev(_runs(row))


def interpolated(points: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> dict[str, Any]:
    """Values between points with a `fraction`, by a straight line, at the fraction that the row has in each run."""
    ordered = sorted(points, key=lambda point: point["fraction"])
    fractions = [point["fraction"] for point in ordered]
    runs = zip(*map(_runs, ordered), strict=True)
    return _row([float(np.interp(at, fractions, run)) for at, run in zip(_runs(row), runs, strict=True)])


def _row(values: Sequence[float]) -> dict[str, Any]:
    return {**describe(values), "per_run": list(values)}


def _runs(row: Mapping[str, Any]) -> Sequence[float]:
    found: Sequence[float] = row["per_run"] if "per_run" in row else row["accuracy"]
    return found


def percent(row: Mapping[str, Any], digits: int = 0) -> str:
    """Mean and 95% interval of a row of shares: "53% [51, 55]"; a single run has none."""
    mean, *ends = (number(100 * value, digits) for value in (row["mean"], *(row["ci95"] or ())))
    return f"{mean}% [{', '.join(ends)}]" if ends else f"{mean}%"


def minutes(seconds: float) -> str:
    """A time: "28 min", or "91 s" if it is short."""
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def command(document: Mapping[str, Any]) -> str:
    """The command of a document without what every command begins with, nor where it wrote."""
    words = re.sub(r"--out[= ]", "--out=", document["provenance"]["command"])
    flags = [word for word in shlex.split(words)[3:] if word != "--force" and not word.startswith("--out=")]
    return shlex.join([module_of(document["experiment"]).removeprefix("experiments."), *flags])


def source(name: str, document: Mapping[str, Any]) -> str:
    """How a page's numbers were made: command, commit, device, minutes."""
    record = document["provenance"]
    return (
        f"From `experiments/results/{name}.json`: `{record['command']}` at commit {(record['git'] or 'unknown')[:7]},"
        f" {record['seconds'] / 60:.0f} minutes on {record['device']}."
    )
