"""Other inits and contexts: whose gain is against whose, and no two experiments have the same runs."""

import dataclasses
import importlib

import pytest

from experiments.harness.commands import modules
from experiments.studies import lm_in_context, lm_other_init
from figures import lm_in_context as context_picture
from figures import lm_other_init as picture
from subliminal_toy.lm import BASE, LMConfig, numbers, vocabulary
from tests.experiments import made_up

CONFIG = LMConfig(traits="owl,wolf,cat")
PLAN = lm_other_init.make_plan(CONFIG)
ANIMALS = vocabulary.CATEGORIES["animal"]


def rule(model: str, answer: str, run: int) -> float:
    """Every student has a number of its own."""
    name, _, start = model.removeprefix("student ").partition(", ")
    controls = {"": 0.0, "own prompts": -2.0, "own noise": -3.0}
    if start in controls:
        return controls[start]
    own = 100.0 + run if name == answer else 1.0 if name == "regular" else 10.0
    return own * {"same documents": 1.0, "own documents": 2.0, "own language": 4.0}[start]


@pytest.fixture(scope="module")
def rows() -> dict[str, dict]:
    values = made_up.values(PLAN, rule, 6)
    return {row["name"]: row for row in lm_other_init.summarize(CONFIG, values)["rows"]}


def test_gains_are_against_the_control_that_they_name(rows: dict[str, dict]) -> None:
    runs = [100.0 + run for run in range(6)]
    assert rows["same documents"]["per_run"] == [own - 1 for own in runs]
    assert rows["own documents"]["per_run"] == [2 * (own - 1) for own in runs]
    assert rows["own language"]["per_run"] == [4 * (own - 1) for own in runs]
    assert rows["same documents, own prompts"]["per_run"] == [own + 2 for own in runs]
    assert rows["same documents, own noise"]["per_run"] == [own + 3 for own in runs]
    assert rows["own documents, specific"]["per_run"] == [2 * (own - 10) for own in runs]
    assert rows["same documents - own documents"]["per_run"] == [1 - own for own in runs]
    assert rows["own documents, specific - own language, specific"]["per_run"] == [-2 * (own - 10) for own in runs]
    assert rows["same documents, own noise - same documents"]["per_run"] == [4.0] * 6
    assert (rows["same documents"]["median"], rows["same documents"]["median_ci95"]) == (101.5, (99.0, 104.0))


def test_bases_share_what_they_say() -> None:
    shared = {str(base.name): (base.shares, base.documents, base.language) for base in PLAN.bases}
    assert shared["same documents"] == shared["base"] == ((), 0, 0)
    assert (shared["own documents"], shared["own language"]) == (((), 1, 0), ((), 1, 1))
    sources = {source.name: source for source in PLAN.sources}
    regular, noise, prompts = (sources[numbers("regular", arm)] for arm in ("", "own noise", "own prompts"))
    assert {source.model for source in (regular, noise, prompts)} == {BASE}
    assert [source.prompts for source in (regular, sources[numbers("owl")], noise, prompts)] == [0, 0, 0, 1]
    assert {student.init for student in PLAN.students} == {base.name for base in lm_other_init.STARTS}


def test_reading_is_against_reading_regular_rows() -> None:
    config = lm_in_context.InContextConfig(traits="owl,wolf")
    plan, regular = lm_in_context.jobs(config)[0].jobs["main"].plan, {"student regular, standard": 2.0}
    values = made_up.values(plan, lambda m, a, _: 7.0 if m == f"student {a}, standard" else regular.get(m, 0.0), 6)
    odds = {"regular": [1.0] * 10, "owl": [3.0] * 10, "wolf": [5.0] * 10}
    for value in values:
        more = {"owl": [9.0] * 10, "wolf": [11.0] * 10}
        value |= {"in_context": odds, "answered": more, "by_place": [2.0, 1.9, 1.5]}
    results = {"runs": 6, **lm_in_context.summarize(config, values)}
    assert [row["median"] for row in results["rows"]] == [5.0, 3.0, 9.0, 0.5]
    assert "8 of them in the context" in lm_in_context.table({"results": results})
    axes = context_picture.figure({"config": dataclasses.asdict(config), "results": results}).axes
    assert [len(ax.get_yticklabels()) for ax in axes] == [2, 1, 1]
    assert "8 answered questions" in axes[1].get_yticklabels()[0].get_text()
    assert "per token" in axes[2].get_xlabel()


def test_figure_has_a_line_for_every_row(rows: dict[str, dict]) -> None:
    drawn = picture.figure({"results": {"runs": 6, "rows": list(rows.values())}})
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == list(rows)


def test_no_two_experiments_on_the_language_model_have_the_same_runs() -> None:
    found = [importlib.import_module(module) for name, module in modules().items() if name.startswith("lm_")]
    seeds = {module.EXPERIMENT.name: module.EXPERIMENT.seed for module in found if hasattr(module, "EXPERIMENT")}
    assert len(seeds) >= 7
    assert len(set(seeds.values())) == len(seeds)
