"""Write the page to play with: `python -m docs.page`."""

from docs import page


def main() -> None:
    """Write `site/index.html`."""
    page.SITE.parent.mkdir(exist_ok=True)
    page.SITE.write_text(page.render(), encoding="utf-8")
    print(f"wrote {page.SITE.relative_to(page.HERE.parent.parent)}, {page.SITE.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
