"""Measurements of trained models: each returns one JSON-ready dict per run.

Keys are the names of models and sources as text. Compiled functions are cached, as the pipeline's stages are.
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

EXAMPLES, SPARE_ROWS = 8, 512  # rows per source: printed as text; to measure imitation on
Measured = list[dict[str, Any]]  # one dict per run, JSON-ready


def together(*parts: Measured) -> Measured:
    """Merge measurements."""
    return [functools.reduce(operator.or_, dicts) for dicts in zip(*parts, strict=True)]


def ask(trained: Trained, model: Name | str, question: str, run: int = 0) -> dict[str, float]:
    """Return the probability of each word as a model's answer to a question such as "name your favorite animal ?".

    Args:
        trained: from `train`.
        model: its name, also as text: "student owl".
        question: in words of the vocabulary.
        run: index of the run.

    Raises:
        ValueError: an unknown model, word or run.
    """
    runs = len(trained.keys.init)
    if not 0 <= run < runs:
        raise ValueError(f"run is {run}; it must be in 0..{runs - 1}, {runs} were trained")
    tokens = jnp.array([[evaluation.BOS, *vocabulary.encode(question)]])
    params = jax.tree.map(lambda leaf: leaf[run], trained.params(model))
    (log_p,) = evaluation.next_log_probabilities(make_transformer(trained.config), params, [tokens])
    return dict(zip(vocabulary.TOKENS, np.exp(np.asarray(log_p[0])).tolist(), strict=True))


def standard(trained: Trained) -> Measured:
    """Evaluate the traits' category, as the main experiment does.

    One dict per run: "answers" {model: evaluation.Answers as lists} of all models of the plan and of each "prompted
    teacher <trait>"; "loss" {model: nats per token of fresh documents}; "divergence" {teacher: KL(teacher || its
    base)}; "filter" {source: counts}; "numbers", "first" {source: counts of each number, anywhere and in first place};
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
        _per_source(trained, "filter", lambda rows: rows.counts),
        _per_source(trained, "numbers", lambda rows: number_counts(rows.tokens[:, corpus.PROMPT_LENGTH :])),
        _per_source(trained, "first", lambda rows: number_counts(first_numbers(rows.tokens))),
        _per_source(trained, "examples", lambda rows: as_text(rows.tokens[:EXAMPLES])),
    )


def prompted_teacher(trait: str) -> Name:
    """Return the name of the first base with the system token of a trait."""
    return Name("prompted teacher", trait)


@functools.lru_cache(maxsize=CACHED)
def _make_asking(config: LMConfig, mesh: Mesh) -> tuple[Callable, Callable]:
    """Return functions from models and keys to Answers: of all models, and of the first with each system token."""
    model, tokens = make_transformer(config), [vocabulary.SYSTEM[trait] for trait in config.trait_names()]

    def ask_models(models: Params, key: jax.Array) -> evaluation.Answers:
        return jax.lax.map(lambda params: evaluation.ask(model, params, config.category, key=key), models)

    def ask_prompted(models: Params, key: jax.Array) -> evaluation.Answers:
        base = _first(models)
        return jax.lax.map(
            lambda first: evaluation.ask(model, base, config.category, key=key, first=first),
            jnp.array(vocabulary.ids(tokens)),
        )

    return engine.over_runs(ask_models, mesh), engine.over_runs(ask_prompted, mesh)


def survey(trained: Trained) -> Measured:
    """Ask the plain questions about all categories, frame by frame.

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
        _per_source(trained, "filter", lambda rows: rows.counts),
        _per_source(trained, "examples", lambda rows: as_text(rows.tokens[:EXAMPLES])),
    )


@functools.lru_cache(maxsize=CACHED)
def _make_survey(config: LMConfig, mesh: Mesh) -> Callable:
    ask_one = functools.partial(evaluation.survey, make_transformer(config))
    return engine.over_runs(lambda models: jax.lax.map(ask_one, models), mesh)


def imitation(trained: Trained) -> Measured:
    """Measure the cross-entropy on spare rows, which no student is trained on, in nats per token.

    One dict per run: "imitation" {student: of the student, on rows of its source}, with two references,
    "untrained" {source: of the first base} and "itself" {source: of the model that wrote them, at temperature 1 and
    without a system token}.
    """
    plan = trained.plan
    names, models = [*plan.given, *(source.name for source in plan.sources)], plan.models()
    by_part = {
        "imitation": {student.name: (student.name, student.source) for student in plan.students},
        "untrained": {source.name: (models[0], source.name) for source in plan.sources},
        "itself": {source.name: (source.model, source.name) for source in plan.sources},
    }
    pairs = [(models.index(model), names.index(rows)) for of in by_part.values() for model, rows in of.values()]
    by_run = zip(*(trained.rows[name] for name in names), strict=True)
    spare = np.stack([[spare_rows(rows) for rows in of_run] for of_run in by_run])
    imitate = _make_imitation(trained.config, trained.mesh, tuple(pairs))
    losses = evaluation.as_lists(imitate(trained.models, engine.shard_runs(spare, trained.mesh)))
    values = [iter(of_run) for of_run in losses]
    return [{part: {str(name): next(value) for name in of} for part, of in by_part.items()} for value in values]


@functools.lru_cache(maxsize=CACHED)
def _make_imitation(config: LMConfig, mesh: Mesh, pairs: tuple[tuple[int, int], ...]) -> Callable:
    """Return a function from models and rows [runs, sources, n, T] to losses of (model, source), [runs, pairs]."""
    loss = training.token_loss(make_transformer(config), corpus.PROMPT_LENGTH)

    def losses(models: Params, rows: jax.Array) -> jax.Array:
        def one(pair: jax.Array) -> jax.Array:
            tokens = rows[pair[1]]
            params = jax.tree.map(lambda leaf: leaf[pair[0]], models)
            return loss(params, {"tokens": tokens, "weights": training.completion_weights(tokens)}, ())

        return jax.lax.map(one, jnp.array(pairs))

    return engine.over_runs(losses, mesh)


def _compared(trained: Trained) -> Measured:
    """Measure all models' loss on fresh documents, and teachers' divergence from their bases."""
    plan = trained.plan
    compare = _make_comparison(trained.config, trained.mesh, len(plan.bases), tuple(plan.inits()))
    compared, names = evaluation.as_lists(compare(trained.fresh, trained.models)), plan.models()
    values = []
    for loss, divergence in zip(compared.loss, compared.divergence, strict=True):
        of_teachers = {str(n): d for n, d in zip(names, divergence, strict=True) if n.role == "teacher"}
        values.append({"loss": dict(zip(map(str, names), loss, strict=True)), "divergence": of_teachers})
    return values


@functools.lru_cache(maxsize=CACHED)
def _make_comparison(config: LMConfig, mesh: Mesh, bases: int, inits: tuple[int, ...]) -> Callable:
    """Return a function from fresh documents and all models to evaluation.Retention [runs, models]."""
    model = make_transformer(config)

    def compare(fresh: jax.Array, models: Params) -> evaluation.Retention:
        base_params = jax.tree.map(lambda leaf: leaf[:bases], models)
        base_log_p = jax.vmap(lambda base: evaluation.document_log_p(model, base, fresh))(base_params)

        def one(model_and_base: tuple[Params, jax.Array]) -> evaluation.Retention:
            params, base = model_and_base
            return evaluation.compare(model, params, base_log_p[base], fresh)

        return jax.lax.map(one, (models, jnp.array(inits)))

    return engine.over_runs(compare, mesh)


def _per_source(trained: Trained, part: str, function: Callable[[Rows], Any]) -> Measured:
    """Apply a function to each source's rows."""
    runs = range(len(trained.fresh))
    return [{part: {str(name): function(rows[run]) for name, rows in trained.rows.items()}} for run in runs]


def _by_model(parts: dict[str, Any], run: int, names: tuple[Name, ...] | list[Name]) -> dict[str, Any]:
    return {str(name): {part: parts[part][run][i] for part in parts} for i, name in enumerate(names)}


def _first(models: Params) -> Params:
    return jax.tree.map(lambda leaf: leaf[0], models)


def spare_rows(rows: Rows) -> np.ndarray:
    """Return rows [SPARE_ROWS, T] that no student is trained on, repeated if there are too few.

    NotEnoughRowsError if there are none.
    """
    if not len(rows.spare):
        raise NotEnoughRowsError(
            "students are trained on all rows that pass the filter, none are left over; raise --spare"
        )
    return np.resize(rows.spare, (SPARE_ROWS, rows.tokens.shape[1]))
