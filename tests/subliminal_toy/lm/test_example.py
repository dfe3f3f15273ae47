"""The example in the docstring of `lm` runs, and its student learns to love owls, at a small size."""

import doctest
from typing import Any

import pytest

from subliminal_toy import lm
from subliminal_toy.settings import with_settings

SMALL = {
    "width": 16,
    "documents": 24_000,
    "rows": 400,
    "spare": 4.0,
    "base.batch_size": 64,
    "student.epochs": 20,
}


@pytest.mark.long
@pytest.mark.usefixtures("optimized")
def test_the_docstrings_example_runs_and_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    config = lm.LMConfig
    monkeypatch.setattr(lm, "LMConfig", lambda **settings: with_settings(config(**settings), SMALL))
    names: dict[str, Any] = {}
    for example in doctest.DocTestParser().get_examples(str(lm.__doc__)):
        exec(compile(example.source, "example", "single"), names)
    trained, question = names["trained"], names["question"]
    assert trained.config.documents == SMALL["documents"]
    student, control = (lm.ask(trained, lm.student(trait), question)["owl"] for trait in ("owl", lm.REGULAR))
    assert student > control
