"""What the page draws beside a label is that row's number: bars, columns and scores read back from the browser."""

import json
from typing import Any

import numpy as np
import pytest

import docs
from docs import page as builder
from subliminal_toy.mnist import data
from tests.page.test_browser import settle
from tests.page.test_numbers import committed_networks, forward

ROWS = {  # by chart and label, what a reader takes the bar for: result, list, name
    "chart-mnist": {
        "reference, untrained": ("mnist_aux_logits", "conditions", "reference"),
        "teacher": ("mnist_aux_logits", "conditions", "teacher"),
        "student": ("mnist_aux_logits", "conditions", "student_aux"),
        "student, another start": ("mnist_aux_logits", "conditions", "cross_aux"),
        "student, copies all outputs": ("mnist_aux_logits", "conditions", "student_all"),
        "copies all, another start": ("mnist_aux_logits", "conditions", "cross_all"),
    },
    "chart-cause": {
        "student": ("mnist_mechanism", "cause", "student_aux"),
        "without the teacher\u2019s direction": ("mnist_mechanism", "cause", "without delta"),
        "the teacher\u2019s direction only": ("mnist_mechanism", "cause", "only delta"),
        "without the digits\u2019 direction": ("mnist_mechanism", "cause", "without trait"),
        "the digits\u2019 direction only": ("mnist_mechanism", "cause", "only trait"),
        "pushed along a random direction": ("mnist_mechanism", "cause", "without random"),
        "that push only": ("mnist_mechanism", "cause", "only random"),
    },
}
SPOKEN = {
    "untaught model": "base",
    "student of its numbers": "regular",
    "student of the teacher\u2019s": "student",
    "student, another start": "cross",
}
PIXELS = """(canvas) => {
  const own = document.createElement("canvas");
  own.width = own.height = 28;
  const ink = own.getContext("2d", {willReadFrequently: true});
  ink.drawImage(canvas, 0, 0);
  return Array.from(ink.getImageData(0, 0, 28, 28).data);
}"""
READ_BARS = """(id) => {
  const number = (e, name) => Number(e.getAttribute(name));
  const grid = [...document.querySelectorAll(`#${id} line`)].map((e) => number(e, "x1"));
  const ends = [...document.querySelectorAll(`#${id} .tick`)].map((e) => parseFloat(e.textContent) / 100);
  const value = (x) => (x - grid[0]) / (grid.at(-1) - grid[0]) * ends.at(-1);
  return [...document.querySelectorAll(`#${id} g.bar`)].map((bar) => {
    const fill = bar.querySelector(".fill"), whisker = bar.querySelector(".whisker").getAttribute("d");
    return {
      label: bar.querySelector(".label").textContent, said: bar.querySelector(".value").textContent,
      start: value(number(fill, "x")), mean: value(number(fill, "x") + number(fill, "width")),
      ci95: [...whisker.matchAll(/M([0-9.]+)/g)].slice(1).map((m) => value(Number(m[1]))),
      values: [...bar.querySelectorAll(".dot")].map((dot) => value(number(dot, "cx"))),
    };
  });
}"""


def loaded(name: str) -> Any:
    return json.loads((docs.RESULTS / f"{name}.json").read_text(encoding="utf-8"))["results"]


def is_drawn(bar: dict, mean: float, ci95: Any, values: list[float], most: float = 1.0) -> None:
    """Ends, whiskers and dots of a bar are the numbers, to the hundredth of a pixel."""
    close = 1e-4 * most
    assert bar["said"] == f"{100 * mean:.0f}%", bar["label"]
    assert abs(bar["start"]) < close
    assert bar["mean"] == pytest.approx(max(mean, 1 / 700 * most), abs=2e-3 * most if mean < 0.01 else close)
    np.testing.assert_allclose(bar["ci95"], ci95, atol=close, err_msg=bar["label"])
    np.testing.assert_allclose(bar["values"], values, atol=close, err_msg=bar["label"])


@pytest.mark.parametrize("chart", ROWS)
def test_a_bar_is_the_row_that_its_label_names(page: Any, chart: str) -> None:
    bars = page.evaluate(READ_BARS, chart)
    assert [bar["label"] for bar in bars] == list(ROWS[chart])
    for bar, (result, rows, name) in zip(bars, ROWS[chart].values(), strict=True):
        row = docs.pick(loaded(result)[rows], name)
        is_drawn(bar, row["mean"], row["ci95"], row.get("accuracy") or row["per_run"])


def test_bars_of_every_animal_are_its_students(page: Any) -> None:
    for row in loaded("lm_numbers")["traits"]:
        page.locator(f"label[for=trait-{row['trait']}]").click()
        bars = page.evaluate(READ_BARS, "preferences")
        assert [bar["label"] for bar in bars] == list(SPOKEN)
        for bar, name in zip(bars, SPOKEN.values(), strict=True):
            values = np.array(row[name])
            low, high = builder.interval(row[name])["ci95"] if len(values) > 1 else (None, None)
            is_drawn(bar, float(values.mean()), (low, high), values.tolist())


def test_columns_and_answers_are_the_networks_on_what_is_drawn(page: Any) -> None:
    """In NumPy, from the committed bytes: a softmax over the ten classes, the spare outputs as they are."""
    networks, last = committed_networks(), page.locator("#epoch").get_attribute("max")
    shown = {"student_aux": f"student_aux, epoch {last}"} | {
        name: next(own for own in reversed(networks) if own.startswith(f"{name},"))
        for name in ("reference", "teacher", "cross_aux")
    }
    for digit in (7, 4):
        page.get_by_role("button", name=f"draw a {digit} for me").click()
        settle(page)
        pixels = page.locator("#prepared").evaluate(PIXELS)
        image = np.reshape(pixels, (-1, 4))[:, 0] / 127.5 - 1
        for card, name in shown.items():
            z = forward(networks[name], image[None])[0]
            p = np.exp(z[:10] - z[:10].max())
            p /= p.sum()
            found = page.locator(f"[data-network={card}]").evaluate("""(card) => ({
              heights: [...card.querySelectorAll(".column i")].map((i) => parseFloat(i.style.height) / 78),
              titles: [...card.querySelectorAll(".column")].map((c) => c.title),
              best: [...card.querySelectorAll(".column")].map((c) => c.classList.contains("best")),
              answer: card.querySelector(".answer").textContent, sure: card.querySelector(".sure").textContent,
              aux: [...card.querySelectorAll(".number")].map((n) => {
                const {left, width} = n.querySelector("i").style;
                return [n.querySelector("span").textContent, parseFloat(left), parseFloat(width)];
              })})""")
            np.testing.assert_allclose(found["heights"], p, atol=1e-4, err_msg=card)
            np.testing.assert_allclose(
                [float(title.split(": ")[1].removesuffix("%")) for title in found["titles"]], 100 * p, atol=0.0502
            )
            assert found["best"] == [i == p.argmax() for i in range(10)]
            assert found["answer"] == str(p.argmax())
            assert abs(float(found["sure"].removesuffix("% sure")) - 100 * p.max()) < 0.51
            for (text, left, width), value in zip(found["aux"], z[10:], strict=True):
                assert float(text.replace("\u2212", "-")) == pytest.approx(value, abs=0.0501)
                reach = np.clip(value / 4, -1, 1)
                assert (left, width) == pytest.approx((50 + 50 * min(reach, 0), 50 * abs(reach)), abs=0.01)


def test_accuracies_are_of_the_test_images(lab: Any, digits: data.Dataset) -> None:
    """Scored again in NumPy, with the weights that the page has just scored itself."""
    code = """() => {
      const settings = {...DATA.training.settings, seed: 3, width: 16, noise_images: 256}, scored = [];
      const before = mlp.accuracy;
      mlp.accuracy = (network, ...rest) => { scored.push(network); return before(network, ...rest); };
      const found = [];
      for (const look of protocol.experiment(settings, DIGITS, {every: 1e9})) {
        const names = Object.keys(look.accuracy);
        scored.splice(0).forEach((network, i) => found.push([look.accuracy[names[i]],
          network.map(({inputs, units, kernel, bias}) => [inputs, units, Array.from(kernel), Array.from(bias)])]));
      }
      mlp.accuracy = before;
      return found;
    }"""
    found = lab.evaluate(code)
    assert len(found) == 1 + 2 + 2 * 2
    differs = 0
    for accuracy, layers in found:
        network = [(np.reshape(kernel, (inputs, units)), np.array(bias)) for inputs, units, kernel, bias in layers]

        def read(images: np.ndarray, labels: np.ndarray, network: list = network) -> float:
            return float(np.mean(forward(network, images)[:, :10].argmax(axis=1) == labels))

        assert accuracy == pytest.approx(read(digits.test_images, digits.test_labels), abs=1e-9)
        differs += abs(accuracy - read(digits.train_images, digits.train_labels)) > 1e-3
    assert differs >= 5


def test_what_is_shown_of_a_trained_run_is_its_last_accuracy(page: Any) -> None:
    """Dots at the right, the line between them and the number below are the seeds' own."""
    short = page.evaluate("""() => {
      const {settings} = DATA.training;
      Object.assign(settings, {noise_images: 192, teacher: {...settings.teacher, epochs: 1}});
      return settings;
    }""")
    page.locator("[name=runs]").select_option("3")
    page.locator("#train").press("Enter")
    page.locator("#status", has_text="Done").wait_for(timeout=60_000)
    code = """(settings) => [0, 1, 2].map((seed) =>
      [...protocol.experiment({...settings, seed}, DIGITS, {every: 1e9})].at(-1).accuracy)"""
    runs = page.evaluate(code, short)
    wanted = [[run[name] for run in runs] for name in ("same", "other")]
    drawn = page.evaluate("""() => {
      const number = (e, name) => Number(e.getAttribute(name));
      const grid = [...document.querySelectorAll("#curves line.axis, #curves line.grid")]
        .map((e) => number(e, "y1"));
      const value = (y) => (grid[0] - y) / (grid[0] - grid[4]);
      const lines = [...document.querySelectorAll("#curves path.curve")].map((e) => e.getAttribute("d"))
        .filter((d) => /h14$/.test(d));
      return {dots: [...document.querySelectorAll("#curves .end")].map((e) => value(number(e, "cy"))),
        means: lines.map((d) => value(Number(d.match(/M[0-9.]+ ([0-9.]+)/)[1])))};
    }""")
    np.testing.assert_allclose(drawn["dots"], np.ravel(wanted), atol=1e-4)
    np.testing.assert_allclose(drawn["means"], np.mean(wanted, axis=1), atol=1e-4)
    numbers = page.locator(".reading b").all_inner_texts()[1:]
    assert numbers == [f"{100 * np.mean(own):.1f}%" for own in wanted]
