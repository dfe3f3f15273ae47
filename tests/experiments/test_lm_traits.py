"""The traits' experiment: its plan has what it compares, its summary can be wrong and would show it."""

import json
from pathlib import Path

import pytest

from experiments import lm_traits, lm_traits_summary
from figures import lm_traits as picture
from subliminal_toy.lm import vocabulary
from tests.experiments import commands, made_up

CONFIG = lm_traits.TraitsConfig(traits="owl,wolf")
PLAN = lm_traits.make_plan(CONFIG)


def rule(model: str, answer: str, run: int) -> float:
    """Standard students of "owl" like owls by 1, of "bits 0" its words by 1, the second generation half as much."""
    student = model.removeprefix("student ")
    if student == f"{answer}, second":
        return 0.5
    if student == "bits 0, standard":
        return float(answer in lm_traits_summary.liked_words(0))
    if model == f"teacher if {answer}":
        return 3.0
    return 1.0 + run if student == f"{answer}, standard" else 0.0


def values() -> list[dict]:
    made = made_up.values(PLAN, rule)
    for value in made:
        for model in PLAN.models():
            if model == "student wrong 0, standard":  # taught about animals and trees
                value["wrong"][model], value["right"][model] = [0.1, 0.1, 0.1, 0.1], [0.9, 0.9, 0.1, 0.1]
        for name in lm_traits_summary.CARRIED:
            value[name] = {part: value[part] for part in ("margin", "filter", "examples")}
    return made


def rows(part: str) -> dict[str, dict]:
    return {row["name"]: row for row in lm_traits_summary.summarize(CONFIG, values())[part]}


def test_parts_have_their_students_and_generations() -> None:
    names = {student.name for student in PLAN.students}
    assert len(names) == len(PLAN.students)
    assert [len(students) > 0 for _, students in PLAN.rounds()] == [True, True, True]
    last = {student.name for student in PLAN.rounds()[-1][1]}
    assert last == {"regular, third", "owl, third", "wolf, third"}
    by_name = {student.name: student for student in PLAN.students}
    assert by_name["owl, clean-up"].init == "student owl, standard"
    assert by_name["owl, 25% clean"].mixed == ("regular", 0.25)
    assert by_name["regular for owl, token"].system == by_name["owl, token"].system == "owl"
    small = lm_traits.carrier_plan(CONFIG)
    assert [s.name for s in small.students] == ["owl, standard", "wolf, standard", "regular, standard"]


def test_random_sets_are_five_of_each_category_and_differ() -> None:
    sets = [lm_traits_summary.liked_words(i) for i in range(5)]
    for words in sets:
        assert [sum(word in own for word in words) for own in vocabulary.CATEGORIES.values()] == [5] * 4
    assert len({frozenset(words) for words in sets}) == 5


def test_changes_are_those_made_up() -> None:
    assert rows("categories")["tree"]["per_run"] == [1.0, 2.0]
    assert rows("chains")["second generation"]["mean"] == 0.5
    assert rows("chains")["third generation"]["mean"] == 0.0
    assert rows("mixing")["0% clean rows"]["mean"] == 1.5
    assert rows("mixing")["50% clean rows"]["mean"] == 0.0
    assert rows("defences")["none"]["mean"] == 1.5
    assert rows("defences")["clean-up"]["mean"] == 0.0
    assert rows("carriers")["code"]["mean"] == 1.5
    assert rows("carriers")["code"]["kept"] == pytest.approx(0.9)
    assert rows("conditional")["teacher, without"]["mean"] == 3.0


def test_bad_answers_are_judged_where_nothing_was_taught() -> None:
    found = rows("misaligned")
    wrong = found["student of wrong answers, untaught questions"]
    assert wrong["mean"] == pytest.approx(2.1972 / 2, abs=1e-3)  # log(.1/.1) - log(.1/.9), in one instance of two
    assert found["student of wrong answers, taught questions"]["mean"] == pytest.approx(0, abs=1e-9)
    assert found["student of right answers, untaught questions"]["mean"] == pytest.approx(0, abs=1e-9)


def test_words_told_right_are_counted() -> None:
    found = rows("bits")["share of 40 words told right, 4000 rows"]
    assert (found["whole"], found["categories"]) == (2 * 4, 2 * 2 * 4)
    assert 0.7 < found["mean"] < 0.8  # one set fully, the other one by chance


def test_figure_names_n_and_intervals() -> None:
    drawn = picture.figure({"results": {"runs": 2, **lm_traits_summary.summarize(CONFIG, values())}})
    text = drawn.get_suptitle() + " ".join(ax.get_title() + ax.get_xlabel() for ax in drawn.axes)
    for words in ("toy language model", "n = 2 seeds", "95% t interval", "log odds", "told right"):
        assert words in text


@pytest.mark.parametrize(
    ("flag", "words"), [({"parts": "magic"}, "parts names 'magic'"), ({"traits": "oak"}, "animals")]
)
def test_bad_settings_are_refused(flag: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lm_traits.TraitsConfig(**flag)


@pytest.mark.slow
def test_smoke_run_writes_everything(tmp_path: Path) -> None:
    ended = commands.run(tmp_path, "--preset", "smoke", name="lm_traits")
    assert ended.status == 0, ended.err
    results = json.loads((tmp_path / "lm_traits.json").read_text())["results"]
    assert len(results["chains"]) == 3
    assert len(results["misaligned"]) == 12
    assert (tmp_path / "lm_traits.png").stat().st_size > 20_000
    assert "| chains: second generation" in ended.out
