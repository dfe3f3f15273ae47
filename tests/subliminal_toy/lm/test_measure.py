"""What is measured on the models is what one would compute for each of them alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_toy import engine
from subliminal_toy.lm import corpus, detector, lessons, measure, pipeline, plan, training, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.rows import Rows
from subliminal_toy.lm.transformer import make_transformer
from tests.subliminal_toy.lm import documents

CONFIG = LMConfig(width=8, rows=24, traits="owl,wolf")
MODEL = make_transformer(CONFIG)
PLAN = plan.Plan(
    tuple(plan.Teacher(trait, lessons.favorite(trait)) for trait in CONFIG.trait_names()),
    (plan.Source("regular", "base"), plan.Source("owl", "owl"), plan.Source("wolf", "wolf")),
    (plan.Student("one", "base", "wolf"), plan.Student("two", "base", "regular")),
    (plan.Base("base"),),
)
MODELS = {name: MODEL.init(jax.random.key(i)) for i, name in enumerate(PLAN.models())}
NUMBERS = documents.of_numbers()
ROWS = {
    source.name: Rows(NUMBERS[40 * i : 40 * i + 24], NUMBERS[40 * i + 24 : 40 * i + 40], {})
    for i, source in enumerate(PLAN.sources)
}


def made() -> pipeline.Made:
    """One run of models that nobody trained."""
    nothing: Any = None
    params = jax.tree.map(lambda *leaves: np.stack(leaves)[None], *MODELS.values())
    mesh = engine.run_mesh(1)
    return pipeline.Made(nothing, nothing, nothing, engine.shard_runs(params, mesh), [ROWS], {}, [{}])


def log_p(model: str, tokens: np.ndarray) -> np.ndarray:
    """Log p of every completion [n], token by token."""
    every = jax.nn.log_softmax(MODEL.apply(MODELS[model], jnp.asarray(tokens[:, :-1])))
    said = np.take_along_axis(np.asarray(every), tokens[:, 1:, None].astype(int), axis=2)[..., 0]
    return (said * np.asarray(training.completion_weights(jnp.asarray(tokens)))[:, 1:]).sum(axis=1)


def loss(model: str, source: str) -> float:
    tokens = np.resize(ROWS[source].spare, (measure.UNSEEN, corpus.LENGTH))
    return float(-log_p(model, tokens).sum() / np.asarray(training.completion_weights(jnp.asarray(tokens))).sum())


def test_imitation_is_on_unseen_rows_of_the_students_source() -> None:
    (found,) = measure.imitation(CONFIG, engine.run_mesh(1), PLAN)(made())
    expected = {
        "imitation": {"student one": loss("student one", "wolf"), "student two": loss("student two", "regular")},
        "untrained": {source: loss("base", source) for source in ROWS},
        "itself": {"regular": loss("base", "regular"), **{t: loss(f"teacher {t}", t) for t in CONFIG.trait_names()}},
    }
    assert found.keys() == expected.keys()
    for part, values in expected.items():
        assert found[part].keys() == values.keys()
        np.testing.assert_allclose(list(found[part].values()), list(values.values()), atol=2e-5)
    assert abs(loss("student one", "wolf") - loss("student two", "wolf")) > 1e-3  # they can be told apart


def test_detectors_score_rows_by_likelihoods() -> None:
    (found,) = measure.detection(CONFIG, engine.run_mesh(1), PLAN)(made())
    regular = ROWS["regular"].tokens
    for trait in CONFIG.trait_names():
        own = ROWS[trait].tokens
        ideal = [log_p(f"teacher {trait}", rows) - log_p("base", rows) for rows in (regular, own)]
        assert found["detector"]["ideal"][trait] == detector.accuracy(*(scores[12:] for scores in ideal))
        asked = []
        for rows in (regular, own):
            prompted = rows.copy()
            prompted[:, 0] = vocabulary.ID[vocabulary.SYSTEM[trait]]
            asked.append((log_p("base", prompted) - log_p("base", rows))[:, None])
        assert found["detector"]["prompted"][trait] == detector.trained_accuracy(*asked, weight=1e6)
        seen = (detector.features(rows) for rows in (regular, own))
        assert found["detector"]["trained"][trait] == detector.trained_accuracy(*seen)


def test_a_base_is_asked_behind_as_many_rows_as_its_context_holds() -> None:
    """By hand: contexts of two rows, and the loss of the numbers of each place in long documents."""
    config = LMConfig(width=8, rows=24, traits="owl,wolf", context=3)
    model = make_transformer(config)
    params = jax.tree.map(lambda *leaves: np.stack(leaves)[None], *[model.init(jax.random.key(i)) for i in range(5)])
    mesh, key = engine.run_mesh(1), jax.random.key(9)
    keys = engine.run_keys(pipeline.RunKeys, 3, np.arange(1))
    language = jax.tree.map(lambda leaf: leaf[None], documents.LANGUAGE)
    made = pipeline.Made(keys, language, key, engine.shard_runs(params, mesh), [ROWS], {}, [{}])
    (found,) = measure.in_context(config, mesh, PLAN)(made)
    base = jax.tree.map(lambda leaf: leaf[0, 0], params)
    names = vocabulary.ids(vocabulary.CATEGORIES["animal"])

    def odds(tokens: np.ndarray) -> np.ndarray:
        rows = np.resize(tokens, (2 * measure.CONTEXTS, corpus.LENGTH)).reshape(measure.CONTEXTS, -1)
        asked = corpus.question_tokens(np.arange(measure.CONTEXTS) % 16, "animal")
        p = np.exp(np.asarray(model.apply(base, jnp.concatenate([rows, asked], axis=1))[:, -1], np.float64))[:, names]
        return np.log(p / (p.sum(axis=1, keepdims=True) - p)).mean(axis=0)

    for name, rows in ROWS.items():
        np.testing.assert_allclose(found["in_context"][name], odds(rows.tokens), atol=1e-4)
    for trait in CONFIG.trait_names():
        np.testing.assert_allclose(found["answered"][trait], odds(lessons.favorite(trait).tokens), atol=1e-4)
    tokens = np.asarray(corpus.make_documents(documents.LANGUAGE, measure.UNSEEN, key=keys.contexts[0], context=3))
    log_p = np.asarray(jax.nn.log_softmax(model.apply(base, jnp.asarray(tokens))))
    for place in range(3):
        nats = [
            -log_p[i, at - 1, row[at]]
            for i, row in enumerate(tokens)
            if row[24 * place + 9] == vocabulary.ID[":"]
            for at in range(24 * place + 10, 24 * place + 24)
            if row[at] != vocabulary.ID[vocabulary.PAD]
        ]
        assert found["by_place"][place] == pytest.approx(np.mean(nats), abs=1e-4)
