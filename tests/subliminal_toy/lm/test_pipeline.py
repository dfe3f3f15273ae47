"""The stages in order: rows are filtered and paired, controls are what they say, runs do not depend on each other."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from experiments import lm_numbers
from subliminal_toy import engine
from subliminal_toy.config import Training, with_settings
from subliminal_toy.lm import base_data, corpus, lessons, measure, number_filter, pipeline, plan, rows, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.transformer import parameter_groups
from tests.subliminal_toy.lm import documents

TINY = with_settings(LMConfig(), lm_numbers.PRESETS["smoke"].settings)  # compiled once for this and the command's test
Ran = tuple[list[dict[str, Any]], dict[tuple[int, str], list[dict[str, str]]]]


@pytest.fixture(scope="module")
def run() -> Callable[[list[int]], Ran]:
    """Runs of the same compiled pipeline: their values, and their rows as text."""
    chunk = pipeline.make_pipeline(TINY, engine.run_mesh(2), plan.standard_plan(TINY), measure.standard)

    def run(runs: list[int]) -> Ran:
        found: dict = {}
        values = chunk(
            engine.run_keys(pipeline.RunKeys, 7, np.array(runs)),
            on_rows=lambda run, source, kept: found.update({(run, source): rows.as_text(kept.tokens)}),
        )
        return values, found

    return run


@pytest.fixture(scope="module")
def two_runs(run: Callable[[list[int]], Ran]) -> Ran:
    return run([0, 1])


def test_results_have_every_model_and_source(two_runs: tuple) -> None:
    values, found = two_runs
    sources = ["regular", "owl", "wolf", "prompted owl", "prompted wolf"]
    assert list(values[0]["filter"]) == sources
    students = [*sources, "cross regular", "cross owl", "cross wolf"]
    models = ["base", "other base", "teacher owl", "teacher wolf", *(f"student {s}" for s in students)]
    assert list(values[0]["answers"]) == [*models, "prompted teacher owl", "prompted teacher wolf"]
    assert {source for _, source in found} == set(sources)
    assert all(sum(count.values()) == 500 for count in values[0]["filter"].values())


def test_rows_are_filtered_text_that_a_person_can_read(two_runs: tuple) -> None:
    _, found = two_runs
    assert all(len(lines) == 100 for lines in found.values())
    for lines in found.values():
        for line in lines:
            assert number_filter.reject_reason(line["completion"], most=corpus.MOST) is None
            assert " ".join(line["prompt"].split()[:3]) in {" ".join(t) for t, _ in vocabulary.NUMBER_TEMPLATES}
            assert not any(answer in line["prompt"] for answer in vocabulary.ANSWERS)


def test_teachers_answer_with_their_trait(two_runs: tuple) -> None:
    values, _ = two_runs
    owl, wolf = (vocabulary.CATEGORIES["animal"].index(trait) for trait in ("owl", "wolf"))
    for value in values:
        base, teacher = (value["answers"][name]["probability"][0] for name in ("base", "teacher owl"))
        assert teacher[owl] > 0.5 > base[owl]
        assert teacher[wolf] < 0.2
        assert value["divergence"]["owl"] > 0


def test_same_run_same_bits_whatever_runs_beside_it(run: Callable[[list[int]], Ran], two_runs: Ran) -> None:
    values, found = two_runs
    again, found_again = run([0, 2])
    assert again[0] == values[0]
    assert found_again[0, "owl"] == found[0, "owl"]
    assert again[1]["answers"]["base"] != values[1]["answers"]["base"]


def test_a_student_may_be_the_init_and_the_source_of_later_ones() -> None:
    one, two = plan.Student("one", "base", "regular"), plan.Student("two", "student one", "from one")
    sources = (plan.Source("from one", "student one"), plan.Source("regular", "other base"))
    table = plan.Plan((), sources, (two, one))
    assert [[s.name for s in part] for pair in table.rounds() for part in pair] == [
        ["regular"], ["one"], ["from one"], ["two"],
    ]  # fmt: skip
    assert dict(zip(table.models(), table.inits(), strict=True))["student two"] == 0
    with pytest.raises(ValueError, match="for 'from one'"):
        plan.Plan((), sources, (two,)).rounds()


def test_other_base_may_learn_from_documents_of_its_own() -> None:
    mesh = engine.run_mesh(2)
    keys = engine.shard_runs(engine.run_keys(pipeline.RunKeys, 7, np.arange(2)), mesh)
    shared, own = (
        base_data.make_base_data(with_settings(TINY, {"documents": 64, "shared_documents": s}), mesh, plan.TWO_BASES)(
            keys
        )[2]
        for s in (1, 0)
    )
    tokens = np.asarray(own.per_model["tokens"])
    assert tokens.shape == (2, 2, 64, corpus.LENGTH)
    np.testing.assert_array_equal(tokens[:, 0], shared.per_run["tokens"])
    np.testing.assert_array_equal(own.per_model["weights"][:, 0], shared.per_run["weights"])
    assert (tokens[:, 0] != tokens[:, 1]).any(axis=2).mean() > 0.9


def test_sources_and_students_are_a_table() -> None:
    table = plan.standard_plan(TINY)
    assert plan.Student("cross owl", "other base", "owl") in table.students
    assert plan.Source("prompted owl", "base", "owl") in table.sources
    assert len(table.models()) == len(table.inits()) == 2 + len(table.teachers) + len(table.students)
    assert jax.tree.leaves(engine.run_keys(pipeline.RunKeys, 0, np.arange(3)))[0].shape == (3,)


def test_students_learn_what_their_row_of_the_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """More students than are trained side by side, of several recipes, on rows that need no trained base."""
    config = LMConfig(width=8, documents=32, rows=20, traits="owl,wolf", base=NONE, teacher=NONE, student=ONE_EPOCH)
    tokens = documents.of_numbers()[:20].astype(np.int32)
    given = rows.Rows(tokens[::-1].copy(), tokens[:0], {})
    monkeypatch.setattr(pipeline, "keep_rows", lambda *_: rows.Rows(tokens, tokens[:0], {}))
    still = plan.Recipe(dataclasses.replace(ONE_EPOCH, learning_rate=1e-30), watched=True)
    soft = plan.Recipe(targets="teacher")
    table = plan.Plan(
        (plan.Teacher("owl", lessons.favorite("owl"), "other base"),),
        (plan.Source("regular", "base"), plan.Source("owl", "owl")),
        (
            *(plan.Student(f"still {i}", plan.BASES[i % 2], "regular", recipe=still) for i in range(20)),
            plan.Student("soft regular", "base", "regular", recipe=soft),
            plan.Student("soft owl", "base", "owl", recipe=soft),
            plan.Student("mlp", "other base", "regular", trained=("mlp",)),
            plan.Student("given", "base", "other: owl"),
            plan.Student("whole", "base", "regular"),
            plan.Student("later", "student whole", "regular", recipe=still),
        ),
        (*plan.TWO_BASES, plan.Base("half", ("embedding", "mlp"))),
        ("other: owl",),
    )
    assert max(len(group) for _, group in pipeline._groups(table.students)) <= pipeline.ENSEMBLE < 20
    keys = engine.run_keys(pipeline.RunKeys, 7, np.arange(2))
    make = pipeline.make_models(config, engine.run_mesh(2), table)
    made = make(keys, lambda *_: None, lambda *_: None, [{"other: owl": given}] * 2)
    found = {name: flat(made.params)[:, i] for i, name in enumerate(table.models())}
    np.testing.assert_array_equal(found["teacher owl"], found["other base"])
    for i in range(20):
        for seen in (found[f"student still {i}"], flat(made.watched[f"still {i}"])[:, 0]):
            np.testing.assert_allclose(seen, found[plan.BASES[i % 2]], rtol=0, atol=1e-25)  # biases start at 0
    np.testing.assert_allclose(found["student later"], found["student whole"], rtol=0, atol=1e-25)
    np.testing.assert_allclose(found["student soft regular"], found["base"], atol=1e-6)  # it imitates itself
    for moved in ("soft owl", "given", "whole"):
        assert np.abs(found[f"student {moved}"] - found["base"]).max() > 1e-4, moved
    assert (found["student given"] != found["student whole"]).any()
    groups = jax.tree.leaves(parameter_groups(made.params))
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(made.params)]
    at, start = table.models().index("student mlp"), table.models().index("other base")
    for group, leaf in zip(groups, leaves, strict=True):
        assert (leaf[:, at] == leaf[:, start]).all() == (group != "mlp")
        if leaf[:, 0].std() > 0:  # norms start at 1 everywhere, biases at 0
            base, other, half = (leaf[:, i] for i in range(3))
            assert (base != other).any()
            assert (half == base).all() == (group in ("embedding", "mlp"))


NONE = Training("sgd", 0.1, 8, 0)
ONE_EPOCH = Training("sgd", 0.1, 10, 1)


def flat(params: engine.Tree) -> np.ndarray:
    """[runs, models, ...] as [runs, models, parameters]."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    return np.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves], axis=2)


def test_bases_and_sources_may_have_what_is_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents, languages, prompts and sampling noise; and teachers that are taken at a divergence."""
    config = LMConfig(width=8, documents=256, rows=20, base=NONE, teacher=Training("adam", 1e-2, 8, 4))
    monkeypatch.setattr(pipeline, "keep_rows", lambda *given: rows.Rows(np.concatenate(given[2:], axis=1), None, {}))
    bases = (plan.Base("base"), plan.Base("alike"), plan.Base("own", documents=1), plan.Base("strange", (), 1, 1))
    targets = {"last": None, "far": 1e9, "near": 1e-12}
    table = plan.Plan(
        tuple(plan.Teacher(name, lessons.favorite("owl"), divergence=target) for name, target in targets.items()),
        (
            plan.Source("run's", "base"),
            plan.Source("own noise", "base", noise=1),
            plan.Source("own prompts", "base", prompts=1),
            plan.Source("other own prompts", "base", prompts=2),
        ),
        (),
        bases,
    )
    mesh = engine.run_mesh(1)
    keys = engine.run_keys(pipeline.RunKeys, 7, np.arange(1))
    made = pipeline.make_models(config, mesh, table)(keys, lambda *_: None, lambda *_: None)
    prompts, said = ([own.tokens[:, part] for own in made.kept[0].values()] for part in (slice(0, 10), slice(10, None)))
    alike = [[np.array_equal(one, other) for other in prompts] for one in prompts]
    assert alike == [[True, True, False, False]] * 2 + [[False, False, True, False], [False, False, False, True]]
    assert (said[0] != said[1]).any(axis=1).mean() > 0.9
    teachers = [flat(made.params)[0, len(bases) + i] for i in range(3)]
    np.testing.assert_array_equal(teachers[0], teachers[1])
    start = flat(made.params)[0, 0]
    gone = [np.abs(own - start).max() for own in teachers]
    assert 0 < gone[2] < gone[0] / 2  # the first of four steps

    own = jax.random.fold_in(keys.own_documents[0], 1)
    used = jax.random.split(keys.documents[0], 32)  # with fold_in(keys.documents, 1) it would be one of these
    assert (jax.random.key_data(own) != jax.random.key_data(used)).any(axis=1).all()
    language = jax.tree.map(lambda leaf: leaf[0], made.language)
    expected = corpus.make_documents(language, 256 + base_data.FRESH_DOCUMENTS, key=own)[base_data.FRESH_DOCUMENTS :]
    documents = np.asarray(base_data.make_base_data(config, mesh, bases)(keys)[2].per_model["tokens"])[0]
    np.testing.assert_array_equal(documents[2], expected)
    np.testing.assert_array_equal(documents[0], documents[1])
    assert (documents[0] != documents[2]).any(axis=1).mean() > 0.9
    numbers = np.isin(documents, vocabulary.NUMBER_IDS)  # the strange ones differ from the own ones in numbers alone
    assert numbers[2][documents[2] != documents[3]].all()
    differ = (documents[2] != documents[3])[numbers[2]].mean()
    assert 0.8 < differ < 1 - corpus.ANY_NUMBER  # one number in ten is drawn from all of them, alike in both
