"""Check a plan before anything is trained: its parameter groups, traits, recipes and given rows."""

from collections.abc import Collection, Iterator

from subliminal_toy.lm import transformer, vocabulary
from subliminal_toy.lm.plan import OVER, TARGETS, Name, Plan, Student


def check_plan(plan: Plan, given: Collection[Name] = ()) -> None:
    """Raise ValueError for the first row of the plan that cannot be trained; the message lists what is allowed.

    Args:
        plan: the tables.
        given: the sources whose rows are passed in.
    """
    names = [str(name) for name in plan.models()]
    if duplicate := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"the plan has two models '{duplicate}'")
    if missing := next((name for name in plan.given if name not in given), None):
        raise ValueError(f"the plan wants rows of '{missing}' from outside, and none are given")
    for row, field, value, allowed in _choices(plan):
        if value not in allowed:
            raise ValueError(f"'{row}' has {field} {value!r}; choose one of {', '.join(map(str, allowed))}")
    for student in plan.students:
        _check_amounts(student)
    plan.rounds()


def _choices(plan: Plan) -> Iterator[tuple[Name, str, str, Collection[str]]]:
    """Yield the fields with a fixed set of values: (row, field, value, allowed values)."""
    for base in plan.bases:
        yield from ((base.name, "shares", group, transformer.GROUPS) for group in base.shares)
    for source in plan.sources:
        if source.system is not None:
            yield source.name, "system", source.system, vocabulary.SYSTEM
    for student in plan.students:
        yield from ((student.name, "trained", group, transformer.GROUPS) for group in student.trained)
        if student.system is not None:
            yield student.name, "system", student.system, vocabulary.SYSTEM
        yield student.name, "targets", student.recipe.targets, TARGETS
        yield student.name, "over", student.recipe.over, OVER


def _check_amounts(student: Student) -> None:
    if student.rows is not None and student.rows < 1:
        raise ValueError(f"'{student.name}' has rows {student.rows}; it must be at least 1")
    if student.mixed and not 0 <= student.mixed[1] <= 1:
        raise ValueError(f"'{student.name}' has {student.mixed[1]} of its rows from another source; it must be in 0..1")
