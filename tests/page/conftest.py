"""A headless Chromium with the page in it; without one these tests are skipped."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs import page as builder

CHROMIUM = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def html() -> str:
    return builder.render()


@pytest.fixture(scope="session")
def site(html: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("project") / "site" / "index.html"  # where a project has it
    path.parent.mkdir()
    path.write_text(html, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the page's tests need Playwright (the extra `test`)")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("the page's tests need Chromium: apt-get install chromium-headless-shell")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, site: Path) -> Iterator[Any]:
    """The page, 1280 pixels wide; at the end there was no word on the console, no error and no request but its own."""
    with browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce") as context:
        trouble: list[str] = []
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: request.url.startswith("blob:") or trouble.append(request.url))
        page.goto(site.as_uri())
        assert trouble.pop(0) == site.as_uri()
        yield page
        assert not trouble


@pytest.fixture(scope="module")
def lab(browser: Any, site: Path) -> Iterator[Any]:
    """The page as a place to run its functions in."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(site.as_uri())
        yield page
