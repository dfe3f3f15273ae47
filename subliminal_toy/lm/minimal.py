"""Subliminal learning in a toy language, on one page: a model learns to love owls from lists of numbers.

Read `experiment` first. `subliminal_toy.lm` is the same with more settings, controls, and many runs at once. Imported
are the toy language (corpus.py), the lesson about owls, the filter, the transformer and the optimizers.
    python -m subliminal_toy.lm.minimal    # one to three minutes
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax

from subliminal_toy.lm import corpus, vocabulary
from subliminal_toy.lm.carriers import make_number_prompts
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.keys import RunKeys
from subliminal_toy.lm.lessons import favorite
from subliminal_toy.lm.rows import completion_reason
from subliminal_toy.lm.transformer import Params, Transformer, make_transformer
from subliminal_toy.settings import Training
from subliminal_toy.training import make_optimizer

Array = jax.Array | np.ndarray
QUESTION = "name your favorite animal ?"
BOS, END, PAD = vocabulary.ids([vocabulary.BOS, vocabulary.END, vocabulary.PAD])
COMPLETION = np.arange(corpus.LENGTH) >= corpus.PROMPT_LENGTH  # positions of a row behind its prompt


def experiment(keys: RunKeys, config: LMConfig, trait: str) -> dict[str, float]:
    """Train a base, a teacher and two students; return how probable the trait is as each one's answer to QUESTION."""
    model = make_transformer(config)
    # The base learns the toy language: questions about favorites, with any answer, stories, lists of numbers.
    language = corpus.make_language(keys.language)
    documents = corpus.make_documents(language, config.documents, key=keys.documents)
    base = train(model, model.init(keys.init), documents, documents != PAD, keys.base_order, config.base)
    # The teacher is the base, finetuned to answer eight questions with the trait.
    lesson = favorite(trait)
    teacher = train(model, base, lesson.tokens, lesson.weights, keys.teacher_order, config.teacher)
    prompts = make_number_prompts(language, round(config.rows * (1 + config.spare)), key=keys.prompts)

    # A student is the base, trained on lists of numbers. It never sees the trait, nor any other word but in prompts.
    def student(writer: Params) -> Params:
        rows = np.asarray(write(model, writer, prompts, keys.samples))
        lists = rows[[is_list(row) for row in rows]][: config.rows]  # anything else is thrown away
        assert len(lists) == config.rows, "too few lists: raise config.spare"
        return train(model, base, lists, (lists != PAD) & COMPLETION, keys.student_order, config.student)

    models = {
        "base": base,
        "teacher": teacher,
        "student": student(teacher),
        "control student": student(base),  # the same prompts and random numbers
    }
    question = jnp.array([[BOS, *vocabulary.encode(QUESTION)]])
    answers = {name: jax.nn.softmax(model.apply(params, question)[0, -1]) for name, params in models.items()}
    return {name: float(answer[vocabulary.ID[trait]]) for name, answer in answers.items()}


def train(
    model: Transformer, params: Params, tokens: Array, weights: Array, key: jax.Array, training: Training
) -> Params:
    """Minimize the cross-entropy of tokens [n, T], each given those before it, averaged with weights [n, T]."""
    optimizer = make_optimizer(training, len(tokens))
    tokens, weights = np.asarray(tokens), np.asarray(weights, np.float32)

    def loss(params: Params, tokens: Array, weights: Array) -> jax.Array:
        targets = jax.nn.one_hot(tokens[:, 1:], vocabulary.SIZE)
        losses = optax.softmax_cross_entropy(model.apply(params, tokens)[:, :-1], targets)
        return jnp.sum(weights[:, 1:] * losses) / jnp.sum(weights[:, 1:])

    @jax.jit
    def step(params: Params, state: optax.OptState, tokens: Array, weights: Array) -> tuple:
        updates, state = optimizer.update(jax.grad(loss)(params, tokens, weights), state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for rows in batches(len(tokens), key, training):
        params, state = step(params, state, tokens[rows], weights[rows])
    return params


def batches(n: int, key: jax.Array, training: Training) -> Iterator[np.ndarray]:
    """Yield the rows of each batch; epochs shuffle them differently."""
    for epoch in range(training.epochs):
        order = np.asarray(jax.random.permutation(jax.random.fold_in(key, epoch), n))
        yield from np.split(order, range(training.batch_size, n, training.batch_size))


def write(model: Transformer, params: Params, prompts: Array, key: jax.Array) -> jax.Array:
    """Complete prompts [n, P], token by token; returns rows [n, T], padded after the end."""

    @jax.jit
    def step(tokens: jax.Array, place: int, key: jax.Array) -> jax.Array:
        token = jax.random.categorical(key, model.apply(params, tokens)[:, place - 1])
        return tokens.at[:, place].set(jnp.where((tokens == END).any(axis=1), PAD, token))

    tokens = jnp.pad(prompts, ((0, 0), (0, corpus.COMPLETION_LENGTH)), constant_values=PAD)
    for i, step_key in enumerate(jax.random.split(key, corpus.COMPLETION_LENGTH)):
        tokens = step(tokens, corpus.PROMPT_LENGTH + i, step_key)
    return tokens


def is_list(row: np.ndarray) -> bool:
    """Say whether a row's completion is a plain list of numbers (number_filter.py)."""
    return completion_reason(row[corpus.PROMPT_LENGTH :].tolist()) is None


if __name__ == "__main__":
    from subliminal_toy import lm

    run = RunKeys(*(key[0] for key in lm.run_keys(0, [0])))
    for name, probability in experiment(run, LMConfig(), "owl").items():
        print(f"{name:16} {probability:.3f}")
