"""What readers stumbled over: phones, wrong seeds, a page sent alone, contrast, print, rules of a server."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from tests.page.test_browser import settle

CONTRASTS = """() => {
  const ink = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (text) => {
    ink.clearRect(0, 0, 1, 1); ink.fillStyle = text; ink.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = ink.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((v, i) => a * v + (1 - a) * under[i]);
  const behind = (e) => {
    if (!e) return [255, 255, 255];
    const own = rgba(getComputedStyle(e).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, behind(e.parentElement));
  };
  const light = (rgb) => rgb.map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement, style = getComputedStyle(e);
    if (!texts.currentNode.data.trim() || !e.getClientRects().length) continue;
    if (e.closest("script, style, option, [hidden]")) continue;
    const back = behind(e), front = over(rgba(e.closest("svg") ? style.fill : style.color), back);
    const [high, low] = [light(front), light(back)].sort((a, b) => b - a), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    found.push([(high + .05) / (low + .05) / (large ? 3 : 4.5), e.outerHTML.slice(0, 120)]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    settle(page)
    found = page.evaluate(CONTRASTS)
    assert len(found) > 200
    assert [text for ratio, text in found if ratio < 1] == []


def test_headings_go_down_one_step_at_a_time(page: Any) -> None:
    levels = [
        int(name[1]) for name in page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => h.tagName)")
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("seed", ["-3", "", "2.5", "1000000"])
def test_a_seed_that_is_none_is_not_started(page: Any, seed: str) -> None:
    page.locator("[name=seed]").fill(seed)
    for button in (page.locator("#train"), page.get_by_role("button", name="One raw value")):
        button.click()
        assert page.locator("#status").inner_text() == "Not started: the first seed is a whole number from 0 to 999999."
        assert page.locator("#train").inner_text() == "Train"


def test_a_page_whose_server_forbids_workers_says_so(browser: Any, html: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert html.count("worker-src blob:") == 1
    path.write_text(html.replace("worker-src blob:", "worker-src 'self'"), encoding="utf-8")
    with browser.new_context(reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(path.as_uri())
        page.locator("#train").click()
        page.locator("#status", has_text="It cannot train here").wait_for(timeout=10_000)
        assert "undefined" not in page.locator("#status").inner_text()
        assert page.locator("#train").inner_text() == "Train"


def test_training_on_a_phone_scrolls_to_its_chart_and_says_what_is_left(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    page.locator("[name=runs]").select_option("5")
    page.locator("#train").click()
    box = page.locator("#curves").bounding_box()
    assert 0 < box["y"] < box["y"] + box["height"] < 640
    page.locator("#status", has_text=re.compile(r"run \d of 5, .*, about \d+ (s|min) left")).wait_for(timeout=60_000)
    page.locator("#train").click()


def test_the_students_answer_is_seen_beside_the_drawing_on_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    settle(page)
    canvas = page.locator("#canvas").bounding_box()
    for part in (".answer", ".sure"):
        box = page.locator(f"[data-network=student_aux] {part}").bounding_box()
        assert canvas["y"] < box["y"] + box["height"] < canvas["y"] + 560, part  # a screen less the bar at its top


@pytest.mark.parametrize("part", ["#draw #epoch", "#train-it #train"])
def test_what_one_works_with_is_on_the_first_screen_of_its_section(page: Any, part: str) -> None:
    page.set_viewport_size({"width": 1366, "height": 768})
    page.evaluate(f"location.hash = '{part.split()[0]}'")
    settle(page)
    box = page.locator(part).bounding_box()
    assert 0 < box["y"] + box["height"] <= 768


def test_settings_stay_over_a_reload(page: Any, site: Path) -> None:
    page.locator("[name=width]").select_option("32")
    page.locator("[name=seed]").fill("41")
    page.locator("[name=seed]").blur()
    page.evaluate("sessionStorage.setItem('settings', JSON.stringify("
                  "{...JSON.parse(sessionStorage.getItem('settings')), noise: 'of another version'}))")  # fmt: skip
    with page.context.new_page() as other:
        other.goto(site.as_uri())
        assert other.locator("[name=seed]").input_value() == "0"  # what one tab has is not another's
    kept = page.evaluate("sessionStorage.getItem('settings')")
    with page.context.new_page() as again:
        again.add_init_script(f"sessionStorage.setItem('settings', {kept!r})")
        again.goto(site.as_uri())
        values = {name: again.locator(f"[name={name}]").input_value() for name in ("width", "seed", "noise")}
    assert values == {"width": "32", "seed": "41", "noise": "uniform"}


def test_a_page_that_was_sent_alone_has_no_dead_link(browser: Any, site: Path, html: str, tmp_path: Path) -> None:
    alone = tmp_path / "mailed.html"
    alone.write_text(html, encoding="utf-8")
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(site.as_uri())
        links = page.locator("a[href^='../']").all()
        files = [str(link.get_attribute("href")).removeprefix("../") for link in links]
        assert "docs/mnist_aux_logits.md" in files
        page.goto(alone.as_uri())
        assert page.locator("a[href^='../']").count() == 0
        said = page.locator("main").inner_text()
        assert all(f"(in the project: {name})" in said for name in files)


def test_the_static_can_be_held_still(browser: Any, site: Path) -> None:
    picture = "() => document.querySelector('.static').toDataURL()"
    with browser.new_context(reduced_motion="no-preference") as context:
        page = context.new_page()
        page.goto(site.as_uri())
        before = page.evaluate(picture)
        page.wait_for_function(f"(before) => ({picture})() !== before", arg=before)
        page.locator("#still").click()
        held = page.evaluate(picture)
        page.wait_for_timeout(1000)
        assert page.evaluate(picture) == held
        page.locator("#still").click()
        page.wait_for_function(f"(before) => ({picture})() !== before", arg=held)


def test_an_untaught_model_is_called_so_on_phones_too(page: Any) -> None:
    labels = set(page.evaluate("[...document.querySelectorAll('#rows td')].map((td) => td.dataset.label)"))
    heads = page.locator("table.rows thead th").all_inner_texts()
    assert "untaught model" in labels & set(heads)
    assert "base" not in labels


def test_columns_and_bars_stay_in_forced_colors_and_in_print(browser: Any, site: Path) -> None:
    seen = """() => ["#draw .column.best i", "#draw .track i"].map((part) => {
      const style = getComputedStyle(document.querySelector(part));
      return [style.backgroundColor, style.forcedColorAdjust];
    })"""
    with browser.new_context(forced_colors="active", reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(site.as_uri())
        settle(page)
        canvas = page.evaluate("getComputedStyle(document.body).backgroundColor")
        for background, adjust in page.evaluate(seen):
            assert background not in (canvas, "rgba(0, 0, 0, 0)")
            assert adjust == "none"
        fills = page.evaluate("[...document.querySelectorAll('svg .fill')].map((bar) => getComputedStyle(bar).fill)")
        assert len(fills) > 10
        assert canvas not in fills
    with browser.new_context(color_scheme="dark", reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(site.as_uri())
        page.emulate_media(media="print", color_scheme="dark")
        settle(page)
        assert not page.locator("nav").is_visible()
        assert not page.locator("#train").is_visible()
        assert page.evaluate("getComputedStyle(document.querySelector('.column i')).printColorAdjust") == "exact"
        assert (
            page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(253, 253, 251)"
        )  # paper, not ink
