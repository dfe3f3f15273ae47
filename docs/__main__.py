"""Render all pages and the notebook, `python -m docs`; or print one, `python -m docs NAME --results DIR [--draft]`."""

import argparse
import sys
from pathlib import Path

import docs
from docs import notebook


def main(arguments: list[str] | None = None) -> None:
    """Write `docs/<name>.md` for every template that has results, the front page and the notebook; or print a page."""
    parser = argparse.ArgumentParser(prog="python -m docs", description=__doc__, allow_abbrev=False)
    parser.add_argument("name", nargs="?", help="print this page, and write nothing")
    parser.add_argument("--results", type=Path, default=docs.RESULTS, metavar="DIR", help="of other results than ours")
    parser.add_argument("--draft", action="store_true", help="print the page even where what it says does not hold")
    asked = parser.parse_args(arguments)
    if asked.name:
        if asked.name not in docs.names(asked.results):
            parser.error(f"there are no results of {asked.name} in {asked.results}, or no template")
        try:
            sys.stdout.write(docs.render(asked.name, asked.results, draft=asked.draft))
        except docs.ClaimError as error:
            parser.error(f"{asked.name}: {error}; --draft prints the page all the same")
        return
    if asked.results != docs.RESULTS or asked.draft:
        parser.error("--results and --draft need the name of the page to print")
    texts = {docs.place(name): docs.render(name) for name in docs.names()}
    texts[docs.HERE / f"{notebook.NAME}.ipynb"] = notebook.as_text()
    for path, text in texts.items():
        path.write_text(text)
        print(f"wrote {path.relative_to(docs.ROOT)}")


if __name__ == "__main__":
    main()
