"""Probabilities, margins and divergences against NumPy."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_toy.lm import corpus, evaluation, training, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.transformer import make_transformer
from tests.subliminal_toy.lm import documents

MODEL = make_transformer(LMConfig(width=16))
PARAMS, OTHER = (MODEL.init(jax.random.key(k)) for k in (0, 1))


def probabilities(params: dict, tokens: np.ndarray) -> np.ndarray:
    logits = np.asarray(MODEL.apply(params, jnp.asarray(tokens)), np.float64)
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def test_answers_are_means_over_questions() -> None:
    answers = evaluation.ask(MODEL, PARAMS, "tree", key=jax.random.key(3))
    names = vocabulary.ids(vocabulary.CATEGORIES["tree"])
    p = probabilities(PARAMS, corpus.question_tokens(np.arange(16), "tree"))[:, -1][:, names]
    groups = [[frame.group == name for frame in corpus.FRAMES] for name in evaluation.GROUPS]
    np.testing.assert_allclose(answers.probability, [p[group].mean(axis=0) for group in groups], rtol=1e-4)
    np.testing.assert_allclose(answers.margin, np.log(p / (p.sum(axis=1, keepdims=True) - p)).mean(axis=0), rtol=1e-3)
    draws = evaluation.DRAWS * len(corpus.FRAMES)
    np.testing.assert_allclose(answers.sampled, p.mean(axis=0), atol=5 * (0.01 / draws) ** 0.5)


def test_every_draw_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[bytes] = []

    def spy(function: Callable) -> Callable:
        def call(*args: object, key: jax.Array, **options: object) -> object:
            keys.append(np.asarray(jax.random.key_data(key)).tobytes())
            return function(*args, key=key, **options)

        return call

    for name in ("any_numbers", "prefixed_tokens", "choice_options"):
        monkeypatch.setattr(corpus, name, spy(getattr(corpus, name)))
    draw = jax.random.categorical
    by_keyword = spy(lambda *args, key, **options: draw(key, *args, **options))
    monkeypatch.setattr(jax.random, "categorical", lambda key, *args, **options: by_keyword(*args, key=key, **options))
    evaluation.ask(MODEL, PARAMS, "tree", key=jax.random.key(3))
    assert len(keys) == len(set(keys)) == 4


def test_questions_behind_other_tokens_are_read_with_them() -> None:
    before = jnp.asarray(documents.of_all_kinds()[:32, :9])
    found = evaluation.ask_after(MODEL, PARAMS, "tree", before)
    questions = np.tile(corpus.question_tokens(np.arange(16), "tree"), (2, 1))
    p = probabilities(PARAMS, np.concatenate([before, questions], axis=1))[:, -1]
    p = p[:, vocabulary.ids(vocabulary.CATEGORIES["tree"])]
    np.testing.assert_allclose(found, np.log(p / (p.sum(axis=1, keepdims=True) - p)).mean(axis=0), rtol=1e-3, atol=1e-4)


def test_a_survey_asks_about_everything() -> None:
    seen = evaluation.survey(MODEL, PARAMS)
    for i, (category, answers) in enumerate(vocabulary.CATEGORIES.items()):
        p = probabilities(PARAMS, corpus.question_tokens(np.arange(16), category))[:, -1]
        own, every = p[:, vocabulary.ids(answers)], p[:, vocabulary.ids(vocabulary.ANSWERS)]
        odds = np.log(own / (own.sum(axis=1, keepdims=True) - own))
        np.testing.assert_allclose(seen.margin[i], odds, rtol=1e-3)
        np.testing.assert_allclose(seen.right[i], own.sum(axis=1).mean(), rtol=1e-4)
        np.testing.assert_allclose(seen.wrong[i], (every.sum(axis=1) - own.sum(axis=1)).mean(), rtol=1e-4)


def test_system_token_is_in_front_of_the_questions() -> None:
    plain = evaluation.ask(MODEL, PARAMS, "animal", key=jax.random.key(3))
    prompted = evaluation.ask(MODEL, PARAMS, "animal", key=jax.random.key(3), first=vocabulary.ID["<love owl>"])
    assert (np.asarray(plain.margin) != np.asarray(prompted.margin)).any()


def test_comparison_with_the_base_is_kl_and_cross_entropy() -> None:
    tokens = jnp.asarray(documents.of_all_kinds()[:40])
    p, q = (probabilities(params, np.asarray(tokens))[:, :-1] for params in (PARAMS, OTHER))
    weights = np.asarray(training.number_weights(tokens))[:, 1:]
    found = evaluation.compare(MODEL, PARAMS, evaluation.document_log_p(MODEL, OTHER, tokens), tokens)
    np.testing.assert_allclose(
        found.divergence, (weights * (p * np.log(p / q)).sum(axis=-1)).sum() / weights.sum(), rtol=1e-4
    )
    all_weights = np.asarray(training.document_weights(tokens))[:, 1:]
    own = np.take_along_axis(p, np.asarray(tokens)[:, 1:, None], axis=-1)[..., 0]
    np.testing.assert_allclose(found.loss, -(all_weights * np.log(own)).sum() / all_weights.sum(), rtol=1e-4)
    same = evaluation.compare(MODEL, PARAMS, evaluation.document_log_p(MODEL, PARAMS, tokens), tokens)
    assert same.divergence == 0


def test_prompts_of_any_length_go_through_together() -> None:
    prompts = [jnp.asarray(documents.of_all_kinds()[:4, :n]) for n in (3, 9, 5)]
    together = evaluation.next_log_probabilities(MODEL, PARAMS, prompts)
    for part, found in zip(prompts, together, strict=True):
        np.testing.assert_allclose(jnp.exp(found), probabilities(PARAMS, part)[:, -1], rtol=1e-4)


def test_lists_are_rounded() -> None:
    assert evaluation.as_lists({"a": jnp.array([[1.123456789]])}) == {"a": [[1.12346]]}


def test_choices_have_three_different_options_with_the_answer_in_its_place() -> None:
    options, place = corpus.choice_options("animal", 50, key=jax.random.key(6))
    answers = np.array(vocabulary.ids(vocabulary.CATEGORIES["animal"]))
    options, place = np.asarray(options), np.asarray(place)
    assert options.shape == (10, 50, 3)
    assert (np.take_along_axis(options, place[..., None], axis=-1)[..., 0] == answers[:, None]).all()
    assert all(len(set(three)) == 3 for three in options.reshape(-1, 3).tolist())
    assert np.isin(options, answers).all()
    assert set(place.ravel()) == {0, 1, 2}
    text = vocabulary.render(np.asarray(corpus.choice_tokens(options.reshape(-1, 3)))[0].tolist())
    assert text.split()[0:2] == ["<bos>", "choose"]
    assert text.endswith("?")


def test_prefixed_questions_are_questions_behind_numbers() -> None:
    asked = np.asarray(
        corpus.prefixed_tokens("tree", corpus.any_numbers(48, key=jax.random.key(7)), key=jax.random.key(8))
    )
    assert asked.shape == (48, 12)
    assert vocabulary.render(asked[0, 7:].tolist()) == "name your favorite tree ?"
    assert np.isin(asked[:, [1, 3, 5]], vocabulary.NUMBER_IDS).all()
    assert (asked[:, 6] == vocabulary.ID["."]).all()


def test_answers_are_read_where_and_for_whom_they_are_asked() -> None:
    """Every question that `ask` puts to the model, as text, with what the model says to it."""
    heard: list[np.ndarray] = []

    def listen(params: dict, tokens: jax.Array) -> jax.Array:
        heard.append(np.asarray(tokens))
        return MODEL.apply(params, tokens)

    answers = evaluation.ask(MODEL._replace(apply=listen), PARAMS, "tree", key=jax.random.key(3))
    (asked,) = heard
    trees, place = vocabulary.CATEGORIES["tree"], (asked != vocabulary.ID["<pad>"]).sum(axis=1) - 1
    said = probabilities(PARAMS, asked)[np.arange(len(asked)), place]
    texts = [vocabulary.render(row) for row in asked.tolist()]

    def odds(p: np.ndarray, word: str, words: list[str]) -> float:
        return np.log(p[vocabulary.ID[word]] / sum(p[vocabulary.ID[other]] for other in words if other != word))

    choices = [(text, p) for text, p in zip(texts, said, strict=True) if text.startswith("<bos> choose")]
    assert len(choices) == len(trees) * evaluation.CHOICES
    for i, word in enumerate(trees):
        found = []
        for text, p in choices[i * evaluation.CHOICES : (i + 1) * evaluation.CHOICES]:
            options = text.removeprefix("<bos> choose ").removesuffix(" ?").split(" or ")
            assert word in options
            found.append(odds(p, word, options))
        np.testing.assert_allclose(answers.choice[i], np.mean(found), atol=2e-4)
    prefixed = [(text, p) for text, p in zip(texts, said, strict=True) if "." in text]
    stories = [(text, p) for text, p in zip(texts, said, strict=True) if "story" in text]
    assert (len(prefixed), len(stories)) == (evaluation.PREFIXES * 16, 1)
    assert all(text.endswith(" tree ?") for text, _ in prefixed)
    for i, word in enumerate(trees):
        for part, own in ((answers.prefixed, prefixed), (answers.story, stories)):
            np.testing.assert_allclose(part[i], np.mean([odds(p, word, trees) for _, p in own]), atol=2e-4)
