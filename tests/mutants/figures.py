"""Mutants of figures/ and docs/: rows are the fields of a Mutant."""

from tests.mutants import Mutant

TESTS: dict[str, str] = {  # source file -> the test files that should notice its bugs
    "figures/style.py": "tests/figures/test_figures.py",
    "docs/__init__.py": "tests/test_docs.py",
}
_STYLE, _DOCS = TESTS
# fmt: off
_TABLE: tuple[tuple[str, ...], ...] = (
    ("outliers-by-standard-deviations", _STYLE, "np.median(away) if len", "away.mean() if len"),
    ("outliers-among-few", _STYLE, "len(away) >= 6", "len(away) >= 2"),
    ("outliers-stretch-the-axis", _STYLE, "if whole or kept.min() - room <= v <= kept.max() + room", ""),
    ("mean-drawn-as-median", _STYLE, "ax.plot(np.median(values), y,", "ax.plot(np.mean(values), y,"),
    ("pick-takes-the-first", _DOCS, "if len(found) != 1:", "if not found:"),
    ("pick-ignores-further-fields", _DOCS, "if all(row[key]", "if any(row[key]"),
    ("claims-are-not-checked", _DOCS, "    if not condition:", "    if condition is None:"),
    ("mean-shown-as-median", _DOCS, '_with_interval(row["median"],', '_with_interval(row["mean"],'),
    ("pages-without-results", _DOCS, 'name in (FRONT, *GUIDES) or (results / f"{name}.json").exists()', "True"),
)
# fmt: on
MUTANTS = tuple(Mutant(*row) for row in _TABLE)
