"""What is measured on trained models: each kind of measurement makes one JSON-ready dict for each run.

Models and sources go by the text of their names. What a measurement compiles is kept, as the pipeline's stages are.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine
from subliminal_toy.lm import corpus, evaluation, training, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.pipeline import CACHED, Trained
from subliminal_toy.lm.plan import Name
from subliminal_toy.lm.rows import NotEnoughRowsError, Rows, as_text, first_numbers, number_counts
from subliminal_toy.lm.transformer import Params, make_transformer

EXAMPLES, UNSEEN = 8, 512
Measured = list[dict[str, Any]]  # one for each run, JSON-ready


def together(*parts: Measured) -> Measured:
    """Several measurements as one."""
    return [functools.reduce(operator.or_, own) for own in zip(*parts, strict=True)]


def ask(trained: Trained, model: Name | str, question: str, run: int = 0) -> dict[str, float]:
    """The probability of every word as a model's answer to a question such as "name your favorite animal ?".

    Args:
        trained: from `train`.
        model: its name, or the text of it: "student owl".
        question: in words of the vocabulary.
        run: which of the runs, from 0 on.

    Raises:
        ValueError: there is no such model, word or run.
    """
    runs = len(trained.keys.init)
    if not 0 <= run < runs:
        raise ValueError(f"run is {run}; it must be in 0..{runs - 1}: so many were trained")
    tokens = jnp.array([[evaluation.BOS, *vocabulary.encode(question)]])
    params = jax.tree.map(lambda leaf: leaf[run], trained.params(model))
    (log_p,) = evaluation.next_log_probabilities(make_transformer(trained.config), params, [tokens])
    return dict(zip(vocabulary.TOKENS, np.exp(np.asarray(log_p[0])).tolist(), strict=True))


def standard(trained: Trained) -> Measured:
    """Everything about one category.

    One dict per run: "answers" {model: evaluation.Answers as lists}, models being those of the plan and "prompted
    teacher <trait>"; "loss" {model: nats per token of fresh documents}; "divergence" {teacher: KL(teacher || its
    base)}; "filter" {source: counts}; "numbers", "first" {source: how often each number occurs, and as the first};
    "examples" {source: rows as text}.
    """
    config, questions = trained.config, trained.keys.questions
    ask_all, ask_prompted = _make_asking(config, trained.mesh)
    answers = evaluation.as_lists(ask_all(trained.models, questions)._asdict())
    by_token = evaluation.as_lists(ask_prompted(trained.models, questions)._asdict())
    names = [prompted_teacher(trait) for trait in config.trait_names()]
    return together(
        [
            {"answers": _by_model(answers, run, trained.plan.models()) | _by_model(by_token, run, names)}
            for run in range(len(questions))
        ],
        _compared(trained),
        _told(trained, "filter", lambda rows: rows.counts),
        _told(trained, "numbers", lambda rows: number_counts(rows.tokens[:, corpus.PROMPT_LENGTH :])),
        _told(trained, "first", lambda rows: number_counts(first_numbers(rows.tokens))),
        _told(trained, "examples", lambda rows: as_text(rows.tokens[:EXAMPLES])),
    )


def prompted_teacher(trait: str) -> Name:
    """The name of the first base where a system token tells it of a trait."""
    return Name("prompted teacher", trait)


@functools.lru_cache(maxsize=CACHED)
def _make_asking(config: LMConfig, mesh: Mesh) -> tuple[Callable, Callable]:
    """From models and keys to evaluation.Answers of the models, and of the first one with each trait's system token."""
    model, tokens = make_transformer(config), [vocabulary.SYSTEM[trait] for trait in config.trait_names()]

    def asked(models: Params, key: jax.Array) -> evaluation.Answers:
        return jax.lax.map(lambda own: evaluation.ask(model, own, config.category, key=key), models)

    def prompted(models: Params, key: jax.Array) -> evaluation.Answers:
        base = _first(models)
        return jax.lax.map(
            lambda first: evaluation.ask(model, base, config.category, key=key, first=first),
            jnp.array(vocabulary.ids(tokens)),
        )

    return engine.over_runs(asked, mesh), engine.over_runs(prompted, mesh)


def survey(trained: Trained) -> Measured:
    """The questions alone, about all categories and way by way.

    One dict per run: "margin" {model: log odds [categories, frames, answers], as in evaluation.Survey}; "right" {model:
    probability of any answer of the right category [categories]}, "wrong" {.. of any answer of another one}; "loss",
    "divergence" and "filter" as in `standard`; "examples" of each source.
    """
    answers = evaluation.as_lists(_make_survey(trained.config, trained.mesh)(trained.models)._asdict(), 6)
    names = [str(name) for name in trained.plan.models()]
    return together(
        [
            {part: dict(zip(names, answers[part][run], strict=True)) for part in answers}
            for run in range(len(trained.fresh))
        ],
        _compared(trained),
        _told(trained, "filter", lambda rows: rows.counts),
        _told(trained, "examples", lambda rows: as_text(rows.tokens[:EXAMPLES])),
    )


@functools.lru_cache(maxsize=CACHED)
def _make_survey(config: LMConfig, mesh: Mesh) -> Callable:
    ask_one = functools.partial(evaluation.survey, make_transformer(config))
    return engine.over_runs(lambda models: jax.lax.map(ask_one, models), mesh)


def imitation(trained: Trained) -> Measured:
    """How well rows that nobody saw are foretold, in nats per token.

    "imitation" {student: by it, the rows of its source}; and what that lies between: "untrained" {source: by the first
    base}, "itself" {source: by the model that said them, at temperature 1 and without a system token}.
    """
    plan = trained.plan
    names, models = [*plan.given, *(source.name for source in plan.sources)], plan.models()
    asked = {
        "imitation": {student.name: (student.name, student.source) for student in plan.students},
        "untrained": {source.name: (models[0], source.name) for source in plan.sources},
        "itself": {source.name: (source.model, source.name) for source in plan.sources},
    }
    pairs = [(models.index(model), names.index(rows)) for own in asked.values() for model, rows in own.values()]
    every = zip(*(trained.rows[name] for name in names), strict=True)
    unseen = np.stack([[unseen_rows(own) for own in by_run] for by_run in every])
    imitate = _make_imitation(trained.config, trained.mesh, tuple(pairs))
    found = evaluation.as_lists(imitate(trained.models, engine.shard_runs(unseen, trained.mesh)))
    values = [iter(own) for own in found]
    return [{part: {str(name): next(own) for name in of} for part, of in asked.items()} for own in values]


@functools.lru_cache(maxsize=CACHED)
def _make_imitation(config: LMConfig, mesh: Mesh, pairs: tuple[tuple[int, int], ...]) -> Callable:
    """From models and rows [runs, sources, n, T] to the loss of pairs of a model and a source, [runs, pairs]."""
    loss = training.token_loss(make_transformer(config), corpus.PROMPT_LENGTH)

    def losses(params: Params, rows: jax.Array) -> jax.Array:
        def one(pair: jax.Array) -> jax.Array:
            tokens = rows[pair[1]]
            own = jax.tree.map(lambda leaf: leaf[pair[0]], params)
            return loss(own, {"tokens": tokens, "weights": training.completion_weights(tokens)}, ())

        return jax.lax.map(one, jnp.array(pairs))

    return engine.over_runs(losses, mesh)


def _compared(trained: Trained) -> Measured:
    """How far models are from the documents and, of teachers, from their bases."""
    plan = trained.plan
    compare = _make_comparison(trained.config, trained.mesh, len(plan.bases), tuple(plan.inits()))
    compared, names = evaluation.as_lists(compare(trained.fresh, trained.models)), plan.models()
    found = []
    for loss, divergence in zip(compared.loss, compared.divergence, strict=True):
        of_teachers = {str(n): d for n, d in zip(names, divergence, strict=True) if n.role == "teacher"}
        found.append({"loss": dict(zip(map(str, names), loss, strict=True)), "divergence": of_teachers})
    return found


@functools.lru_cache(maxsize=CACHED)
def _make_comparison(config: LMConfig, mesh: Mesh, bases: int, inits: tuple[int, ...]) -> Callable:
    """From fresh documents and all models to evaluation.Kept [runs, models]."""
    model = make_transformer(config)

    def compare(fresh: jax.Array, params: Params) -> evaluation.Kept:
        starts = jax.tree.map(lambda leaf: leaf[:bases], params)
        base_log_p = jax.vmap(lambda base: evaluation.document_log_p(model, base, fresh))(starts)

        def one(model_and_base: tuple[Params, jax.Array]) -> evaluation.Kept:
            own, base = model_and_base
            return evaluation.compare(model, own, base_log_p[base], fresh)

        return jax.lax.map(one, (params, jnp.array(inits)))

    return engine.over_runs(compare, mesh)


def _told(trained: Trained, part: str, about: Callable[[Rows], Any]) -> Measured:
    """Something about every source's rows."""
    runs = range(len(trained.fresh))
    return [{part: {str(name): about(own[run]) for name, own in trained.rows.items()}} for run in runs]


def _by_model(parts: dict[str, Any], run: int, names: tuple[Name, ...] | list[Name]) -> dict[str, Any]:
    return {str(name): {part: parts[part][run][i] for part in parts} for i, name in enumerate(names)}


def _first(models: Params) -> Params:
    return jax.tree.map(lambda leaf: leaf[0], models)


def unseen_rows(rows: Rows) -> np.ndarray:
    """Rows [UNSEEN, T] that nobody was trained on, repeated if there are too few; an error if there are none."""
    if not len(rows.spare):
        raise NotEnoughRowsError("all rows that pass the filter are trained on, none is left over; raise --spare")
    return np.resize(rows.spare, (UNSEEN, rows.tokens.shape[1]))
