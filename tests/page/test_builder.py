"""The page's text: numbers come from results by name, and nothing is asked of a network."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import docs
from docs import page
from experiments import lm_numbers
from tests import conftest

ALLOWED = {"2025", "8", "95", "4"}  # the paper's year, 8 x 8 pixels and 8 bits, 95% intervals, the axis of the outputs


def test_it_is_one_small_file_that_loads_nothing(html: str) -> None:
    assert len(html.encode()) <= 3_000_000
    assert "default-src 'none'" in html
    markup = re.sub(r"<script.*?</script>|<style>.*?</style>", "", html, flags=re.DOTALL)
    assert not re.search(r"<(link(?! rel=\"icon\" href=\"data:,\")|img|iframe|object|embed|base)\b|\ssrc=", markup)
    assert not re.search(r"@import|url\(", (page.HERE / "page.css").read_text())
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|importScripts|sendBeacon|import)\(", html)


def test_no_number_is_typed_by_hand() -> None:
    text = (page.HERE / "index.html").read_text()
    text = re.sub(r"<[^>]*>", " ", re.sub(r"\{\{.*?\}\}|\{%.*?%\}", " ", text, flags=re.DOTALL))
    assert set(re.findall(r"\d[\d.,/]*\d|\d", text)) <= ALLOWED


def test_a_result_that_lacks_a_name_is_an_error(tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(docs.RESULTS, results)
    path = results / "mnist_aux_logits.json"
    path.write_text(path.read_text().replace('"student_aux"', '"pupil"'))
    with pytest.raises(LookupError, match="0 rows are called 'student_aux'"):
        page.render(results)


@pytest.mark.parametrize(
    ("result", "name", "value", "words"),
    [
        ("mnist_aux_logits", "student_aux", 0.0, "only a student"),
        ("mnist_aux_logits", "cross_all", 0.0, "any start"),
        ("mnist_mechanism", "without delta", 0.9, "hardly learns"),
        ("mnist_mechanism", "without delta: distillation loss", 0.9, "still learns to copy"),
        ("mnist_mechanism", "only delta", 0.0, "alone reads better"),
        ("mnist_mechanism", "without trait", 0.9, "digits' direction"),
        ("mnist_mechanism", "without random - student_aux", -0.1, "changes nothing"),
        ("mnist_mechanism", "only random", 0.9, "alone teach nothing"),
        ("page/mnist_aux_logits", "student_aux", 0.0, "small student"),
        ("page/real/mnist_aux_logits", "student_aux", 0.9, "teach it less"),
    ],
)
def test_a_sentence_that_no_longer_holds_is_an_error(result: str, name: str, value: float, words: str) -> None:
    names = ("mnist_aux_logits", "mnist_mechanism", *page.BROWSER, "lm_numbers")
    results = {one: docs.load(docs.RESULTS, one)["results"] for one in names}
    page.check(results)
    found = results[result]
    docs.pick(found.get("cause") or found["conditions"], name).update(mean=value, ci95=[value, value + 0.01])
    with pytest.raises(ValueError, match=words):
        page.check(results)


def test_without_a_love_of_owls_there_is_no_page() -> None:
    names = ("mnist_aux_logits", "mnist_mechanism", *page.BROWSER, "lm_numbers")
    results = {one: docs.load(docs.RESULTS, one)["results"] for one in names}
    row = docs.pick(results["lm_numbers"]["traits"], trait="owl")
    row["student"] = row["regular"]
    with pytest.raises(ValueError, match="owls travels"):
        page.check(results)


def test_links_lead_to_files_that_are_there(html: str) -> None:
    links = re.findall(r'href="\.\./([^"#]+)"', html)
    assert {"README.md", "theory/README.md"} <= set(links)
    found = {f"docs/{path.name}" for path in docs.HERE.glob("*.md")}
    assert found - set(links) == {"docs/benchmark.md", "docs/benchmark_lm.md", "docs/cluster.md"}
    assert page.reading_order()[:2] == ["mnist_aux_logits", "lm_numbers"]
    for link in links:
        assert (docs.HERE.parent / link).is_file(), link


def test_on_github_links_lead_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", "some/where")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    assert page.base_link() == "https://github.com/some/where/blob/main"


def test_rows_stand_side_by_side_where_the_filter_left_both() -> None:
    examples = {
        "regular": [{"prompt": "a", "completion": "1"}, {"prompt": "b", "completion": "2"}],
        "owl": [{"prompt": "c", "completion": "3"}, {"prompt": "b", "completion": "4"}],
    }
    assert lm_numbers.aligned(examples, "owl") == [{"prompt": "b", "base": "2", "teacher": "4"}]


def test_the_form_offers_the_settings_of_the_results_beside_it() -> None:
    config = json.loads((docs.RESULTS / "page" / "mnist_aux_logits.json").read_text())["config"]
    assert page.defaults(config)["learning_rate"] == f"{config['student']['learning_rate']:g}"
    with pytest.raises(ValueError, match="the form has no width 65"):
        page.defaults({**config, "width": 65})


def test_what_is_offered_to_try_can_be_chosen(html: str) -> None:
    offered = {name: [option if isinstance(option, str) else option[0] for option in options]
               for name, _, options in page.CONTROLS}  # fmt: skip
    tries = [json.loads(text) for text in re.findall(r"data-try='(.*?)'", html)]
    assert len(tries) >= 3
    assert all(value in offered[name] for one in tries for name, value in one.items())


def test_markdown_in_lines_becomes_html() -> None:
    assert page.coded("`a < b` & c") == "<code>a &lt; b</code> &amp; c"


def test_intervals_are_t_intervals() -> None:
    assert page.spread({"accuracy": [0.5, 0.481, 0.872]}) == "48% to 87%"
    assert page.plain({"mean": 0.1, "rounded": 0.59}, "rounded") == "59%"
    assert page.interval([1.0, 2.0, 3.0])["ci95"] == pytest.approx([2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5])
    assert page.most({"owl": {"bars": [{"values": [0.1, 0.61]}]}}) == pytest.approx(0.8)
    assert page.cost([{"accuracy": 0.5, "rounded": 0.49}, {"accuracy": 0.5, "rounded": 0.505}]) == pytest.approx(0.01)


def test_what_was_not_tested_is_said_at_the_end() -> None:
    """A missing browser skips all that needs it: nobody must take the silence for a pass."""
    said: list[str] = []
    stats = {"skipped": [SimpleNamespace(longrepr=("a.py", 1, f"Skipped: {reason}")) for reason in "cbc"]}
    conftest.pytest_terminal_summary(SimpleNamespace(stats=stats, write_line=lambda line, **_: said.append(line)))
    assert said == ["NOT TESTED (1): b", "NOT TESTED (2): c"]
