"""The language model's experiment: its summary can be wrong and would show it; its command runs and draws."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments import lm_numbers, lm_runs
from figures import lm_numbers as picture
from subliminal_toy.lm import number_filter, plan, rows, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.statistics import t_interval
from tests.experiments import commands

CONFIG = LMConfig(traits="owl,wolf")
ANIMALS = vocabulary.CATEGORIES["animal"]


def values(runs: int = 3) -> list[dict]:
    """Made-up runs: a trait's student has its trait's probability raised by 0.1 and its log odds by 1 + run / 10."""
    made = []
    for run in range(runs):
        students = [student.name for student in plan.standard_plan(CONFIG).students]
        traits = CONFIG.trait_names()
        names = ["base", "other base", *(f"teacher {t}" for t in traits), *(f"student {s}" for s in students),
                 *(f"prompted teacher {t}" for t in traits)]  # fmt: skip
        answers = {}
        for name in names:
            p, m = np.full((3, 10), 0.1), np.zeros(10)
            trait = name.split()[-1]
            if name == f"student {trait}" and trait in ANIMALS:
                p[:, ANIMALS.index(trait)] = (0.2, 0.2, 0.3)
                m[ANIMALS.index(trait)] = 1 + run / 10
            answers[name] = {
                "probability": p.tolist(),
                "margin": m.tolist(),
                "sampled": p[0].tolist(),
                "prefixed": m.tolist(),
                "story": m.tolist(),
                "choice": m.tolist(),
            }
        sources = [source.name for source in plan.standard_plan(CONFIG).sources]
        counts = {"kept": 90, **dict.fromkeys(number_filter.REASONS, 0), "format": 10}
        numbers = {s: [5] + [1] * 99 if s == "owl" else [1] * 100 for s in sources}
        made.append({
            "answers": answers, "loss": dict.fromkeys(names, 2.0), "divergence": {"owl": 0.03, "wolf": 0.04},
            "filter": dict.fromkeys(sources, counts), "numbers": numbers, "first": numbers,
            "examples": {s: [{"prompt": "p", "completion": "c"}] for s in sources},
        })  # fmt: skip
    return made


def test_summary_by_trait_and_overall() -> None:
    results = lm_numbers.summarize(CONFIG, values())
    owl = results["traits"][0]
    assert (owl["trait"], owl["seeds"], owl["base"]) == ("owl", 3, pytest.approx([0.1] * 3))
    assert owl["student"] == pytest.approx([0.225] * 3)  # 12 questions at 0.2, 4 unseen ones at 0.3
    assert owl["student_minus_regular"]["mean"] == pytest.approx(0.125)
    rise = results["overall"]["margin"]["student_minus_regular"]
    assert rise["mean"] == pytest.approx(1.1)
    assert rise["ci95"] == pytest.approx(t_interval([1.0, 1.1, 1.2]).ci95)
    assert (rise["positive"], rise["pairs"]) == (6, 6)
    assert results["overall"]["margin"]["cross_minus_cross_regular"]["positive"] == 0
    assert results["overall"]["unseen"]["student"]["mean"] == pytest.approx(0.3)
    assert results["overall"]["answer_mass"]["base"]["mean"] == pytest.approx(1.0)


def test_matrix_is_the_change_against_regular_numbers() -> None:
    matrix = lm_numbers.summarize(CONFIG, values())["matrix"]
    mean = np.array(matrix["mean"])
    assert mean[0, ANIMALS.index("owl")] == mean[1, ANIMALS.index("wolf")] == pytest.approx(1.1)
    assert np.count_nonzero(mean) == 2
    assert matrix["elevation"]["mean"] == pytest.approx(1.1)


def test_filter_and_numbers_tables() -> None:
    results = lm_numbers.summarize(CONFIG, values())
    assert results["filter"][0]["mean"] == pytest.approx(0.9)
    assert results["filter"][0]["counts"]["format"] == 30
    owl = next(row for row in results["numbers"] if row["source"] == "owl")
    assert owl["numbers"][0] == {"number": 100, "share": round(5 / 104, 5), "regular": 0.01}
    assert owl["total_variation"]["first"] == pytest.approx([5 / 104 - 1 / 100] * 3)


def test_figure_names_what_it_shows() -> None:
    drawn = picture.figure({"results": {"runs": 3, **lm_numbers.summarize(CONFIG, values())}})
    titles = " ".join(ax.get_title() for ax in drawn.axes)
    for words in ("toy language model", "n = 3 seeds", "95% t interval", "log odds"):
        assert words in titles
    heights = [patch.get_height() for patch in drawn.axes[0].patches]
    assert heights == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.225, 0.225, 0.1, 0.1])


def test_smoke_run_writes_results_rows_and_picture(tmp_path: Path) -> None:
    ended = commands.run(tmp_path, "--preset", "smoke", name="lm_numbers")
    assert ended.status == 0, ended.err
    document = json.loads((tmp_path / "lm_numbers.json").read_text())
    assert [row["trait"] for row in document["results"]["traits"]] == ["owl", "wolf"]
    assert document["config"]["traits"] == "owl,wolf"
    lines = [json.loads(line) for line in (tmp_path / "lm_numbers" / "owl.jsonl").read_text().splitlines()]
    assert len(lines) == document["config"]["rows"]
    assert all(number_filter.reject_reason(line["completion"]) is None for line in lines)
    assert (tmp_path / "lm_numbers.png").stat().st_size > 20_000
    assert "| owl " in ended.out
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [(("--traits", "dodo"), "dodo"), (("--heads", "5"), "heads"), (("--rows", "0"), "rows"), (("--tied", "2"), "tied"),
     (("--dataset", "mnist"), "unrecognized"), (("--base-schedule", "x"), "choose from")],
)  # fmt: skip
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture, tmp_path: Path, flags: tuple, words: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        lm_numbers.main([*flags, "--out", str(tmp_path)])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_too_few_rows_end_in_one_line(
    capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise rows.NotEnoughRowsError("only 3 of 9 completions of source 'owl' pass the filter")

    monkeypatch.setattr(lm_runs, "run_pipeline", fail)
    with pytest.raises(SystemExit) as stopped:
        lm_numbers.main(["--preset", "smoke", "--out", str(tmp_path)])
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "error: only 3 of 9 completions of source 'owl' pass the filter\n"
    assert not (tmp_path / "lm_numbers.json").exists()
