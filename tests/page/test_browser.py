"""The page as a reader has it: it loads, answers, trains, and can be used without a mouse and on a small screen."""

import json
import math
from typing import Any

import pytest

import docs

CARDS = ("reference", "teacher", "student_aux", "cross_aux")


def accuracies(name: str) -> list[dict]:
    """The conditions of a committed result."""
    return json.loads((docs.RESULTS / f"{name}.json").read_text())["results"]["conditions"]


def answers(page: Any) -> dict[str, str]:
    """What each network says, in words."""
    return {name: page.locator(f"[data-network={name}]").get_attribute("aria-label") for name in CARDS}


def settle(page: Any) -> None:
    """Let the page do what it does before it shows its next picture."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def draw_three(page: Any) -> None:
    """Two arcs with the mouse."""
    box = page.locator("#canvas").bounding_box()

    def to(cx: float, cy: float, radius: float, degrees: float) -> tuple[float, float]:
        angle = math.radians(degrees)
        x, y = cx + radius * math.cos(angle), cy + 0.9 * radius * math.sin(angle)
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    page.mouse.move(*to(0.46, 0.34, 0.18, -150))
    page.mouse.down()
    for centre, first, last in ((0.34, -150, 90), (0.67, -90, 150)):
        for degrees in range(first, last + 1, 12):
            page.mouse.move(*to(0.46, centre, 0.18, degrees))
    page.mouse.up()
    settle(page)


def test_it_loads_and_shows_the_results(page: Any) -> None:
    bars = page.locator("#chart-mnist g.bar")
    assert bars.count() == 6
    student = docs.pick(
        json.loads((docs.RESULTS / "mnist_aux_logits.json").read_text())["results"]["conditions"], "student_aux"
    )
    assert bars.nth(2).get_attribute("aria-label").startswith(f"student: {100 * student['mean']:.1f}%, 95% interval")
    assert not page.locator("#tip").is_visible()
    bars.nth(2).hover()
    assert page.locator("#tip").inner_text().startswith(f"student: {100 * student['mean']:.1f}%")
    page.keyboard.press("Escape")
    assert not page.locator("#tip").is_visible()
    page.locator("#preferences g.bar").last.focus()
    settle(page)
    tip, bar = (page.locator(part).bounding_box() for part in ("#tip", "#preferences g.bar:focus"))
    assert bar["y"] - 100 < tip["y"] < bar["y"]


def test_a_drawn_three_changes_the_answers(page: Any) -> None:
    page.click("#clear")
    settle(page)
    before = answers(page)
    assert all(said.endswith("nothing drawn") for said in before.values())
    page.locator("#canvas").scroll_into_view_if_needed()
    draw_three(page)
    after = answers(page)
    assert after["teacher"].startswith("teacher: 3, ")
    assert all(after[name] != before[name] for name in CARDS)
    page.get_by_role("button", name="draw a 7 for me").click()
    settle(page)
    assert answers(page)["teacher"].startswith("teacher: 7, ")


def test_the_slider_goes_from_the_reference_to_the_student(page: Any) -> None:
    slider, score = page.locator("#epoch"), page.locator("[data-network=student_aux] .score")
    slider.press("Home")
    settle(page)
    said = answers(page)
    assert said["student_aux"].removeprefix("student") == said["reference"].removeprefix("reference")
    networks = json.loads((docs.RESULTS / "page_networks.json").read_text())["results"]["networks"]
    for epoch in range(1, int(slider.get_attribute("max")) + 1):
        slider.press("ArrowRight")
        settle(page)
        assert score.inner_text() == f"{100 * docs.pick(networks, f'student_aux, epoch {epoch}')['rounded']:.1f}%"
    assert answers(page)["student_aux"].removeprefix("student") != said["reference"].removeprefix("reference")


def test_training_reaches_the_accuracies_of_jax(page: Any) -> None:
    page.locator("#train").press("Enter")
    page.locator("#status", has_text="Done").wait_for(timeout=60_000)
    names, values = (page.locator(f".reading {part}").all_inner_texts() for part in ("span", "b"))
    found = {name: float(value.removesuffix("%")) / 100 for name, value in zip(names, values, strict=True)}
    wanted = {"teacher": "teacher", "student": "student_aux", "student from another start": "cross_aux"}
    assert set(found) == set(wanted)
    for words, name in wanted.items():
        runs = docs.pick(accuracies("page/mnist_aux_logits"), name)["accuracy"]
        assert min(runs) - 0.01 <= found[words] <= max(runs) + 0.01, words
    assert page.locator("#curves path.curve").count() == 3
    assert page.locator("#passing").evaluate("c => c.width") == 12 * 9 - 1


def test_a_question_is_tried_in_three_runs_from_ones_own_seed(page: Any) -> None:
    short = page.evaluate("""() => {
      const {settings} = DATA.training;
      Object.assign(settings, {noise_images: 192, teacher: {...settings.teacher, epochs: 1}});
      return settings;
    }""")
    page.locator("[name=seed]").fill("7")
    page.locator("#train").press("Enter")
    page.locator("#status", has_text="One run is no answer").wait_for(timeout=60_000)
    assert page.locator("#curves .end").count() == 2
    page.get_by_role("button", name="Real digits").click()
    page.locator("#status", has_text="3 runs").wait_for(timeout=60_000)
    chosen = {name: page.locator(f"[name={name}]").input_value() for name in ("seed", "runs", "noise", "width")}
    assert chosen == {"seed": "7", "runs": "3", "noise": "real", "width": "64"}
    assert page.locator("#curves .end").count() == 6
    said = page.locator("#curves text").all_text_contents()
    assert "students see digits, no labels" in said
    assert not any("noise" in text for text in said)
    code = """(settings) => [7, 8, 9].map((seed) =>
      [...protocol.experiment({...settings, noise: "real", seed}, DIGITS, {every: 1e9})].at(-1).accuracy.same)"""
    runs = page.evaluate(code, short)
    assert len(set(runs)) > 1
    student = page.locator(".reading").nth(1)
    assert student.locator("b").inner_text() == f"{100 * sum(runs) / 3:.1f}%"
    assert student.locator("small").inner_text() == "mean of " + ", ".join(f"{100 * run:.0f}%" for run in runs)


def test_a_step_that_is_too_large_is_said_so(page: Any) -> None:
    page.locator("[name=learning_rate]").evaluate("s => { s.options[0].value = '1e30'; s.selectedIndex = 0; }")
    page.locator("[name=start]").select_option("same")
    page.locator("#train").press("Enter")
    page.locator("#status", has_text="not finite: choose a smaller").wait_for(timeout=60_000)
    assert page.locator("#train").inner_text() == "Train"


def test_everything_is_reached_and_used_by_keyboard(page: Any) -> None:
    wanted = page.evaluate(
        """() => {
          const all = [...document.querySelectorAll("a, button, input, select, summary, [tabindex='0']")];
          all.forEach((element, i) => (element.dataset.number = i));
          return all.filter((e) => !e.hidden && (e.type !== "radio" || e.checked)).map((e) => e.dataset.number);
        }"""
    )
    reached = set()
    for _ in range(len(wanted) + 5):
        page.keyboard.press("Tab")
        number, seen = page.evaluate(
            """() => {
              const e = document.activeElement, mark = e.type === "radio" ? e.nextElementSibling : e;
              return [e.dataset.number, getComputedStyle(mark).outlineStyle !== "none"];
            }"""
        )
        if number is not None:
            assert seen, number
            reached.add(number)
    assert reached == set(wanted)
    page.locator("#clear").press("Enter")
    canvas = page.locator("#canvas")
    for key in (" ", *["ArrowUp"] * 9, " "):
        canvas.press(key)
    settle(page)
    assert not answers(page)["teacher"].endswith("nothing drawn")
    page.locator("[name=trait]").first.press("ArrowRight")
    assert page.locator("#words h2 .trait").inner_text() == page.locator("[name=trait]").nth(1).get_attribute("value")


@pytest.mark.parametrize("width", [320, 360])
def test_nothing_scrolls_sideways_on_a_small_screen(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    beyond = f"""[...document.querySelectorAll("main *")]
      .filter((e) => !e.closest("thead") && e.getBoundingClientRect().right > {width}).map((e) => e.outerHTML)"""
    assert page.evaluate(beyond) == []


def test_no_choice_is_cut_off_on_a_small_screen(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    cut = """() => [...document.querySelectorAll("#settings select")].flatMap((select) => {
      const style = getComputedStyle(select), ink = document.createElement("canvas").getContext("2d"), arrow = 20;
      ink.font = style.font;
      const room = select.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - arrow;
      return [...select.options].map((o) => o.text).filter((text) => ink.measureText(text).width > room);
    })"""
    assert page.evaluate(cut) == []


def test_rows_are_side_by_side_and_what_differs_is_marked(page: Any) -> None:
    rows = page.locator("#rows tr")
    for i in range(rows.count()):
        base, teacher = (cell.inner_text() for cell in rows.nth(i).locator(".numbers").all())
        assert (rows.nth(i).locator("mark").count() > 0) == (base != teacher)
    said = page.locator("#differ").inner_text()
    assert said.endswith(f"of these {rows.count()} rows differ")
    assert int(said.split()[0]) == page.locator("#rows tr:has(mark)").count() > 0
