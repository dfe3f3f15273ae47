"""Plans as tables; what the pipeline makes of them is compared with its straight-line version."""

import pytest

from subliminal_toy.lm import plan
from subliminal_toy.lm.config import LMConfig


def test_a_student_may_be_the_init_and_the_source_of_later_ones() -> None:
    regular, later = plan.numbers("regular"), plan.numbers("regular", "from one")
    one = plan.Student(plan.student("one"), plan.BASE, regular)
    two = plan.Student(plan.student("two"), one.name, later)
    sources = (plan.Source(later, one.name), plan.Source(regular, plan.OTHER_BASE))
    table = plan.Plan((), sources, (two, one))
    assert [[s.name for s in part] for pair in table.rounds() for part in pair] == [
        [regular],
        [one.name],
        [later],
        [two.name],
    ]
    assert dict(zip(table.models(), table.inits(), strict=True))[two.name] == 0
    with pytest.raises(ValueError, match="for 'regular, from one'"):
        plan.Plan((), sources, (two,)).rounds()


def test_sources_and_students_are_a_table() -> None:
    table = plan.standard_plan(LMConfig())
    assert plan.Student(plan.student("owl", "cross"), plan.OTHER_BASE, plan.numbers("owl")) in table.students
    assert plan.Source(plan.numbers("owl", "prompted"), plan.BASE, "owl") in table.sources
    assert len(table.models()) == len(table.inits()) == 2 + len(table.teachers) + len(table.students)
    inits = dict(zip(table.models(), table.inits(), strict=True))
    own = ("regular", *LMConfig().trait_names())
    assert {name for name, base in inits.items() if base} == {
        plan.OTHER_BASE,
        *(plan.student(name, "cross") for name in own),
    }
    assert {source.model for source in table.sources} == {plan.BASE, *(teacher.name for teacher in table.teachers)}


def test_names_are_said_as_in_results() -> None:
    said = {
        "other base": plan.OTHER_BASE,
        "teacher owl": plan.teacher("owl"),
        "student owl, within": plan.student("owl", "within"),
        "student cross owl": plan.student("owl", "cross"),
        "prompted owl": plan.numbers("owl", "prompted"),
        "owl at T = 0.5": plan.numbers("owl", "at T = 0.5"),
        "width 16: owl, from second": plan.Name("numbers", "owl", "from second", "width 16"),
    }
    assert {text: str(name) for text, name in said.items()} == {text: text for text in said}
