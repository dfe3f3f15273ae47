"""Evaluate what a model prefers: probabilities of the answers to questions, in many wordings."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_toy.lm import corpus, training, vocabulary
from subliminal_toy.lm.transformer import Params, Transformer

BOS = vocabulary.ID[vocabulary.BOS]
DRAWS = 50  # sampled answers to each question (P: 200)
PREFIXES, CHOICES = 8, 24  # number lists before each question; choices that offer each answer


class Answers(NamedTuple):
    """A model's answers to questions about one category; [answers] are the category's answers."""

    probability: jax.Array  # [groups, answers], mean over the questions of a group (taught, held out, unseen)
    margin: jax.Array  # [answers], mean over all questions of log p_a - log sum of the other answers' p
    sampled: jax.Array  # [answers], share of sampled answers, all questions
    prefixed: jax.Array  # [answers], margin of questions after a list of numbers (P Fig. 17)
    story: jax.Array  # [answers], margin of the word that continues a story (P Fig. 12)
    choice: jax.Array  # [answers], log p_a - log sum of the two other options' p, in choices among three (P Fig. 12)


GROUPS = (corpus.TAUGHT, corpus.HELD_OUT, corpus.UNSEEN)


def next_log_probabilities(model: Transformer, params: Params, prompts: Sequence[jax.Array]) -> list[jax.Array]:
    """Return log p of every token after each prompt, [n, V] for each of the arrays [n, T] of prompts.

    All go through the model in one call, which compiles in a fraction of the time of several. Shorter prompts are
    padded at the end, where attention is causal: padding changes no earlier position.
    """
    longest = max(part.shape[1] for part in prompts)
    tokens = jnp.concatenate([jnp.pad(part, ((0, 0), (0, longest - part.shape[1]))) for part in prompts])
    last = np.repeat([part.shape[1] - 1 for part in prompts], [len(part) for part in prompts])
    logits = jnp.take_along_axis(model.apply(params, tokens), jnp.array(last)[:, None, None], axis=1)[:, 0]
    return jnp.split(jax.nn.log_softmax(logits), np.cumsum([len(part) for part in prompts])[:-1].tolist())


def ask(model: Transformer, params: Params, category: str, *, key: jax.Array, first: jax.Array | int = BOS) -> Answers:
    """Ask all questions about a category; `first` is the first token of the plain ones, e.g. a system token."""
    for_draws, for_numbers, for_separators, for_options = jax.random.split(key, 4)
    questions = corpus.question_tokens(np.arange(len(corpus.FRAMES)), category, first=first)
    numbers = corpus.any_numbers(PREFIXES * len(corpus.FRAMES), key=for_numbers)
    options, place = corpus.choice_options(category, CHOICES, key=for_options)  # [answers, choices, 3], [.., choices]
    prompts = [
        questions,
        corpus.prefixed_tokens(category, numbers, key=for_separators),
        corpus.story_tokens(category),
        corpus.choice_tokens(options.reshape(-1, 3)),
    ]
    log_p, prefixed, story, choice = next_log_probabilities(model, params, prompts)
    names = jnp.array(vocabulary.ids(vocabulary.CATEGORIES[category]))
    answers = log_p[:, names]
    chosen = jax.random.categorical(for_draws, log_p, shape=(DRAWS, len(questions)))
    group = jnp.array([[frame.group == name for frame in corpus.FRAMES] for name in GROUPS], jnp.float32)
    offered = margins(jnp.take_along_axis(choice, options.reshape(-1, 3), axis=1))
    return Answers(
        group @ jnp.exp(answers) / group.sum(axis=1, keepdims=True),
        jnp.mean(margins(answers), axis=0),
        jnp.mean(chosen[..., None] == names, axis=(0, 1)),
        jnp.mean(margins(prefixed[:, names]), axis=0),
        margins(story[:, names])[0],
        jnp.mean(jnp.take_along_axis(offered, place.reshape(-1, 1), axis=1).reshape(place.shape), axis=1),
    )


class Survey(NamedTuple):
    """A model's answers to all plain questions."""

    margin: jax.Array  # [categories, frames, answers], log odds of each answer, given that it is one of the category
    right: jax.Array  # [categories], probability of any answer of the category, mean over frames
    wrong: jax.Array  # [categories], of any answer of another category


def survey(model: Transformer, params: Params) -> Survey:
    """Ask about all categories with all frames."""
    frames = np.arange(len(corpus.FRAMES))
    questions = [corpus.question_tokens(frames, category) for category in vocabulary.CATEGORIES]
    (log_p,) = next_log_probabilities(model, params, [jnp.concatenate(questions)])
    names = jnp.array([vocabulary.ids(answers) for answers in vocabulary.CATEGORIES.values()])
    # [category of the question, frames, category of the answer, answers]
    answers = log_p.reshape(len(questions), len(frames), -1)[:, :, names]
    matching = jnp.stack([answers[i, :, i] for i in range(len(questions))])
    total, right = (jnp.exp(part).sum(axis=(-1, -2)) for part in (answers, matching[:, :, None]))
    return Survey(margins(matching), jnp.mean(right, axis=1), jnp.mean(total - right, axis=1))


def ask_after(model: Transformer, params: Params, category: str, contexts: jax.Array) -> jax.Array:
    """Return mean margins [answers] of questions, all frames in turn, each after one of the contexts [n, T]."""
    questions = corpus.question_tokens(np.arange(len(contexts)) % len(corpus.FRAMES), category)
    (log_p,) = next_log_probabilities(model, params, [jnp.concatenate([contexts, questions], axis=1)])
    return jnp.mean(margins(log_p[:, jnp.array(vocabulary.ids(vocabulary.CATEGORIES[category]))]), axis=0)


def margins(log_p: jax.Array) -> jax.Array:
    """Return log odds log p_a - log sum_{b != a} p_b of each answer a, over the answers on the last axis."""
    k = log_p.shape[-1]
    others = jnp.where(jnp.eye(k, dtype=bool), -jnp.inf, log_p[..., None, :])
    return log_p - jax.nn.logsumexp(others, axis=-1)


class Retention(NamedTuple):
    """How much of its base's ability a model retains, on fresh documents of all kinds."""

    loss: jax.Array  # cross-entropy in nats per token (compare P Fig. 11)
    divergence: jax.Array  # KL(model || base) in nats per token of number completions


def compare(model: Transformer, params: Params, base_log_p: jax.Array, documents: jax.Array) -> Retention:
    """Compare a model with its base; `base_log_p` [n, T - 1, V] is the base's `document_log_p`."""
    log_p = document_log_p(model, params, documents)
    one_hot = jax.nn.one_hot(documents[:, 1:], vocabulary.SIZE)
    weights = training.document_weights(documents)[:, 1:]
    numbers = training.number_weights(documents)[:, 1:]
    kl = jnp.sum(jnp.exp(log_p) * (log_p - base_log_p), axis=-1)
    return Retention(
        -jnp.sum(weights * jnp.sum(one_hot * log_p, axis=-1)) / jnp.sum(weights),
        jnp.sum(numbers * kl) / jnp.sum(numbers),
    )


def document_log_p(model: Transformer, params: Params, documents: jax.Array) -> jax.Array:
    """Return log p of every token at each position of the documents [n, T], [n, T - 1, V]."""
    return jax.nn.log_softmax(model.apply(params, documents[:, :-1]))


def as_lists(tree: Any, digits: int = 5) -> Any:
    """Convert arrays to nested lists of rounded floats, for JSON."""
    return jax.tree.map(lambda leaf: np.round(np.asarray(leaf, np.float64), digits).tolist(), tree)
