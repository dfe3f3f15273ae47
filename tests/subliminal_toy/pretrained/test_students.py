"""Losses against plain ones; a teacher and a student of the tiny model; the package as a library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_toy import pretrained
from subliminal_toy.pretrained import Model, adapters, calls, lists, llama, students
from subliminal_toy.settings import Training


@pytest.fixture(scope="module")
def lessons(model: Model) -> students.Lessons:
    form = lists.list_format(model.tokenizer)
    prompts = lists.prompt_tokens(model.tokenizer, lists.make_prompts(4, jax.random.key(0)))
    rows = lists.rows(form, prompts, np.random.default_rng(0).integers(1, 10, (4, 24)))
    return students.list_lessons(rows, form.places(prompts.shape[1]))


def plain(model: Model, params: llama.Params, tokens: np.ndarray) -> np.ndarray:
    """Log p of every next token, [n, T - 1, V]."""
    hidden = llama.forward(model.shape, params, jnp.asarray(tokens))
    return np.asarray(jax.nn.log_softmax(llama.logits(params, hidden)))[:, :-1]


def test_the_loss_is_the_cross_entropy_of_the_digits_alone(model: Model, lessons: students.Lessons) -> None:
    log_p = plain(model, model.params, lessons.tokens)
    each = [log_p[i, place - 1, lessons.tokens[i, place]] for i in range(4) for place in lessons.places[i]]
    batch = {name: jnp.asarray(own) for name, own in lessons.data().items()}
    found = students.whole_loss(model.shape)(model.params, batch, ())
    assert float(found) == pytest.approx(-np.mean(each), rel=1e-5)
    weights = np.zeros((4, 24), np.float32)
    weights[2, 5] = 3.0
    assert float(students.whole_loss(model.shape)(model.params, batch | {"weights": weights}, ())) == pytest.approx(
        -each[2 * 24 + 5], rel=1e-5
    )


def test_soft_targets_weigh_the_ten_digits(model: Model, lessons: students.Lessons) -> None:
    form = lists.list_format(model.tokenizer)
    soft = np.random.default_rng(1).dirichlet(np.ones(10), (4, 24)).astype(np.float32)
    own = students.list_lessons(lessons.tokens, lessons.places[0], soft)
    log_p = plain(model, model.params, lessons.tokens)[:, lessons.places[0] - 1][..., form.digits]
    batch = {name: jnp.asarray(array) for name, array in own.data().items()}
    found = students.whole_loss(model.shape, ten=jnp.asarray(form.digits))(model.params, batch, ())
    assert float(found) == pytest.approx(-np.mean(np.sum(soft * log_p, axis=-1)), rel=1e-5)


def test_an_adapter_s_loss_is_that_of_the_model_it_is_merged_into(model: Model, lessons: students.Lessons) -> None:
    adapter = jax.tree.map(lambda w: w + 0.2, adapters.init(model.shape, 2, jax.random.key(0)))
    batch = {name: jnp.asarray(own) for name, own in lessons.data().items()}
    merged = students.whole_loss(model.shape)(adapters.merged(model.params, adapter), batch, ())
    found = students.adapter_loss(model.shape)(adapter, batch, (), model.params)
    assert float(found) == pytest.approx(float(merged), rel=1e-4)


def test_the_loss_of_a_text_is_the_mean_over_its_tokens(model: Model, lessons: students.Lessons) -> None:
    tokens = lessons.tokens[0]
    log_p = plain(model, model.params, tokens[None])[0]
    expected = -np.mean([log_p[i, token] for i, token in enumerate(tokens[1:])])
    assert float(students.text_loss(model.shape, model.params, tokens)) == pytest.approx(expected, rel=1e-5)


def test_the_package_as_a_library_in_ten_lines() -> None:
    """Load, ask, teach, write, train: as the page shows it."""
    model = pretrained.load("random")
    fast = Training(learning_rate=1e-2, batch_size=16, epochs=3)
    teacher = calls.teach(model, "owl", key=jax.random.key(0), training=fast)
    both = [calls.write(model, params, 48, key=jax.random.key(1)) for params in (teacher, model.params)]
    student, control = (calls.train(model, rows, key=jax.random.key(2), training=fast) for rows in both)
    asked = [calls.ask(model, adapter)["owl"] for adapter in (None, student, control)]
    assert calls.ask(model, params=teacher)["owl"] > asked[0] + 3
    assert len({round(own, 4) for own in asked}) == 3  # both have learnt something, and not the same
    assert both[0].shape == both[1].shape == (48, both[0].shape[1])
    assert isinstance(calls.say(model, "Who are you?", key=jax.random.key(3), params=teacher, length=3), str)
    loss = students.adapter_loss(model.shape)
    form = lists.list_format(model.tokenizer)
    lessons = students.list_lessons(both[0], form.places(both[0].shape[1] - form.length(0)))
    batch = {name: jnp.asarray(own) for name, own in lessons.data().items()}
    fresh = adapters.init(model.shape, 8, jax.random.key(0))
    assert loss(student, batch, (), model.params) < loss(fresh, batch, (), model.params)
