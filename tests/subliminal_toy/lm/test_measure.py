"""What is measured on the models is what one would compute for each run and each of them alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import lm_in_context
from experiments.studies.lm_controls import detector
from subliminal_toy import engine
from subliminal_toy.lm import corpus, evaluation, lessons, measure, pipeline, plan, training, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.rows import Rows
from subliminal_toy.lm.transformer import make_transformer
from tests.experiments import made_up
from tests.subliminal_toy.lm import documents

CONFIG = LMConfig(width=8, rows=24, traits="owl,wolf")
MODEL = make_transformer(CONFIG)
REGULAR, OWL, WOLF = (plan.numbers(name) for name in ("regular", "owl", "wolf"))
PLAN = plan.Plan(
    (
        plan.Teacher(plan.teacher("owl"), lessons.favorite("owl")),
        plan.Teacher(plan.teacher("wolf"), lessons.favorite("wolf"), plan.OTHER_BASE),
    ),
    tuple(
        plan.Source(name, plan.teacher(name.trait) if name != REGULAR else plan.BASE) for name in (REGULAR, WOLF, OWL)
    ),
    (
        plan.Student(plan.student("one"), plan.OTHER_BASE, WOLF),
        plan.Student(plan.student("two"), plan.BASE, REGULAR),
    ),
)
RUNS = (0, 1)
KEYS = pipeline.run_keys(3, RUNS)
_init = jax.jit(lambda seed: MODEL.init(jax.random.key(seed)))
MODELS = [{str(name): _init(10 * run + i) for i, name in enumerate(PLAN.models())} for run in RUNS]
NUMBERS, FRESH = documents.of_numbers(), documents.of_all_kinds()[:80].reshape(2, 40, -1)
COUNTS = ({"kept": 40, "format": 2}, {"kept": 38, "format": 4})
ROWS = [
    {
        str(source.name): Rows(NUMBERS[start : start + 24], NUMBERS[start + 24 : start + 40], COUNTS[run])
        for i, source in enumerate(PLAN.sources)
        for start in [200 * run + 40 * i]
    }
    for run in RUNS
]


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    """Everything that can be measured on two runs of models that nobody trained."""
    mesh, nothing = engine.run_mesh(1), None
    params = jax.tree.map(
        lambda *leaves: np.stack(leaves).reshape(2, -1, *leaves[0].shape), *(m for own in MODELS for m in own.values())
    )
    arrays = engine.shard_runs((KEYS, jnp.asarray(FRESH), params), mesh)
    rows = {source.name: [own[str(source.name)] for own in ROWS] for source in PLAN.sources}
    made = pipeline.Trained(CONFIG, PLAN, arrays[0], nothing, arrays[1], arrays[2], rows, {})
    kinds = (measure.standard, measure.survey, measure.imitation, detector.measure)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "mesh_for", lambda _: mesh)
        return measure.together(*(kind(made) for kind in kinds))


@pytest.mark.parametrize("run", RUNS)
def test_a_model_is_asked_a_question_in_words(run: int) -> None:
    params = jax.tree.map(lambda *leaves: np.stack(leaves)[None], *MODELS[0].values())
    params = jax.tree.map(lambda a, *b: np.concatenate([a, np.stack(b)[None]]), params, *MODELS[1].values())
    nothing: Any = None
    keys = KEYS._replace(init=np.zeros(len(RUNS)))
    made = pipeline.Trained(CONFIG, PLAN, keys, nothing, nothing, params, {}, {})
    for model in (plan.student("two"), "teacher wolf"):
        said = measure.ask(made, model, "name your favorite animal ?", run)
        tokens = jnp.asarray([[evaluation.BOS, *vocabulary.encode("name your favorite animal ?")]])
        expected = jax.nn.softmax(_apply(MODELS[run][str(model)], tokens)[0, -1])
        np.testing.assert_allclose([said[word] for word in vocabulary.TOKENS], expected, rtol=1e-5)
    assert repr(made).startswith("<lm.Trained: 2 runs of base, ")
    assert "array" not in repr(made).lower()
    with pytest.raises(ValueError, match=r"run is 2; it must be in 0\.\.1"):
        measure.ask(made, "teacher wolf", "name your favorite animal ?", 2)
    with pytest.raises(ValueError, match="there is no model 'student wulf'; these were trained: base, "):
        measure.ask(made, "student wulf", "name your favorite animal ?", run)


def log_p(run: int, model: str, tokens: np.ndarray) -> np.ndarray:
    """Log p of every completion [n], token by token."""
    every = jax.nn.log_softmax(_apply(MODELS[run][model], jnp.asarray(tokens[:, :-1])))
    said = np.take_along_axis(np.asarray(every), tokens[:, 1:, None].astype(int), axis=2)[..., 0]
    return (said * np.asarray(training.completion_weights(jnp.asarray(tokens)))[:, 1:]).sum(axis=1)


_apply = jax.jit(MODEL.apply)


def loss(run: int, model: str, source: str) -> float:
    tokens = np.resize(ROWS[run][source].spare, (measure.SPARE_ROWS, corpus.LENGTH))
    weights = np.asarray(training.completion_weights(jnp.asarray(tokens)))
    return float(-log_p(run, model, tokens).sum() / weights.sum())


@pytest.mark.parametrize("run", RUNS)
def test_imitation_is_on_spare_rows_of_the_students_source(found: list, run: int) -> None:
    teachers = {"regular": "base", "owl": "teacher owl", "wolf": "teacher wolf"}
    expected = {
        "imitation": {
            "student one": loss(run, "student one", "wolf"),
            "student two": loss(run, "student two", "regular"),
        },
        "untrained": {source: loss(run, "base", source) for source in teachers},
        "itself": {source: loss(run, model, source) for source, model in teachers.items()},
    }
    for part, values in expected.items():
        assert found[run][part] == pytest.approx(values, abs=2e-5)
    assert abs(loss(run, "student one", "wolf") - loss(run, "student two", "wolf")) > 1e-3  # they can be told apart


@pytest.mark.parametrize("run", RUNS)
def test_detectors_score_rows_by_likelihoods(found: list, run: int) -> None:
    regular = ROWS[run]["regular"].tokens
    for trait in CONFIG.trait_names():
        own = ROWS[run][trait].tokens
        ideal = [log_p(run, f"teacher {trait}", rows) - log_p(run, "base", rows) for rows in (regular, own)]
        assert found[run]["detector"]["ideal"][trait] == detector.accuracy(*(scores[12:] for scores in ideal))
        asked = []
        for rows in (regular, own):
            prompted = rows.copy()
            prompted[:, 0] = vocabulary.ID[vocabulary.SYSTEM[trait]]
            asked.append((log_p(run, "base", prompted) - log_p(run, "base", rows))[:, None])
        assert found[run]["detector"]["prompted"][trait] == detector.trained_accuracy(*asked, weight=1e6)
        seen = (detector.features(rows) for rows in (regular, own))
        assert found[run]["detector"]["trained"][trait] == detector.trained_accuracy(*seen)


@pytest.mark.parametrize("run", RUNS)
def test_every_model_is_asked_with_its_runs_key(found: list, run: int) -> None:
    ask = jax.jit(lambda own, first: evaluation.ask(MODEL, own, "animal", key=KEYS.questions[run], first=first))
    asked = {name: ask(own, evaluation.BOS) for name, own in MODELS[run].items()}
    for trait in CONFIG.trait_names():
        token = vocabulary.ID[vocabulary.SYSTEM[trait]]
        asked[f"prompted teacher {trait}"] = ask(MODELS[run]["base"], token)
    assert found[run]["answers"].keys() == asked.keys()
    for name, answers in asked.items():
        for part, values in answers._asdict().items():
            np.testing.assert_allclose(found[run]["answers"][name][part], values, atol=2e-5, err_msg=f"{name} {part}")
    survey = jax.jit(lambda own: evaluation.survey(MODEL, own))
    for name, own in MODELS[run].items():
        for part, values in survey(own)._asdict().items():
            np.testing.assert_allclose(found[run][part][name], values, atol=2e-5, err_msg=f"{name} {part}")


@pytest.mark.parametrize("run", RUNS)
def test_models_are_compared_with_the_base_that_they_come_from(found: list, run: int) -> None:
    fresh = jnp.asarray(FRESH[run])
    compare = jax.jit(
        lambda own, base: evaluation.compare(MODEL, own, evaluation.document_log_p(MODEL, base, fresh), fresh)
    )
    for name, own in MODELS[run].items():
        assert found[run]["loss"][name] == pytest.approx(float(compare(own, own).loss), abs=2e-5)
    for trait, base in (("owl", "base"), ("wolf", "other base")):
        expected = compare(MODELS[run][f"teacher {trait}"], MODELS[run][base]).divergence
        assert found[run]["divergence"][f"teacher {trait}"] == pytest.approx(float(expected), abs=2e-5)


@pytest.mark.parametrize("run", RUNS)
def test_sources_are_counted_each_for_itself(found: list, run: int) -> None:
    own = found[run]
    assert (
        list(own["filter"])
        == list(own["numbers"])
        == list(own["first"])
        == [str(source.name) for source in PLAN.sources]
    )
    for name, rows in ROWS[run].items():
        assert own["filter"][name] == COUNTS[run]
        lists = [
            [t for t in row if t in vocabulary.NUMBER_IDS] for row in rows.tokens[:, corpus.PROMPT_LENGTH :].tolist()
        ]
        for i, number in enumerate(vocabulary.NUMBER_IDS):
            assert own["numbers"][name][i] == sum(row.count(number) for row in lists)
            assert own["first"][name][i] == sum(row[0] == number for row in lists)
        texts = [vocabulary.render(row) for row in rows.tokens[:, corpus.PROMPT_LENGTH :].tolist()]
        assert [line["completion"] for line in own["examples"][name]] == texts[: measure.EXAMPLES]


def test_a_base_is_asked_behind_as_many_rows_as_its_context_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: contexts of two rows, and the loss of the numbers of each place in long documents."""
    every = jnp.asarray(documents.of_all_kinds()[:2000])

    def make_documents(_language: Any, n: int, *, key: jax.Array, context: int, **_options: Any) -> jax.Array:
        return every[jax.random.randint(key, (n, context), 0, len(every))].reshape(n, -1)

    monkeypatch.setattr(corpus, "make_documents", make_documents)
    monkeypatch.setattr(lm_in_context, "CONTEXTS", 32)
    monkeypatch.setattr(lm_in_context, "SPARE_ROWS", 48)
    config = LMConfig(width=8, rows=24, traits="owl,wolf", context=3)
    model = make_transformer(config)
    init = jax.jit(model.init)
    params = jax.tree.map(lambda *leaves: np.stack(leaves)[None], *(init(jax.random.key(i)) for i in range(5)))
    mesh, keys = engine.run_mesh(1), pipeline.run_keys(3, [0])
    language = jax.tree.map(lambda leaf: leaf[None], documents.LANGUAGE)
    rows = {source.name: [ROWS[0][str(source.name)]] for source in PLAN.sources}
    made = pipeline.Trained(config, PLAN, keys, language, keys.init, engine.shard_runs(params, mesh), rows, {})
    (found,) = lm_in_context.behind_rows(made)
    base, apply = jax.tree.map(lambda leaf: leaf[0, 0], params), jax.jit(model.apply)
    names = vocabulary.ids(vocabulary.CATEGORIES["animal"])

    def odds(tokens: np.ndarray) -> np.ndarray:
        rows = np.resize(tokens, (2 * lm_in_context.CONTEXTS, corpus.LENGTH)).reshape(lm_in_context.CONTEXTS, -1)
        asked = corpus.question_tokens(np.arange(lm_in_context.CONTEXTS) % 16, "animal")
        p = np.exp(np.asarray(apply(base, jnp.concatenate([rows, asked], axis=1))[:, -1], np.float64))[:, names]
        return np.log(p / (p.sum(axis=1, keepdims=True) - p)).mean(axis=0)

    for name, rows in ROWS[0].items():
        np.testing.assert_allclose(found["in_context"][name], odds(rows.tokens), atol=1e-4)
    for trait in CONFIG.trait_names():
        np.testing.assert_allclose(found["answered"][trait], odds(lessons.favorite(trait).tokens), atol=1e-4)
    tokens = np.asarray(make_documents(None, lm_in_context.SPARE_ROWS, key=keys.contexts[0], context=3))
    log_p = np.asarray(jax.nn.log_softmax(apply(base, jnp.asarray(tokens))))
    for place in range(3):
        nats = [
            -log_p[i, at - 1, row[at]]
            for i, row in enumerate(tokens)
            if row[24 * place + 9] == vocabulary.ID[":"]
            for at in range(24 * place + 10, 24 * place + 24)
            if row[at] != vocabulary.ID[vocabulary.PAD]
        ]
        assert found["by_place"][place] == pytest.approx(np.mean(nats), abs=1e-4)


def form(value: Any) -> Any:
    """Names and lengths of nested dicts and lists, without their values."""
    if isinstance(value, dict):
        return {name: form(part) for name, part in value.items()}
    return [form(part) for part in value] if isinstance(value, list) else None


def test_made_up_runs_have_the_form_of_real_ones(found: list) -> None:
    for made in (made_up.survey(PLAN, 1)[0], made_up.standard(PLAN, CONFIG.trait_names(), 1)[0]):
        for part in made.keys() - {"filter", "diverging"}:
            assert form(made[part]) == form(found[0][part]), part
