"""A plan that names what there is not is refused before anything is trained."""

import re
from typing import Any

import pytest

from subliminal_toy.lm import LMConfig, pipeline, standard_plan
from subliminal_toy.lm.check import check_plan
from subliminal_toy.lm.plan import BASE, Base, Name, Plan, Recipe, numbers

CONFIG = LMConfig(traits="owl,wolf")
PLAN = standard_plan(CONFIG)


def changed(part: str, **fields: Any) -> Plan:
    """The standard plan with its last row of a part changed."""
    *rows, last = getattr(PLAN, part)
    return PLAN._replace(**{part: (*rows, last._replace(**fields))})


CASES = [
    (changed("students", trained=("head",)), "has trained 'head'; choose one of embedding, attention"),
    (changed("students", recipe=Recipe(targets="base")), "has targets 'base'; choose one of tokens, teacher"),
    (changed("students", recipe=Recipe(over="words")), "has over 'words'; choose one of all, numbers"),
    (changed("students", system="unicorn"), "has system 'unicorn'"),
    (changed("students", rows=0), "has rows 0; it must be at least 1"),
    (changed("students", mixed=(numbers("owl"), 1.5)), "has 1.5 of its rows from another source; it must be in 0..1"),
    (changed("students", name=Name("student", "owl")), "the plan has two models 'student owl'"),
    (changed("students", source=numbers("cat")), "lacks a model or a source for 'student cross wolf'"),
    (changed("sources", system="unicorn"), "has system 'unicorn'"),
    (PLAN._replace(bases=(*PLAN.bases[:1], Base(Name("base", "other base"), shares=("head",)))), "has shares 'head'"),
    (PLAN._replace(given=(numbers("cat"),)), "wants rows of 'cat' from outside, and none are given"),
]


@pytest.mark.parametrize(("plan", "words"), CASES, ids=[words for _, words in CASES])
def test_what_cannot_be_trained_is_named(plan: Plan, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(pipeline, "make_base_data", never)
    with pytest.raises(ValueError, match=re.escape(words)):
        pipeline.train(CONFIG, plan, pipeline.run_keys(0, [0]))


def test_the_standard_plan_is_fine_and_rows_may_be_given() -> None:
    check_plan(PLAN)
    check_plan(PLAN._replace(given=(numbers("cat"),)), {numbers("cat"): []})
    check_plan(Plan((), (), (), (Base(BASE),)))
