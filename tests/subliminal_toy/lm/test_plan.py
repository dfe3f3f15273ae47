"""Plans as tables; what the pipeline makes of them is compared with its straight-line version."""

import pytest

from subliminal_toy.lm import plan
from subliminal_toy.lm.config import LMConfig


def test_a_student_may_be_the_init_and_the_source_of_later_ones() -> None:
    one, two = plan.Student("one", "base", "regular"), plan.Student("two", "student one", "from one")
    sources = (plan.Source("from one", "student one"), plan.Source("regular", "other base"))
    table = plan.Plan((), sources, (two, one))
    assert [[s.name for s in part] for pair in table.rounds() for part in pair] == [
        ["regular"], ["one"], ["from one"], ["two"],
    ]  # fmt: skip
    assert dict(zip(table.models(), table.inits(), strict=True))["student two"] == 0
    with pytest.raises(ValueError, match="for 'from one'"):
        plan.Plan((), sources, (two,)).rounds()


def test_sources_and_students_are_a_table() -> None:
    table = plan.standard_plan(LMConfig())
    assert plan.Student("cross owl", "other base", "owl") in table.students
    assert plan.Source("prompted owl", "base", "owl") in table.sources
    assert len(table.models()) == len(table.inits()) == 2 + len(table.teachers) + len(table.students)
    inits = dict(zip(table.models(), table.inits(), strict=True))
    assert {name for name, base in inits.items() if base} == {
        "other base",
        *(f"student cross {name}" for name in ("regular", *LMConfig().trait_names())),
    }
    assert table.source_model(plan.Source("rows", "owl")) == "teacher owl"
    assert table.source_model(plan.Source("owl", "base")) == "base"
