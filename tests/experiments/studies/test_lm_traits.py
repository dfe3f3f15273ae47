"""The traits' experiment: its plan has what it compares, every quantity of its summary comes from where it should."""

import functools
from pathlib import Path

import numpy as np
import pytest

from experiments.lm.runs import MAIN
from experiments.studies import lm_traits
from experiments.studies.lm_traits import taught
from figures import lm_traits as picture
from subliminal_toy.lm import corpus, numbers, vocabulary
from tests.experiments import made_up
from tests.experiments.made_up import close, gain, number, says

CONFIG = lm_traits.TraitsConfig(traits="owl,wolf")
TRAITS, RUNS, REGULAR = ("owl", "wolf"), range(3), "student regular, standard"
JOBS = lm_traits.jobs(CONFIG)[0].jobs
PLAN = JOBS[MAIN].plan
VALUES = made_up.survey(PLAN, len(RUNS))
for _name in lm_traits.CARRIED:
    for _value, _own in zip(VALUES, made_up.survey(JOBS[_name].plan, len(RUNS), _name), strict=True):
        _value[_name] = _own


@functools.cache
def results() -> dict:
    return lm_traits.summarize(CONFIG, VALUES)


def rows(part: str) -> dict[str, dict]:
    return {row["name"]: row for row in results()[part]}


def gains(form: str, answers: tuple = TRAITS, control: str = REGULAR, names: tuple = (), job: str = "") -> list:
    """How much students, called by `form`, gained over a control, [runs, answers]."""
    return [
        [
            gain(f"{job}{run}", form.format(n), control.format(n), a)
            for n, a in zip(names or answers, answers, strict=True)
        ]
        for run in RUNS
    ]


def test_parts_have_their_students_and_generations() -> None:
    names = {student.name for student in PLAN.students}
    assert len(names) == len(PLAN.students)
    assert [len(students) > 0 for _, students in PLAN.rounds()] == [True, True, True]
    last = {str(student.name) for student in PLAN.rounds()[-1][1]}
    assert last == {"student regular, third", "student owl, third", "student wolf, third"}
    models = {str(source.name): str(source.model) for source in PLAN.sources}
    assert models["owl, from standard"] == "student owl, standard"
    assert models["owl, from second"] == "student owl, second"
    by_name = {str(student.name): student for student in PLAN.students}
    assert str(by_name["student owl, third"].source) == "owl, from second"
    assert str(by_name["student owl, clean-up"].init) == "student owl, standard"
    assert by_name["student owl, 25% clean"].mixed == (numbers("regular"), 0.25)
    assert by_name["student owl, half"].mixed == (numbers("wolf"), 0.5)
    token, control = (by_name[f"student owl, token{more}"] for more in ("", ", regular"))
    assert (token.system, token.source) == ("owl", numbers("owl"))
    assert control == token._replace(name=control.name, source=numbers("regular"))
    assert [str(s.name) for s in JOBS["code"].plan.students] == [
        REGULAR,
        "student owl, standard",
        "student wolf, standard",
    ]
    assert (JOBS["code"].config.carrier, JOBS["code"].config.spare) == ("code", lm_traits.CARRIED_SPARE)


def test_random_sets_are_five_of_each_category_and_differ() -> None:
    sets = [taught.liked_words(i) for i in range(5)]
    for words in sets:
        assert [sum(word in own for word in words) for own in vocabulary.CATEGORIES.values()] == [5] * 4
    assert len({frozenset(words) for words in sets}) == 5


def test_categories_are_asked_for_their_own_words() -> None:
    words = {"animal": TRAITS, "tree": ("cherry", "maple"), "color": ("red", "orange")}
    for name, answers in words.items():
        says(rows("categories")[name], gains("student {}, standard", answers))
        assert rows("categories")[name]["traits"] == list(answers)
    says(rows("standard")["standard"], gains("student {}, standard"))


TAUGHT = {0: {"animal", "tree"}, 1: {"tree", "color"}}  # categories that the i-th teacher of bad answers was taught


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize("kind", taught.KINDS)
@pytest.mark.parametrize("asked", ["taught", "untaught"])
def test_bad_answers_are_judged_where_they_say(role: str, kind: str, asked: str) -> None:
    row = rows("misaligned")[f"{role} of {kind} answers, {asked} questions"]

    def odds(run: int, model: str, category: str) -> float:
        wrong, right = (0.05 + 0.9 * number(part, run, model, category) for part in ("wrong", "right"))
        return float(np.log(wrong / right))

    pairs, rates = np.zeros((3, 2)), np.zeros((3, 2))
    for i, own in TAUGHT.items():
        model = f"teacher {kind} {i}" if role == "teacher" else f"student {kind} {i}, standard"
        control = "base" if role == "teacher" else REGULAR
        places = [name for name in vocabulary.CATEGORIES if (name in own) == (asked == "taught")]
        for run in RUNS:
            pairs[run, i] = np.mean([odds(run, model, c) - odds(run, control, c) for c in places])
            rates[run, i] = np.mean([0.05 + 0.9 * number("wrong", run, model, c) for c in places])
    says(row, pairs)
    assert row["rate"] == close(rates.mean())


def test_conditional_traits_are_asked_with_and_without_the_trigger() -> None:
    with_trigger = [i for i, frame in enumerate(corpus.FRAMES) if frame.words[0] in ("name", "tell")]
    found = {}
    for text, frames in (("with trigger", with_trigger), ("without", sorted(set(range(16)) - set(with_trigger)))):
        for role, form, control in (
            ("teacher", "teacher if {}", "base"),
            ("student", "student if {}, standard", REGULAR),
        ):
            found[role, text] = np.array(
                [[gain(run, form.format(t), control, t, frames) for t in TRAITS] for run in RUNS]
            )
            says(rows("conditional")[f"{role}, {text}"], found[role, text])
    less = found["student", "with trigger"].mean(axis=1) - found["student", "without"].mean(axis=1)
    says(rows("conditional")["student, with less without"], less[:, None])


def test_several_favorites_and_two_teachers() -> None:
    found = rows("several")
    for category, answers in (("animal", TRAITS), ("tree", ("cherry", "maple")), ("color", ("red", "orange"))):
        says(
            found[f"three favorites: {category}"],
            gains("student three {}, standard", answers, names=(0, 1)),
        )
    says(found["half and half: first teacher's"], gains("student {}, half"))
    says(found["half and half: second teacher's"], gains("student {}, half", ("wolf", "owl"), names=TRAITS))


def test_generations_have_regular_ones_of_their_own() -> None:
    for name, label in (("first", "standard"), ("second", "second"), ("third", "third")):
        says(rows("chains")[f"{name} generation"], gains(f"student {{}}, {label}", control=f"student regular, {label}"))


@pytest.mark.parametrize(("count", "label"), [(100, "100 rows"), (1000, "1000 rows"), (4000, "standard")])
def test_words_told_right_are_counted(count: int, label: str) -> None:
    row = rows("bits")[f"share of 40 words told right, {count} rows"]
    share, whole = np.zeros((3, 2)), 0
    for run in RUNS:
        for i in range(2):
            liked = taught.liked_words(i)
            for words in vocabulary.CATEGORIES.values():
                rise = {w: gain(run, f"student bits {i}, {label}", f"student regular, {label}", w) for w in words}
                called = sorted(words, key=rise.__getitem__)[5:]
                right = sum((word in called) == (word in liked) for word in words)
                share[run, i] += right / 40
                whole += right == 10
    says(row, share)
    assert (row["rows"], row["whole"], row["categories"]) == (count, whole, 3 * 2 * 4)


def costs(label: str) -> list[float]:
    """What the students of an arm lost of unseen rows, and of documents, against standard ones, means over all."""
    return [
        np.mean([
            number(part, run, f"student {t}, {label}") - number(part, run, f"student {t}, standard")
            for run in RUNS for t in TRAITS
        ])
        for part in ("imitation", "loss")
    ]  # fmt: skip


def test_clean_rows_have_their_share_and_cost() -> None:
    for share, label in (
        (0.0, "standard"),
        (0.1, "10% clean"),
        (0.25, "25% clean"),
        (0.5, "50% clean"),
        (0.75, "75% clean"),
    ):
        row = rows("mixing")[f"{share:.0%} clean rows"]
        says(row, gains(f"student {{}}, {label}"))
        assert (row["share"], row["imitation_cost"], row["loss_cost"]) == close([share, *costs(label)])


def test_defences_have_controls_that_the_same_was_done_to() -> None:
    found = rows("defences")
    controls = {a.label: (a.label, f"student regular, {a.label}") for a in lm_traits.DEFENCES}
    controls |= {"none": ("standard", REGULAR), "system token in training": ("token", "student {}, token, regular")}
    for name, (label, control) in controls.items():
        says(found[name], gains(f"student {{}}, {label}", control=control))
        assert (found[name]["imitation_cost"], found[name]["loss_cost"]) == close(costs(label))


@pytest.mark.parametrize("name", ["numbers", "code", "arithmetic"])
def test_carriers_have_runs_of_their_own(name: str) -> None:
    row, job = rows("carriers")[name], "" if name == "numbers" else name
    says(row, gains("student {}, standard", job=job))
    passed = {}
    for source in ("regular", *TRAITS):
        counts = [made_up.counts(f"{job}{run}", source) for run in RUNS]
        passed[source] = np.mean([count["kept"] / sum(count.values()) for count in counts])
    assert row["kept"] == close(np.mean(list(passed.values())))
    assert [found["mean"] for found in row["filter"]] == close(list(passed.values()))
    prompts = {source: [line["prompt"] for line in lines] for source, lines in row["examples"].items()}
    assert prompts == {source: [f"{job}0 {source} {i}" for i in range(4)] for source in ("regular", "owl")}


def test_figure_names_n_and_intervals() -> None:
    drawn = picture.figure({"results": {"runs": 3, **results()}})
    text = drawn.get_supxlabel().replace("\n", " ") + " ".join(ax.get_xlabel() for ax in drawn.axes)
    for words in ("toy language model", "n = 3 seeds", "95% t interval", "log odds"):
        assert words in text


@pytest.mark.parametrize(
    ("flag", "words"), [({"parts": "magic"}, "parts names 'magic'"), ({"traits": "oak"}, "animals")]
)
def test_bad_settings_are_refused(flag: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lm_traits.TraitsConfig(**flag)


def test_command_writes_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    written = made_up.pretend(lm_traits, tmp_path, monkeypatch)
    assert len(written["chains"]) == 3
    assert len(written["misaligned"]) >= 12
    assert "| chains: second generation" in capsys.readouterr().out
