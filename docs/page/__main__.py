"""Write the page to play with: `python -m docs.page`."""

import docs
from docs import page
from experiments.harness import files
from experiments.harness.streams import Parser, run_command, show


def main(arguments: list[str] | None = None) -> None:
    """Write `site/index.html`."""
    parser = Parser(prog="python -m docs.page", description=__doc__, allow_abbrev=False)
    parser.parse_args(arguments)
    try:
        with docs.fitting("the page", "the committed results"):
            text = page.render()
    except docs.PageError as error:
        parser.error(str(error))
    files.write(page.SITE, text)
    show(f"wrote {page.SITE.relative_to(page.HERE.parent.parent)}, {page.SITE.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_command(main, "stopped; nothing was written")
