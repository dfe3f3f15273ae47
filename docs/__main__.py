"""Render all pages: `python -m docs`."""

import docs


def main() -> None:
    """Write `docs/<name>.md` for every template."""
    for name in docs.names():
        path = docs.HERE / f"{name}.md"
        path.write_text(docs.render(name))
        print(f"wrote {path.relative_to(docs.HERE.parent)}")


if __name__ == "__main__":
    main()
