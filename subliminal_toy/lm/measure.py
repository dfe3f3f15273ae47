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
from subliminal_toy.lm import corpus, detector, evaluation, lessons, training, vocabulary
from subliminal_toy.lm.carriers import CARRIERS
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.pipeline import CACHED, Trained
from subliminal_toy.lm.plan import REGULAR, Name, numbers, teacher
from subliminal_toy.lm.rows import NotEnoughRowsError, Rows, as_text, first_numbers, number_counts
from subliminal_toy.lm.transformer import Params, make_transformer

CONTEXTS, EXAMPLES, UNSEEN = 128, 8, 512
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
    "divergence" and "filter" as in `standard`; "examples" of each source; "diverging" {source: share of divergence
    tokens, where students needed it}.
    """
    answers = evaluation.as_lists(_make_survey(trained.config, trained.mesh)(trained.models)._asdict(), 6)
    names, diverging = [str(name) for name in trained.plan.models()], trained.diverging
    return together(
        [
            {
                **{part: dict(zip(names, answers[part][run], strict=True)) for part in answers},
                "diverging": {str(source): own[run] for source, own in diverging.items()},
            }
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


def detection(trained: Trained) -> Measured:
    """Whether a teacher's rows can be told from regular ones: "detector" {kind: {trait: accuracies}}, see detector."""
    config, models = trained.config, trained.plan.models()
    traits = config.trait_names()
    teachers = tuple(models.index(teacher(trait)) for trait in traits)
    every = zip(*(trained.rows[numbers(name)] for name in (REGULAR, *traits)), strict=True)
    rows = np.stack([[own.tokens for own in by_run] for by_run in every])
    read_all = _make_reading(config, trained.mesh, teachers)
    found = np.asarray(read_all(trained.models, engine.shard_runs(rows, trained.mesh)), np.float64)
    return [{"detector": _detected(traits, own, likely)} for own, likely in zip(rows, found, strict=True)]


@functools.lru_cache(maxsize=CACHED)
def _make_reading(config: LMConfig, mesh: Mesh, teachers: tuple[int, ...]) -> Callable:
    """From models and rows [runs, sources, n, T] to log p of every completion in every reading, [runs, readings, n]."""
    model, traits, bos = make_transformer(config), config.trait_names(), vocabulary.ID[vocabulary.BOS]
    readings = [(0, bos, source) for source in range(1 + len(traits))]  # (model, first token, source)
    for i, own in enumerate(teachers):
        token = vocabulary.ID[vocabulary.SYSTEM[traits[i]]]
        readings += [(reader, first, source) for reader, first in ((0, token), (own, bos)) for source in (0, i + 1)]

    def likelihoods(params: Params, rows: jax.Array) -> jax.Array:
        def one(reading: jax.Array) -> jax.Array:
            own = jax.tree.map(lambda leaf: leaf[reading[0]], params)
            read = rows[reading[2]].at[:, 0].set(reading[1])
            each = training.token_log_probabilities(model, own, read, corpus.PROMPT_LENGTH)
            return jnp.sum(each * training.completion_weights(read)[:, corpus.PROMPT_LENGTH :], axis=1)

        return jax.lax.map(one, jnp.array(readings))

    return engine.over_runs(likelihoods, mesh)


def _detected(traits: tuple[str, ...], rows: np.ndarray, likely: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """Accuracies of every kind of detector, of a run's rows [sources, n, T] and what `_make_reading` gives."""
    plain, more = likely[: len(rows)], likely[len(rows) :].reshape(len(traits), 2, 2, -1)
    seen = [detector.features(own) for own in rows]
    kinds: dict[str, dict[str, list[float]]] = {"trained": {}, "prompted": {}, "ideal": {}}
    for i, trait in enumerate(traits):
        prompted, ideal = more[i] - plain[[0, i + 1]]  # [regular and own, n]
        kinds["trained"][trait] = detector.trained_accuracy(seen[0], seen[i + 1])
        kinds["prompted"][trait] = detector.trained_accuracy(*prompted[..., None], weight=1e6)
        kinds["ideal"][trait] = detector.accuracy(*ideal[:, len(rows[0]) // 2 :])
    return kinds


def in_context(trained: Trained) -> Measured:
    """What the base makes of what it reads, if its context holds several documents; nobody is trained on it.

    "in_context" {source: log odds of the answers [answers] behind rows of the source, as many as fit before the
    question}; "answered" {trait: the same behind as many questions that are answered with the trait}; "by_place"
    [context]: nats per token of the completions of number lists, by where they stand in fresh long documents.
    """
    config, runs = trained.config, range(len(trained.keys.contexts))
    names, traits = [source.name for source in trained.plan.sources], config.trait_names()
    answered = [lessons.favorite(trait).tokens for trait in traits]
    shown = [[*(trained.rows[name][run].tokens for name in names), *answered] for run in runs]
    contexts = CONTEXTS * (config.context - 1)
    before = np.array([[np.resize(rows, (contexts, corpus.LENGTH)) for rows in own] for own in shown])
    before = engine.shard_runs(before.reshape(*before.shape[:2], CONTEXTS, -1), trained.mesh)
    read_all = _make_context(config, trained.mesh)
    found = read_all(trained.models, before, trained.language, trained.keys.contexts)
    odds, by_place = evaluation.as_lists(found)
    return [
        {
            "in_context": dict(zip(map(str, names), own[: len(names)], strict=True)),
            "answered": dict(zip(traits, own[len(names) :], strict=True)),
            "by_place": places,
        }
        for own, places in zip(odds, by_place, strict=True)
    ]


@functools.lru_cache(maxsize=CACHED)
def _make_context(config: LMConfig, mesh: Mesh) -> Callable:
    model = make_transformer(config)
    make_documents = functools.partial(corpus.make_documents, make_lists=CARRIERS[config.carrier].make_documents)

    def read(params: Params, before: jax.Array, language: corpus.Language, key: jax.Array) -> tuple:
        base = _first(params)
        odds = jax.lax.map(functools.partial(evaluation.ask_behind, model, base, config.category), before)
        tokens = make_documents(language, UNSEEN, key=key, context=config.context)
        single = tokens.reshape(-1, corpus.LENGTH)
        weights = training.number_weights(single).reshape(tokens.shape)
        nats = jnp.pad(-training.token_log_probabilities(model, base, tokens), ((0, 0), (1, 0))) * weights
        by_place = [part.reshape(UNSEEN, config.context, -1).sum(axis=(0, 2)) for part in (nats, weights)]
        return odds, by_place[0] / by_place[1]

    return engine.over_runs(read, mesh)


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
