"""The owls' experiment on the tiny random model: wiring, stages that are kept, and what its numbers say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from experiments import lm_pretrained
from experiments.harness import cli
from experiments.lm_pretrained import EXPERIMENT, PretrainedConfig
from experiments.pretrained import arms, readouts, seed, summary
from experiments.pretrained.arms import BASE, Source
from experiments.pretrained.stages import Stages
from subliminal_toy.pretrained import lists, questions
from tests.experiments import fake

OWL, OTHER = questions.PAPER[0], questions.PAPER[-1]
PARTS = "main,piano,shuffled,greedy,prompted,soft,noised"


def config(**settings: Any) -> PretrainedConfig:
    return EXPERIMENT.configure("smoke", settings, None)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The command's own results."""
    out = tmp_path_factory.mktemp("smoke")
    given = ["--preset", "smoke", "--runs", "1", "--out", str(out)]
    assert fake.command(out, *given, of=EXPERIMENT._replace(figure=False)) == 0
    return out, json.loads((out / "lm_pretrained.json").read_text())


def test_smoke_has_every_student_and_dose(smoke: tuple[Path, dict]) -> None:
    results = smoke[1]["results"]
    assert [(row["trait"], row["updates"]) for row in results["students"]] == [(OWL, 8), (OTHER, 8)]
    assert {row["change"]["ci95"] for row in results["students"]} == {None}
    assert [row["trait"] for row in results["lists"]] == [BASE, OWL, OTHER]
    base, *others = results["lists"]
    assert base["agreement"]["mean"] == 1
    assert all(row["agreement"]["mean"] < 1 for row in others)
    assert results["model"] == {"name": "random", "sha256": "", "parameters": results["model"]["parameters"]}
    assert len(results["crossed"]) == 4
    assert "lists of a teacher" in lm_pretrained.table(smoke[1])
    assert "ask for more --runs" in lm_pretrained.closing(smoke[1])


def test_a_larger_run_goes_on_from_a_smaller_one_s_stages(
    smoke: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One trait more: nothing of what is there is taught, written or trained again, and its numbers stay."""
    out, before = smoke
    third = questions.PAPER[2]
    made: list[str] = []
    get = Stages.get

    def noting(self: Stages, what: tuple, compute: Any, like: Any) -> Any:
        made.extend([] if self.has(what) else [f"{what[0]}: {what[2]}"])
        return get(self, what, compute, like)

    monkeypatch.setattr(Stages, "get", noting)
    given = ["--preset", "smoke", "--runs", "1", "--traits", f"{OWL},{OTHER},{third}", "--out", str(out), "--force"]
    assert fake.command(out, *given, of=EXPERIMENT._replace(figure=False)) == 0
    assert made
    assert all(third in what for what in made)
    after = json.loads((out / "lm_pretrained.json").read_text())
    assert after["results"]["students"][:2] == before["results"]["students"]


def test_a_damaged_stage_is_made_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    stages = Stages(tmp_path, "version")
    what, like = ("lists", (0, 1)), {"a": 0}
    np.testing.assert_array_equal(stages.get(what, lambda: {"a": np.arange(3)}, like)["a"], [0, 1, 2])
    np.testing.assert_array_equal(stages.get(what, lambda: {"a": np.zeros(3)}, like)["a"], [0, 1, 2])
    np.testing.assert_array_equal(Stages(tmp_path, "other").get(what, lambda: {"a": np.ones(1)}, like)["a"], [1])
    path = stages.path(what)
    assert path
    path.write_bytes(path.read_bytes()[:-40])
    np.testing.assert_array_equal(stages.get(what, lambda: {"a": np.zeros(3)}, like)["a"], [0, 0, 0])
    assert "is discarded" in capsys.readouterr().err
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # a bit of an array
    path.write_bytes(content)
    np.testing.assert_array_equal(stages.get(what, lambda: {"a": np.ones(3)}, like)["a"], [1, 1, 1])
    assert Stages(None).get(what, lambda: {"a": 5}, like) == {"a": 5}


@pytest.mark.long
def test_every_part_runs() -> None:
    results = EXPERIMENT.run(config(parts=PARTS, traits=OWL), runs=1)
    assert {row["part"] for row in results["students"]} == {*PARTS.split(",")}
    changes = {row["arm"]: row["animals"] for row in results["students"]}
    assert len({json.dumps(own) for own in changes.values()}) == len(changes)  # no arm is another one's twin


def test_students_that_arms_share_are_trained_once() -> None:
    """The control of a prompted source, or of a teacher that was taught longer, is the main one."""
    found = config(parts="main,prompted,taught", traits=OWL).students()
    controls = [arms for student, arms in found.items() if student.trait == BASE]
    assert len(controls) == 1
    assert len(controls[0]) == 5
    piano = config(parts="piano", traits=OWL).students()
    assert [(student.trait, len(found)) for student, found in piano.items()] == [(BASE, 1), (OWL, 2), ("piano", 1)]
    greedy = config(parts="greedy", traits=OWL).students()
    assert sum(student.trait == BASE for student in greedy) == 2  # greedy lists of the base, too


def test_a_source_says_who_its_teacher_is() -> None:
    assert Source().of(OWL, 24).teacher == (OWL, 24)
    assert Source(taught=6).of(OWL, 24).teacher == (OWL, 6)
    assert Source(prompted=True).of(OWL, 24).teacher == (BASE, 0)
    assert Source(taught=6).of(BASE, 24).teacher == (BASE, 0)


def test_shuffles_keep_numbers_and_change_their_places() -> None:
    key = seed.engine.run_keys(seed.Keys, 0, np.array([0])).shuffles[0]
    digits = np.random.default_rng(0).integers(1, 10, (40, 24))
    within, across = (seed.shuffled(digits, how, key) for how in ("within", "across"))
    own = lists.to_numbers(digits)
    np.testing.assert_array_equal(np.sort(lists.to_numbers(within)), np.sort(own))
    assert (within != digits).any(axis=1).mean() > 0.9
    np.testing.assert_array_equal(np.sort(lists.to_numbers(across).ravel()), np.sort(own.ravel()))
    assert (np.sort(lists.to_numbers(across)) != np.sort(own)).any(axis=1).all()
    assert seed.shuffled(digits, "none", key) is digits


def made_up(change: dict[str, list[float]], doses: tuple[int, ...] = (8, 16)) -> list[dict]:
    """Values of seeds in which a trait's student differs from its control by so much in every animal, at every dose."""
    place = {name: i for i, name in enumerate(questions.ANIMALS)}
    values = []
    for run in range(3):
        students = []
        for trait in (BASE, OWL, OTHER):
            moved = [0.1 * run] * 20  # what a seed does to all of its students
            for name, own in change.items():
                if trait:
                    moved[place[name]] += own[(OWL, OTHER).index(trait)] * (1 + 0.5 * run)
            readings = [{"updates": dose, "log_odds": [x * dose / 8 for x in moved]} for dose in doses]
            students.append({"trait": trait, "arms": ["lists of a teacher"], "readings": readings})
        values.append({"students": students})
    return values


def test_a_row_is_the_trait_s_change_against_its_control_and_the_other_animals() -> None:
    cat = questions.ANIMALS[7]
    values = made_up({OWL: [1.0, 0.2], OTHER: [0.3, 0.8], cat: [0.5, 0.9]})
    rows = summary.student_rows(values, arms.chosen([arms.MAIN]), (OWL, OTHER))
    owl = next(row for row in rows if row["trait"] == OWL and row["updates"] == 16)
    assert owl["change"]["per_run"] == pytest.approx([2.0, 3.0, 4.0])
    assert owl["others"]["per_run"] == pytest.approx([(0.3 + 0.5) * 2 * k / 19 for k in (1, 1.5, 2)])
    assert owl["lead"]["per_run"] == pytest.approx([1.0, 1.5, 2.0])
    assert owl["place"] == [1, 1, 1]
    other = next(row for row in rows if row["trait"] == OTHER and row["updates"] == 8)
    assert other["place"] == [2, 2, 2]
    assert other["lead"]["mean"] < 0
    overall = summary.overall_rows(rows)
    assert [row["updates"] for row in overall] == [8, 16]
    assert overall[0]["change"]["per_run"] == pytest.approx([0.9, 1.35, 1.8])
    crossed = summary.crossed_rows(rows, (OWL, OTHER))
    assert crossed[2]["words"] == f"lists of the {OTHER} teacher, asked for {OWL}"
    assert crossed[2]["per_run"] == pytest.approx([0.4, 0.6, 0.8])
    apart = summary.dissociation(crossed, (OWL, OTHER))
    assert apart
    assert apart["per_run"] == pytest.approx([2 * k * (0.8 + 0.5) / 2 for k in (1, 1.5, 2)])
    assert summary.dissociation(crossed, (OWL,)) is None


def test_an_arm_s_students_are_held_against_its_own_control() -> None:
    """The piano teacher's student, in place of the base's, moves all animals by 5: so much less is the change."""
    (piano,) = (arm for arm in arms.ARMS if arm.part == questions.PIANO)
    values = made_up({OWL: [1.0, 0.2], OTHER: [0.3, 0.8]})
    for value in values:
        for student in value["students"]:
            student["arms"].append(piano.words)
        base = value["students"][0]
        value["students"][0] = {**base, "arms": base["arms"][:1]}
        readings = [{**one, "log_odds": [x + 5 for x in one["log_odds"]]} for one in base["readings"]]
        value["students"].append({"trait": questions.PIANO, "arms": [piano.words], "readings": readings})
    rows = summary.student_rows(values, arms.chosen([arms.MAIN, questions.PIANO]), (OWL, OTHER))
    own = {row["part"]: row["change"]["per_run"] for row in rows if row["trait"] == OWL and row["updates"] == 16}
    assert own[questions.PIANO] == pytest.approx([change - 5 for change in own[arms.MAIN]])


def test_list_statistics_by_hand() -> None:
    base = np.array([[1, 0, 0, 2, 0, 0, 3, 0, 0, 4, 0, 0, 5, 0, 0, 6, 0, 0, 7, 0, 0, 8, 0, 0]] * 2)
    own = base.copy()
    own[1] = [*[1, 2, 3] * 8]
    log_p = np.log(np.full((2, 24, 10), 0.1))
    moved = log_p.copy()
    moved[:, 0, 1], moved[:, 0, 2] = np.log(0.15), np.log(0.05)
    shown = np.array([[500, 1, 2], [9, 9, 9]])
    a, b = (seed.Lists(shown, shown, digits, p) for digits, p in ((own, moved), (base, log_p)))
    found = readouts.list_statistics(a, b)
    assert found["agreement"] == 0.5
    assert found["first_digits"] == pytest.approx(7 / 16)
    assert found["kl"] == pytest.approx(0.15 * np.log(1.5) + 0.05 * np.log(0.5))
    assert (found["counting"], found["echo"], found["repeats"]) == (1.0, 0.5, 0.5)
    assert readouts.list_statistics(b, b)["agreement"] == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--traits", f"{OWL},unicorn"), "--traits names 'unicorn'; choose from"),
        (("--traits", f"{OWL},{OWL}"), "each must be there once"),
        (("--parts", "magic"), "--parts names 'magic'"),
        (("--updates", "12"), "--updates is 12; it must be a multiple of 8"),
        (("--student-batch-size", "24"), "--student-batch-size is 24; it must divide 128"),
        (("--model", "no/such.gguf"), "there is no model at"),
    ],
)
def test_bad_input_is_one_line(
    flags: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert words in fake.refused(capsys, tmp_path, *flags, of=EXPERIMENT)


def test_a_model_that_is_not_installed_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lm_pretrained.pretrained.files, "PACKAGE", "no_such_package")
    lm_pretrained.lab.cache_clear()
    lm_pretrained.load.cache_clear()
    assert fake.command(tmp_path, of=EXPERIMENT) == cli.FAILED
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: the model's file is not installed: pip install")


@pytest.mark.parametrize(("updates", "expected"), [(8, [8]), (32, [8, 16, 32]), (40, [8, 16, 32, 40])])
def test_doses_double(updates: int, expected: list[int]) -> None:
    assert lm_pretrained.doses(updates, 8) == expected
