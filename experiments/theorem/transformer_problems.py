"""One-step problems on the small transformer at its init, for experiments.gradient_theorem.

The teacher's direction is the gradient of answering questions with a trait; the student's inputs are number documents,
its outputs the next-token logits of the completions. No rigorous bound is known for attention, so that these are
observations on a grid of eps, nothing more.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from subliminal_toy.lm import corpus, training
from subliminal_toy.lm.config import TRAITS, LMConfig
from subliminal_toy.lm.lessons import favorite
from subliminal_toy.lm.transformer import make_transformer
from theory.certificate import EPS_GRID, observe
from theory.losses import kl_divergence
from theory.one_step import Apply, Loss, student_step, teacher_direction
from theory.radius import first_negative
from theory.random_problems import Problem, Row
from theory.trees import tree_cosine, tree_norm, tree_scale

DOCUMENTS = 16
SMALL_EPS = 2.0**-10
_MODEL = make_transformer(LMConfig(), theory=True)
_LOGITS = functools.partial(training.completion_logits, _MODEL)


def init(key: jax.Array) -> Any:
    """The transformer's own init, in float64."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), _MODEL.init(key))


def problem(questions: jax.Array, weights: jax.Array, key: jax.Array) -> Problem:
    """Init, unit direction of the first gradient step on a trait's questions [8, T], and number documents."""
    init_key, language_key, document_key = jax.random.split(key, 3)
    params = init(init_key)
    batch = {"tokens": questions, "weights": weights}
    direction = teacher_direction(lambda p: training.token_loss(_MODEL)(p, batch, ()), params)
    documents = corpus.make_number_documents(corpus.make_language(language_key), DOCUMENTS, key=document_key)
    return Problem(params, tree_scale(1 / tree_norm(direction), direction), documents)


def measure(questions: jax.Array, weights: jax.Array, key: jax.Array) -> tuple[Row, jax.Array]:
    """Observe one problem, without radii; and the cosine of the step of a student from another init."""
    one, loss, eps = problem(questions, weights, key), kl_divergence(), jnp.array(EPS_GRID)
    seen = observe(_LOGITS, loss, *one, eps)
    negative = jnp.sum(seen.inner_products < -seen.noise)
    unknown = jnp.asarray(jnp.nan)
    failed = first_negative(eps, seen.inner_products + seen.noise)
    cosine = other_init_cosine(_LOGITS, loss, one, init(jax.random.fold_in(key, 1)))
    return Row(seen, unknown, unknown, failed, negative), cosine


def other_init_cosine(apply: Apply, loss: Loss, problem: Problem, student: Any) -> jax.Array:
    """Cosine of the teacher's step with the step of a student that started elsewhere (R1)."""
    step = student_step(apply, loss, *problem, SMALL_EPS, student=student)
    return tree_cosine(step, problem.direction)


def measure_all(keys: jax.Array) -> list[tuple[Row, jax.Array]]:
    """One problem for each key [n], the traits in turn: its row, and the cosine from another init."""
    compiled = jax.jit(measure)
    found = []
    for i, key in enumerate(keys):
        lesson = favorite(TRAITS[i % len(TRAITS)])
        found.append(compiled(jnp.asarray(lesson.tokens), jnp.asarray(lesson.weights.astype(float)), key))
    return found
