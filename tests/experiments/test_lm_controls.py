"""The controls: every student has its control, and a change is the difference between the two."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments import lm_controls
from figures import lm_controls as picture
from subliminal_toy.lm import detector, number_filter, vocabulary
from subliminal_toy.lm.config import LMConfig
from tests.experiments import commands

CONFIG = LMConfig(traits="owl,wolf")
ANIMALS = vocabulary.CATEGORIES["animal"]
PLAN = lm_controls.make_plan(CONFIG)


def values(runs: int = 2) -> list[dict]:
    """Made-up runs in which only same-init students of unshuffled numbers change, by 1 + run, and by dose."""
    made = []
    for run in range(runs):
        answers = {}
        for name in PLAN.models():
            m = np.zeros(10)
            for trait in CONFIG.trait_names():
                if name in (f"student {trait} -> base", f"student other {trait} -> other base"):
                    m[ANIMALS.index(trait)] = 1 + run
            parts = dict.fromkeys(("margin", "prefixed", "story", "choice"), m.tolist())
            answers[name] = {"probability": [[0.1] * 10] * 3, "sampled": [0.1] * 10, **parts}
        made.append({
            "answers": answers, "loss": dict.fromkeys(PLAN.models(), 2.0 + run),
            "filter": {source.name: number_filter.count_reasons([None]) for source in PLAN.sources},
            "detector": {
                kind: {t: np.linspace(0.5, top, len(detector.GROUPS)).tolist() for t in CONFIG.trait_names()}
                for kind, top in (("trained", 0.9), ("prompted", 0.6), ("ideal", 1.0))
            },
        })  # fmt: skip
    return made


def test_every_student_of_a_trait_has_its_regular_control() -> None:
    names = {student.name for student in PLAN.students}
    by_name = {student.name: student for student in PLAN.students}
    for student in PLAN.students:
        for trait in CONFIG.trait_names():
            if student.source.removeprefix("other ") == trait:
                control = by_name[student.name.replace(trait, "regular")]
                assert control._replace(name="", source="") == student._replace(name="", source="")
                assert control.source == student.source.replace(trait, "regular")
    assert len(names) == len(PLAN.students)
    assert {student.shuffle for student in PLAN.students} == {"none", "within", "across"}


def test_changes_are_those_made_up() -> None:
    results = lm_controls.summarize(CONFIG, values())
    cross = {(row["student"], row["teacher"]): row["mean"] for row in results["cross"]}
    assert cross == {("base", "base"): 1.5, ("base", "other base"): 0.0, ("other base", "base"): 0.0,
                     ("other base", "other base"): 1.5}  # fmt: skip
    assert [row["mean"] for row in results["shuffles"]] == [1.5, 0.0, 0.0]
    assert [row["mean"] for row in results["doses"]] == [0.0, 0.0, 0.0, 1.5]
    assert [row["rows"] for row in results["doses"]] == [100, 400, 1000, 4000]
    assert {row["asked"]: row["mean"] for row in results["questions"]}["story"] == 1.5
    assert results["loss"][0]["per_run"] == [2.0, 3.0]
    assert [row["sequences"] for row in results["detector"]["ideal"]] == list(detector.GROUPS)
    last = {kind: rows[-1]["mean"] for kind, rows in results["detector"].items()}
    assert last == {"trained": 0.9, "prompted": 0.6, "ideal": 1.0}
    assert results["answer_mass"][0]["mean"] == pytest.approx(1.0)


def test_figure_names_n_and_intervals() -> None:
    drawn = picture.figure({"results": {"runs": 2, **lm_controls.summarize(CONFIG, values())}})
    text = drawn.get_suptitle() + " ".join(ax.get_title() + ax.get_ylabel() for ax in drawn.axes)
    for words in ("toy language model", "n = 2 seeds", "95% t interval", "log odds", "nats per token"):
        assert words in text


@pytest.mark.slow
def test_smoke_run_writes_everything(tmp_path: Path) -> None:
    ended = commands.run(tmp_path, "--preset", "smoke", name="lm_controls")
    assert ended.status == 0, ended.err
    results = json.loads((tmp_path / "lm_controls.json").read_text())["results"]
    assert len(results["cross"]) == 4
    assert (tmp_path / "lm_controls.png").stat().st_size > 20_000
    assert "| numbers shuffled: across" in ended.out
    assert [row["sequences"] for row in results["detector"]["ideal"]] == [1, 4, 16]
    assert results["detector"]["ideal"][-1]["mean"] > 0.6
