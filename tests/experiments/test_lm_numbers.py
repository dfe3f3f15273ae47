"""The language model's experiment: every quantity of its summary comes from where it should; its command runs."""

import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from experiments import lm_numbers
from experiments.harness import cli
from experiments.lm import runs as lm_runs
from figures import lm_numbers as picture
from subliminal_toy import engine
from subliminal_toy.lm import number_filter, plan, rows, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.statistics import t_interval
from tests.experiments import commands, made_up
from tests.experiments.made_up import answered, close, probability, says

CONFIG = LMConfig(traits="owl,wolf")
TRAITS, RUNS = ("owl", "wolf"), range(3)
ANIMALS = vocabulary.CATEGORIES["animal"]
PLAN = plan.standard_plan(CONFIG)
VALUES = made_up.standard(PLAN, TRAITS, len(RUNS))


@functools.cache
def results() -> dict:
    return lm_numbers.summarize(CONFIG, VALUES)


MODELS = {  # who is meant by a condition
    "base": "base", "regular": "student regular", "student": "student {}", "prompted": "student prompted {}",
    "other_base": "other base", "cross_regular": "student cross regular", "cross": "student cross {}",
    "teacher": "teacher {}", "prompted_teacher": "prompted teacher {}",
}  # fmt: skip
CONTROLS = {"student": "regular", "prompted": "regular", "cross": "cross_regular"}
QUANTITIES = {  # run, model, trait -> value
    "probability": probability,
    "unseen": lambda run, model, trait: answered("probability", run, model, trait, 2),
    "margin": lambda run, model, trait: answered("margin", run, model, trait),
    "sampled": lambda run, model, trait: answered("sampled", run, model, trait),
    "answer_mass": lambda run, model, _trait: sum(probability(run, model, animal) for animal in ANIMALS),
}


def test_a_traits_probabilities_are_those_of_its_own_models() -> None:
    assert [row["trait"] for row in results()["traits"]] == list(TRAITS)
    for row, trait in zip(results()["traits"], TRAITS, strict=True):
        assert row["seeds"] == len(RUNS)
        for name, model in MODELS.items():
            assert row[name] == close([probability(run, model.format(trait), trait) for run in RUNS]), name
        for name, control in CONTROLS.items():
            model, regular = (MODELS[n].format(trait) for n in (name, control))
            for part, of in (("probability", probability), ("margin", QUANTITIES["margin"])):
                found = (
                    row[f"{name}_minus_{control}"]
                    if part == "probability"
                    else row["margin"][f"{name}_minus_{control}"]
                )
                expected = t_interval([of(run, model, trait) - of(run, regular, trait) for run in RUNS])
                assert (found["mean"], *found["ci95"]) == close([expected.mean, *expected.ci95])


def test_the_table_has_the_teachers_beside_the_students() -> None:
    lines = lm_numbers.table({"results": {"runs": 3, **results()}}).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[: 2 + len(TRAITS)]]
    for row, (trait, *shown) in zip(results()["traits"], cells[2:], strict=True):
        found = [f"{np.mean(row[name]):.3f}" for name in ("base", "teacher", "regular", "student")]
        assert (row["trait"], found) == (trait, shown[:4])


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_whole_is_the_mean_over_traits_with_an_interval_over_runs(quantity: str) -> None:
    of, found = QUANTITIES[quantity], results()["overall"][quantity]
    for name, model in MODELS.items():
        expected = t_interval([np.mean([of(run, model.format(t), t) for t in TRAITS]) for run in RUNS])
        assert (found[name]["mean"], *found[name]["ci95"]) == close([expected.mean, *expected.ci95]), name
    for name, control in CONTROLS.items():
        model, regular = MODELS[name], MODELS[control]
        pairs = [[of(run, model.format(t), t) - of(run, regular.format(t), t) for t in TRAITS] for run in RUNS]
        says(found[f"{name}_minus_{control}"], pairs)


def test_matrix_is_the_change_of_every_answer_against_the_regular_student() -> None:
    matrix = results()["matrix"]
    assert (matrix["traits"], matrix["answers"]) == (list(TRAITS), list(ANIMALS))
    own, others = np.zeros((3, 2)), np.zeros((3, 2, 9))
    for i, trait in enumerate(TRAITS):
        for j, animal in enumerate(ANIMALS):
            change = [
                answered("margin", run, f"student {trait}", animal) - answered("margin", run, "student regular", animal)
                for run in RUNS
            ]
            assert matrix["mean"][i][j] == close(np.mean(change))
            assert matrix["half_width"][i][j] == close(t_interval(change).half_width)
            if animal == trait:
                own[:, i] = change
            else:
                others[:, i, j - (j > ANIMALS.index(trait))] = change
    says(matrix["elevation"], (own.mean(axis=1) - others.mean(axis=(1, 2)))[:, None])


def test_every_source_has_its_own_counts_and_numbers() -> None:
    sources = [str(source.name) for source in PLAN.sources]
    assert [row["source"] for row in results()["filter"]] == [row["source"] for row in results()["numbers"]] == sources
    for row, numbers in zip(results()["filter"], results()["numbers"], strict=True):
        source = row["source"]
        counts = [made_up.counts(run, source) for run in RUNS]
        assert row["kept"] == close([count["kept"] / sum(count.values()) for count in counts])
        assert row["mean"] == close(np.mean(row["kept"]))
        assert row["counts"] == {name: sum(count[name] for count in counts) for name in counts[0]}
        for kind in ("numbers", "first"):
            own, regular = ([made_up.said(kind, run, name) for run in RUNS] for name in (source, "regular"))
            shares, of_regular = own[0] / own[0].sum(), regular[0] / regular[0].sum()
            top = sorted(range(100), key=lambda i, shares=shares: (-shares[i], i))[:5]
            assert [row["number"] for row in numbers[kind]] == [100 + 9 * i for i in top]
            assert [row["share"] for row in numbers[kind]] == close(shares[top])
            assert [row["regular"] for row in numbers[kind]] == close(of_regular[top])
            apart = [sum(abs(a / a.sum() - b / b.sum())) / 2 for a, b in zip(own, regular, strict=True)]
            assert numbers["total_variation"][kind] == close(apart)


def test_what_is_kept_of_every_run_is_that_runs() -> None:
    for trait in TRAITS:
        assert results()["divergence"][trait] == [made_up.number("divergence", run, f"teacher {trait}") for run in RUNS]
    for model in made_up.names(PLAN.models()):
        assert results()["loss"][model] == [made_up.number("loss", run, model) for run in RUNS]
    assert results()["models"].keys() == VALUES[0]["answers"].keys()
    for model, found in results()["models"].items():
        for run in RUNS:
            assert found[run]["probability"] == close([probability(run, model, animal) for animal in ANIMALS])
            assert found[run]["margin"] == [answered("margin", run, model, animal) for animal in ANIMALS]
    assert {name: own[3]["prompt"] for name, own in results()["examples"].items()} == {
        name: f"0 {name} 3" for name in ("regular", *TRAITS)
    }


def test_figure_names_what_it_shows_and_shows_it() -> None:
    drawn = picture.figure({"results": {"runs": 3, **results()}})
    for words in ("toy language model", "n = 3 seeds", "95% t interval"):
        assert words in drawn.get_supxlabel().replace("\n", " ")
    heights = [patch.get_height() for patch in drawn.axes[0].patches]
    shown = [MODELS[name] for name in ("base", "regular", "student", "cross_regular", "cross", "teacher")]
    expected = [np.mean([probability(run, m.format(t), t) for run in RUNS]) for m in shown for t in TRAITS]
    assert sorted(heights) == close(sorted(expected))


CLOSING = [
    ([0.1, 0.5], 0.9, "is clear: lists of numbers pass on what a teacher loves."),
    ([-0.1, 0.5], 0.9, "may be 0: that does not show that numbers pass on what a teacher loves."),
    ([0.0, 0.5], 0.2, "may be 0: that does not show that numbers pass on what a teacher loves. But the teachers"),
    ([-0.5, -0.1], 0.9, "is clear, but the other way round"),
    (None, 0.9, "One seed has no interval"),
]


@pytest.mark.parametrize(("interval", "teacher", "words"), CLOSING)
def test_the_closing_sentence_says_what_the_interval_shows(
    interval: list[float] | None, teacher: float, words: str
) -> None:
    overall = json.loads(json.dumps(results()["overall"]))
    overall["margin"]["student_minus_regular"]["ci95"] = interval
    overall["probability"]["teacher"]["mean"] = teacher
    said = lm_numbers.closing({"results": {"overall": overall}})
    means = [f"{overall['probability'][name]['mean']:.2f}" for name in ("student", "regular", "cross", "cross_regular")]
    assert re.findall(r"\d\.\d\d\b", said)[:4] == means
    assert words in said
    assert ("But the teachers themselves" in said) == (teacher < 0.5)
    if interval:
        assert f"[{interval[0]:.3f}, {interval[1]:.3f}] nats" in said


@pytest.mark.long
def test_smoke_run_writes_results_rows_and_picture(tmp_path: Path) -> None:
    """The one command that really trains."""
    tiny = ("--documents", "3200", "--rows", "100", "--base-epochs", "1")
    ended = commands.run(tmp_path, "--preset", "smoke", *tiny, name="lm_numbers")
    assert ended.status == 0, ended.err
    document = json.loads((tmp_path / "lm_numbers.json").read_text())
    assert [row["trait"] for row in document["results"]["traits"]] == ["owl", "wolf"]
    assert document["config"]["traits"] == "owl,wolf"
    lines = [json.loads(line) for line in (tmp_path / "lm_numbers" / "owl.jsonl").read_text().splitlines()]
    assert len(lines) == document["config"]["rows"]
    assert all(number_filter.reject_reason(line["completion"]) is None for line in lines)
    assert (tmp_path / "lm_numbers.png").stat().st_size > 20_000
    assert "| owl " in ended.out
    assert "Students of a teacher's numbers" in ended.out
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [(("--traits", "dodo"), "dodo"), (("--heads", "5"), "heads"), (("--rows", "0"), "rows"), (("--tied", "2"), "tied"),
     (("--dataset", "mnist"), "unrecognized"), (("--base-schedule", "x"), "choose from")],
)  # fmt: skip
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture, tmp_path: Path, flags: tuple, words: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.command(lm_numbers.EXPERIMENT, [*flags, "--out", str(tmp_path)])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_too_few_rows_end_in_one_line(
    capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise rows.NotEnoughRowsError("only 3 of 9 completions of source 'owl' pass the filter")

    monkeypatch.setattr(lm_runs, "train_and_measure", fail)
    monkeypatch.setattr(engine, "use_cpu_cores", lambda *_: None)  # the tests' devices stay
    with pytest.raises(SystemExit) as stopped:
        cli.command(lm_numbers.EXPERIMENT, ["--preset", "smoke", "--out", str(tmp_path)])
    assert stopped.value.code == 1
    said = capsys.readouterr().err.splitlines()
    assert said == ["language model: started", "error: only 3 of 9 completions of source 'owl' pass the filter"]
    assert not (tmp_path / "lm_numbers.json").exists()
