"""Pages are what templates and committed results make of them; no number in a template is typed by hand."""

import re

import jinja2
import pytest

import docs

ALLOWED = {  # settings and names, which no result holds
    "mnist_mechanism": {
        "0",
        "1/8",
        "1/4",
        "300",
        "64",
        "4,096",
        "3",
        "10",
        "100",
        "40",
        "1",
        "2",
        "95",
        "4",
        "128",
        "256",
        "512",
        "1024",
    },
}


@pytest.mark.parametrize("name", docs.names())
def test_rendering_again_changes_nothing(name: str) -> None:
    assert (docs.HERE / f"{name}.md").read_text() == docs.render(name)


@pytest.mark.parametrize("name", docs.names())
def test_no_number_is_typed_by_hand(name: str) -> None:
    text = (docs.TEMPLATES / f"{name}.md").read_text()
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|\]\([^)]*\)|theta_0|S\d", "", text, flags=re.DOTALL)
    assert set(re.findall(r"\d[\d.,/]*\d|\d", text)) <= ALLOWED[name]


def test_a_name_that_is_not_there_or_twice_is_an_error() -> None:
    rows = [{"name": "a"}, {"name": "b"}, {"name": "b"}]
    assert docs.pick(rows, "a") is rows[0]
    for name in ("b", "c"):
        with pytest.raises(LookupError, match=f"rows are called '{name}'"):
            docs.pick(rows, name)


def test_filters() -> None:
    row = {"mean": -0.1234, "ci95": [-0.2, 0.005]}
    assert docs.interval(row, 3) == "\u22120.123 [\u22120.200, 0.005]"
    assert docs.percent(row) == "\u221212% [\u221220, 0]"
    with pytest.raises(jinja2.UndefinedError):
        jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True).from_string("{{ a }}").render()
