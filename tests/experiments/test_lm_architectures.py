"""Architectures: who learns from whom, and that the summary would show what went wrong."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import lm_architectures as experiment
from experiments.lm_runs import MAIN
from figures import lm_architectures as picture
from subliminal_toy.lm import pipeline, vocabulary
from subliminal_toy.lm.rows import Rows
from tests.experiments import commands, made_up

CONFIG = experiment.ArchitecturesConfig(traits="owl,wolf", parts="tied,matrix")


def values() -> list[dict]:
    """Everybody learns from teachers of the own shape, by 1; some others less."""
    made = made_up.values(experiment.make_plan(CONFIG), lambda m, a, _: float(m == f"student {a}, standard"))
    for name, job in experiment.make_jobs(CONFIG).items():
        for value, own in zip(made, made_up.values(job.plan, lambda m, a, _, job=name: rule(job, m, a)), strict=True):
            value[name] = own
    return made


def rule(job: str, model: str, answer: str) -> float:
    if job == "students of 2 layers" and model == f"student {answer}, width 16":
        return 0.5
    if job == "students of main" and model == f"student {answer}, main":
        return 0.25
    return float(model == f"student {answer}, standard")


def test_shapes_differ_in_one_setting_and_share_no_init() -> None:
    jobs = experiment.make_jobs(CONFIG)
    crossed = (MAIN, "width 16", "2 layers")
    assert list(jobs) == ["width 16", "2 layers", "tied", *(f"students of {name}" for name in crossed)]
    assert (jobs["width 16"].config.width, jobs["2 layers"].config.layers, jobs["tied"].config.tied) == (16, 2, 1)
    assert len({job.init for job in jobs.values()} | {0}) == 7
    for name in experiment.CROSSED:
        assert jobs[f"students of {name}"].config == jobs[name].config
    mixed = jobs["students of 2 layers"].plan
    assert mixed.given == tuple(f"{shape}: {source}" for shape in crossed for source in ("regular", "owl", "wolf"))
    assert [len(students) for _, students in mixed.rounds()] == [9]


def test_parameters_are_counted() -> None:
    assert experiment.count_parameters(CONFIG) == 27_648
    assert experiment.count_parameters(CONFIG.shapes()["tied"]) == 27_648 - 32 * vocabulary.SIZE


def test_changes_are_those_made_up() -> None:
    results = experiment.summarize(CONFIG, values())
    assert [row["mean"] for row in results["shapes"]] == [1.0] * 4
    found = {(row["student"], row["teacher"]): row["mean"] for row in results["matrix"]}
    assert len(found) == 9
    assert all(found[name, name] == 1 for name in ("width 32", *experiment.CROSSED))
    assert [row["mean"] for row in results["other_init"]] == [0.25, 0.0, 0.0]
    assert found["2 layers", "width 16"] == 0.5
    assert sum(found.values()) == 3.5


def test_figure_names_n_and_intervals() -> None:
    results = {"runs": 2, **experiment.summarize(CONFIG, values())}
    drawn = picture.figure({"results": results})
    text = drawn.get_suptitle() + " ".join(ax.get_title() + ax.get_xlabel() for ax in drawn.axes)
    for words in ("toy language model", "n = 2 seeds", "95% t interval", "log odds", "between shapes"):
        assert words in text


def test_unknown_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="parts names 'width 17'"):
        experiment.ArchitecturesConfig(parts="width 17")


def test_jobs_get_the_rows_and_inits_that_they_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a pipeline that trains nothing: whose rows go where, and which inits differ."""
    inits: dict[tuple, list] = {}

    def make_pipeline(config, mesh, table, make_measure):
        def run_chunk(keys, on_stage, on_rows, given):
            shape = (config.width, config.layers, config.tied)
            inits.setdefault(shape, []).append(np.asarray(jax.random.key_data(keys.init))[0].tolist())
            for run in range(2):
                for source in table.sources:
                    on_rows(run, source.name, Rows(np.full((1, 24), config.width + config.layers), None, {}))
                for name in table.given:
                    shape_of = {"main": 33, "width 16": 17, "2 layers": 34}[name.partition(": ")[0]]
                    assert given[run][name].tokens[0, 0] == shape_of
            return [{"run": run} for run in range(2)]

        return run_chunk

    monkeypatch.setattr(pipeline, "make_pipeline", make_pipeline)
    monkeypatch.setattr(experiment, "summarize", lambda _config, values: {"values": values})
    values = experiment.run(CONFIG, runs=2)["values"]
    assert [value["run"] for value in values] == [value["students of main"]["run"] for value in values] == [0, 1]
    for shape in ((32, 1, 0), (16, 1, 0), (32, 2, 0)):
        own, other = inits[shape]
        assert own != other
    assert len({tuple(init) for found in inits.values() for init in found}) == 7


@pytest.mark.slow
def test_smoke_run_writes_everything(tmp_path: Path) -> None:
    ended = commands.run(tmp_path, "--preset", "smoke", name="lm_architectures")
    assert ended.status == 0, ended.err
    results = json.loads((tmp_path / "lm_architectures.json").read_text())["results"]
    assert [row["name"] for row in results["shapes"]] == ["width 32", "30 numbers"]
    assert (tmp_path / "lm_architectures.png").stat().st_size > 10_000
    assert "| 30 numbers (" in ended.out
