"""Render all pages and the notebook, `python -m docs`; or print one, `python -m docs NAME --results DIR [--draft]`."""

from pathlib import Path

import docs
from docs import notebook
from experiments.harness import files
from experiments.harness.streams import Parser, run_command, show


def main(arguments: list[str] | None = None) -> None:
    """Write `docs/<name>.md` for every template that has results, the front page and the notebook; or print a page."""
    parser = Parser(prog="python -m docs", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("name", nargs="?", help="print this page, and write nothing")
    add("--results", type=files.typed_path, default=docs.RESULTS, metavar="DIR", help="of other results than ours")
    add("--draft", action="store_true", help="print the page even where what it says does not hold")
    asked = parser.parse_args(arguments)
    if not asked.name and (asked.results != docs.RESULTS or asked.draft):
        parser.error("--results and --draft need the name of the page to print")
    if asked.name and asked.name not in docs.names(asked.results):
        parser.error(f"there are no results of {asked.name} in {asked.results}, or no template")
    try:
        if asked.name:
            show(docs.page_of(asked.name, asked.results, draft=asked.draft).removesuffix("\n"))
        else:
            _write({docs.place(name): docs.page_of(name) for name in docs.names()})
    except docs.PageError as error:
        parser.error(str(error))


def _write(pages: dict[Path, str]) -> None:
    for path, text in {**pages, docs.HERE / f"{notebook.NAME}.ipynb": notebook.as_text()}.items():
        files.write(path, text)
        show(f"wrote {path.relative_to(docs.ROOT)}")


if __name__ == "__main__":
    run_command(main, "stopped; the pages that were named are written")
