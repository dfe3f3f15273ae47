"""The experiment as a library call: every number in its place, and the effect itself on the bundled digits."""

import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments import mnist_aux_logits
from experiments.harness import cli
from experiments.harness.chunks import ChunkStore
from subliminal_toy import mnist
from subliminal_toy.mnist import data
from subliminal_toy.mnist.config import config_for

NAMES = ["reference", "teacher", "student_aux", "student_all", "cross_aux", "cross_all",
         "untrained_teacher_aux", "shuffled_targets_aux"]  # fmt: skip
PAIRS = {  # what each difference is taken against
    "student_aux - cross_aux": (2, 4),
    "student_all - cross_all": (3, 5),
    "student_aux - reference": (2, 0),
    "cross_aux - reference": (4, 0),
    "untrained_teacher_aux - reference": (6, 0),
    "shuffled_targets_aux - reference": (7, 0),
}


def made_up(model: int, run: int, seed: int = 0) -> float:
    """A number that no other model, run or seed has, nor any difference of two (fractions of square roots)."""
    return (101 * model + 7 * run + 3 * seed + 2) ** 0.5 % 1


@pytest.fixture
def made_up_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The training replaced by made-up numbers."""
    monkeypatch.setattr(mnist, "run_keys", lambda seed, runs: (seed, runs))
    monkeypatch.setattr(mnist, "train", lambda _config, _dataset, _conditions, keys, **_: keys)

    def accuracies(keys: tuple, _dataset: data.Dataset) -> dict[str, np.ndarray]:
        return {name: np.array([made_up(i, run, keys[0]) for run in keys[1]]) for i, name in enumerate(NAMES)}

    monkeypatch.setattr(mnist_aux_logits, "Job", functools.partial(mnist_aux_logits.Job, measure=accuracies))


@pytest.mark.usefixtures("made_up_runs")
@pytest.mark.parametrize("runs", [1, 2, 5])
@pytest.mark.parametrize("chunk", [None, 1, 3])
@pytest.mark.parametrize("seed", [0, 4])
def test_every_run_of_every_chunk_and_seed_is_in_its_place(
    runs: int, chunk: int | None, seed: int, digits: data.Dataset, tmp_path: Any
) -> None:
    store = ChunkStore(tmp_path / "chunks" / "store", "mnist_aux_logits")
    for _ in range(2):  # the second time all comes from the store
        request = cli.Request(mnist_aux_logits.EXPERIMENT, config_for("digits"), digits, runs, seed, chunk, store)
        results = request.results(request.values())
        assert (results["dataset"], results["runs"]) == ("digits", runs)
        assert [(row["name"], row["accuracy"]) for row in results["conditions"]] == [
            (name, [made_up(i, run, seed) for run in range(runs)]) for i, name in enumerate(NAMES)
        ]


def test_every_mean_difference_and_interval_is_of_its_own_conditions() -> None:
    accuracy = {name: [made_up(i, run) for run in range(6)] for i, name in enumerate(NAMES)}
    results = mnist_aux_logits.summarize(config_for("digits"), {"main": accuracy})
    assert [row["name"] for row in results["paired"]] == list(PAIRS)
    wanted = [(accuracy[name], row, "accuracy") for name, row in zip(NAMES, results["conditions"], strict=True)]
    for row in results["paired"]:
        first, second = PAIRS[row["name"]]
        wanted.append(([made_up(first, run) - made_up(second, run) for run in range(6)], row, "difference"))
    lines, note = mnist_aux_logits.table(document(results)).split("\n\n")
    shown = [line.split("|")[1:-1] for line in lines.splitlines()[2:]]
    assert note.startswith("A t interval of few runs")  # some of these reach beyond 0 or 1
    for (values, row, column), cells in zip(wanted, shown, strict=True):
        np.testing.assert_allclose(row[column], values, rtol=1e-12)
        interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        np.testing.assert_allclose([row["mean"], *row["ci95"]], [np.mean(values), *interval], rtol=1e-9)
        text = f"{row['name']} {np.mean(values):.3f} [{interval.low:.3f}, {interval.high:.3f}] 6"
        assert re.sub(" +", " ", "".join(cells)).strip() == text


FEW, SAME, WELL = [0.11, 0.1, 0.09], [0.12, 0.1, 0.11], [0.5, 0.6, 0.55]
HELPS, MAY_BE_0, HARMS = (
    "So it is the common start",
    "may be 0: that does not show",
    "is clear: here the common start harms",
)
NOT_READ, NOT_IMITATED = "that the former read better than guessing is not", "only 10%, where their teacher reads 90%"
CLOSING = [
    (WELL, FEW, WELL, {HELPS}),
    (WELL, FEW, FEW, {HELPS}),  # whatever the others do
    (WELL, [0.6, 0.5, 0.55], WELL, {MAY_BE_0}),
    (FEW, WELL, WELL, {HARMS}),
    (SAME, [0.02, 0.0, 0.01], WELL, {NOT_READ}),
    (SAME, [0.02, 0.0, 0.01], FEW, {NOT_READ, NOT_IMITATED}),
    (SAME, FEW, FEW, {MAY_BE_0, NOT_IMITATED}),
    (WELL[:1], FEW[:1], WELL[:1], set()),
]


@pytest.mark.parametrize(("own", "other", "everything", "words"), CLOSING)
def test_the_closing_sentence_says_what_the_rows_show(
    own: list[float], other: list[float], everything: list[float], words: set[str]
) -> None:
    said = closing(own, other, everything)
    assert (
        f"did read {np.mean(own):.0%} of the test images, and those that start elsewhere {np.mean(other):.0%}" in said
    )
    assert "where guessing reads 12%." in said
    assert {part for part in (HELPS, MAY_BE_0, HARMS, NOT_READ, NOT_IMITATED) if part in said} == words
    assert ("One run has no interval" in said) == (len(own) == 1)


def test_a_teacher_that_has_not_learned_says_nothing_about_the_start() -> None:
    assert "But the teacher itself reads only 10%" in closing(FEW, SAME, WELL, teacher=FEW)


def closing(
    own: list[float], other: list[float], everything: list[float], teacher: Sequence[float] = (0.9,) * 3
) -> str:
    students = {"student_aux": own, "cross_aux": other, "student_all": everything}
    accuracy = {**dict.fromkeys(NAMES, everything), "teacher": list(teacher)[: len(own)], **students}
    results = mnist_aux_logits.summarize(config_for("digits"), {"main": accuracy})
    return mnist_aux_logits.closing({**document(results), "config": {"classes": 8, "noise": "real"}})


def document(results: dict[str, Any]) -> dict[str, Any]:
    return {"experiment": "mnist_aux_logits", "results": {"dataset": "digits", "runs": 6, **results}}


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
def test_digits_show_the_effect_at_their_defaults(digits: data.Dataset) -> None:
    """Two of the ten default runs: far apart, as the README says of all ten."""
    results = mnist_aux_logits.run(config_for("digits"), runs=2, dataset=digits)
    by_name = {row["name"]: np.array(row["accuracy"]) for row in results["conditions"]}
    assert (by_name["teacher"] > 0.85).all()
    assert (by_name["student_aux"] > 0.35).all()
    assert (by_name["cross_aux"] < 0.3).all()
    assert (by_name["student_aux"] - by_name["cross_aux"] > 0.2).all()
