"""Render all pages: `python -m docs`."""

import docs


def main() -> None:
    """Write `docs/<name>.md` for every template that has results, and the front page."""
    for name in docs.names():
        path = docs.place(name)
        path.write_text(docs.render(name))
        print(f"wrote {path.relative_to(docs.ROOT)}")


if __name__ == "__main__":
    main()
