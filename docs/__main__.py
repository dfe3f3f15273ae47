"""Render all pages and the notebook: `python -m docs`."""

import docs
from docs import notebook


def main() -> None:
    """Write `docs/<name>.md` for every template that has results, the front page and the notebook."""
    texts = {docs.place(name): docs.render(name) for name in docs.names()}
    texts[docs.HERE / f"{notebook.NAME}.ipynb"] = notebook.as_text()
    for path, text in texts.items():
        path.write_text(text)
        print(f"wrote {path.relative_to(docs.ROOT)}")


if __name__ == "__main__":
    main()
