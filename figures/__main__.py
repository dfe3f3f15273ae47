"""Redraw figures from saved results: `python -m figures [name ...] [--results DIR] [--out DIR] [--svg]`."""

from pathlib import Path

import figures
from experiments.harness.files import typed_path
from experiments.harness.streams import Parser, run_command, show


def in_checkout() -> bool:
    """Return whether this is the project's folder, not an installed package, where nobody wants pictures written."""
    return (figures.HERE.parent / "pyproject.toml").exists()


def default_results() -> Path:
    """Return the committed results; those of the user's own commands if the package is installed."""
    return figures.COMMITTED_RESULTS if in_checkout() else Path("results")


def main() -> None:
    """Draw the named figures, or all whose results exist."""
    parser = Parser(prog="python -m figures", description=__doc__, allow_abbrev=False)
    names = ", ".join(figures.names())
    parser.add_argument("name", nargs="*", help=f"which ({names}; default: all that have results)")
    parser.add_argument("--results", type=typed_path, default=default_results(), metavar="DIR",
        help="folder of the result files (default: the committed ones; results if installed)")  # fmt: skip
    parser.add_argument("--out", type=typed_path, metavar="DIR",
        help="folder of the pictures (default: figures for the committed results, else their folder)")  # fmt: skip
    parser.add_argument("--svg", action="store_true", help="write each as SVG, too")
    options = parser.parse_args()
    committed = in_checkout() and options.results.resolve() == figures.COMMITTED_RESULTS
    out = options.out or (figures.HERE if committed else options.results)
    there = [name for name in figures.names() if (options.results / f"{name}.json").exists()]
    chosen = options.name or there
    try:
        if not chosen:
            raise figures.FigureError(f"no results in {options.results}; --results names another folder")
        for name in chosen:
            for path in figures.draw(name, results=options.results, out=out, svg=options.svg):
                show(f"wrote {path}")
    except figures.FigureError as error:
        parser.error(str(error))


if __name__ == "__main__":
    run_command(main, "stopped; the pictures that were named are drawn")
