"""Committed results have every key, field and word that their summaries write today: rows are data, and say it all."""

import importlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

import docs
from experiments import trained
from experiments.harness.commands import module_of
from experiments.harness.experiment import Experiment
from experiments.lm.runs import MAIN, Pipeline
from experiments.studies import lm_in_context, mnist_mechanism
from subliminal_toy.lm import vocabulary
from tests.experiments import made_up
from tests.experiments.every_row import column
from tests.experiments.test_every_row_mnist import mechanism_values

NAMES = (
    "mnist_aux_logits", "controls/mnist_aux_logits", "digits/mnist_aux_logits", "mnist_sweeps",
    "aux_logits/mnist_sweeps", "mnist_mechanism", "tune_digits", "page_networks", "lm_numbers",
    "own_documents/lm_numbers", "lm_controls", "lm_other_init", "lm_traits", "lm_mechanism", "lm_architectures",
    "lm_in_context",
)  # fmt: skip
BESIDE = {"runs", "dataset", "networks", "layers", "bytes", "sha256"}  # not of a summary
OF_RUNS = {"examples", "counts", "run"}  # what runs say, in words or numbers


def written(name: str) -> Any:
    """What the summary of a command makes of made-up runs with the settings of its committed results."""
    document = docs.load(docs.RESULTS, name)
    experiment = importlib.import_module(module_of(name.rpartition("/")[2])).EXPERIMENT
    config = trained.recorded(experiment, {"conditions": "published"} | document["config"])  # older ones had no choice
    return json.loads(json.dumps(experiment.summarize(config, values(experiment, config, document["results"]["runs"]))))


def values(experiment: Experiment, config: Any, runs: int) -> Any:
    """Made-up runs of all jobs of a command."""
    if experiment is mnist_mechanism.EXPERIMENT:
        return mechanism_values()
    jobs = experiment.jobs(config)
    if isinstance(jobs[0], Pipeline):
        return language_model(jobs[0], runs)
    return {
        job.name: {
            name: column(job.name, name, shape=(job.runs(runs),)).tolist()
            for name in ("reference", "teacher", *(condition.name for condition in job.conditions))
        }
        for job in jobs
    }


def language_model(pipeline: Pipeline, runs: int) -> made_up.Values:
    """Made-up runs of a pipeline, with what each study measures besides."""
    found: dict[str, made_up.Values] = {}
    for name, job in pipeline.jobs.items():
        traits = job.config.trait_names()
        pairs = zip(made_up.survey(job.plan, runs), made_up.standard(job.plan, traits, runs), strict=True)
        found[name] = [one | other for one, other in pairs]
        rows = {student.rows for student in job.plan.students if student.recipe.checkpoints}
        made_up.add_mechanics(found[name], traits, rows)
        for value in found[name] if isinstance(job.config, lm_in_context.InContextConfig) else ():
            animals = [0.0] * len(vocabulary.CATEGORIES["animal"])
            value["in_context"], value["answered"] = (
                dict.fromkeys(own, animals) for own in (("regular", *traits), traits)
            )
            value["by_place"] = [0.0] * job.config.context
    others = [{name: found[name][run] for name in found if name != MAIN} for run in range(runs)]
    return [value | other for value, other in zip(found[MAIN], others, strict=True)]


def demand_same_words(found: Any, committed: Any, where: str = "results") -> None:
    """Demand the same keys, and the same text and truth values; numbers are of other runs."""
    if isinstance(found, Mapping):
        assert found.keys() == committed.keys() - (BESIDE if where == "results" else set()), where
        for key in found.keys() - OF_RUNS:
            demand_same_words(found[key], committed[key], f"{where}.{key}")
    elif isinstance(found, list) and any(isinstance(one, dict | str | list) for one in found):
        assert len(found) == len(committed), where
        if "source" in found[0]:  # sources are sampled in rounds
            found, committed = (sorted(rows, key=lambda row: row["source"]) for rows in (found, committed))
        for i, (one, other) in enumerate(zip(found, committed, strict=True)):
            demand_same_words(one, other, f"{where}[{i}]")
    elif isinstance(found, str | bool):
        assert found == committed, where


@pytest.mark.parametrize("name", NAMES)
def test_committed_rows_are_those_that_the_summary_writes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_up, "EPOCHS", 10)  # of watched students
    demand_same_words(written(name), docs.load(docs.RESULTS, name)["results"])
