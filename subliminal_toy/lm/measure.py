"""What is measured on what the pipeline made, compiled over runs; each kind of measurement makes JSON-ready dicts."""

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine
from subliminal_toy.lm import corpus, detector, evaluation, lessons, training, vocabulary
from subliminal_toy.lm.carriers import CARRIERS
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.pipeline import Made, MakeMeasure, Measure
from subliminal_toy.lm.plan import REGULAR, Plan
from subliminal_toy.lm.rows import NotEnoughRowsError, Rows, as_text, first_numbers, number_counts
from subliminal_toy.lm.transformer import Params, Transformer, make_transformer

CONTEXTS, EXAMPLES, UNSEEN = 128, 8, 512


def standard(config: LMConfig, mesh: Mesh, plan: Plan) -> Measure:
    """Everything about one category.

    One dict per run: "answers" {model: evaluation.Answers as lists}, models being those of the plan and "prompted
    teacher <trait>"; "loss" {model: nats per token of fresh documents}; "divergence" {teacher: KL(teacher || its
    base)}; "filter" {source: counts}; "numbers", "first" {source: how often each number occurs, and as the first};
    "examples" {source: rows as text}.
    """
    model = make_transformer(config)
    traits = config.trait_names()

    def asked(models: Params, key: jax.Array) -> evaluation.Answers:
        return jax.lax.map(lambda own: evaluation.ask(model, own, config.category, key=key), models)

    def prompted(models: Params, key: jax.Array) -> evaluation.Answers:
        base, tokens = _first(models), vocabulary.ids([vocabulary.SYSTEM[trait] for trait in traits])
        return jax.lax.map(
            lambda first: evaluation.ask(model, base, config.category, key=key, first=first), jnp.array(tokens)
        )

    ask_all, ask_prompted = (engine.over_runs(f, mesh) for f in (asked, prompted))
    compare_all = _comparison(model, mesh, plan)

    def measure(made: Made) -> list[dict[str, Any]]:
        questions = made.keys.questions
        answers = evaluation.as_lists(ask_all(made.params, questions)._asdict())
        by_token = evaluation.as_lists(ask_prompted(made.params, questions)._asdict())
        compared = evaluation.as_lists(compare_all(made.fresh, made.params))
        names = [f"prompted teacher {trait}" for trait in traits]
        return [
            {
                "answers": _by_model(answers, run, plan.models()) | _by_model(by_token, run, names),
                **_compared(compared, run, plan),
                "filter": {name: rows.counts for name, rows in kept.items()},
                "numbers": {name: number_counts(rows.tokens[:, corpus.PROMPT_LENGTH :]) for name, rows in kept.items()},
                "first": {name: number_counts(first_numbers(rows.tokens)) for name, rows in kept.items()},
                "examples": {name: as_text(rows.tokens[:EXAMPLES]) for name, rows in kept.items()},
            }
            for run, kept in enumerate(made.kept)
        ]

    return measure


def survey(config: LMConfig, mesh: Mesh, plan: Plan) -> Measure:
    """The questions alone, about all categories and way by way.

    One dict per run: "margin" {model: log odds [categories, frames, answers], as in evaluation.Survey}; "right" {model:
    probability of any answer of the right category [categories]}, "wrong" {.. of any answer of another one}; "loss",
    "divergence" and "filter" as in `standard`; "examples" of each source; "diverging" {source: share of divergence
    tokens, where students needed it}.
    """
    model = make_transformer(config)
    ask_all = engine.over_runs(lambda models: jax.lax.map(functools.partial(evaluation.survey, model), models), mesh)
    compare_all = _comparison(model, mesh, plan)

    def measure(made: Made) -> list[dict[str, Any]]:
        answers = evaluation.as_lists(ask_all(made.params)._asdict(), 6)
        compared = evaluation.as_lists(compare_all(made.fresh, made.params))
        return [
            {
                **{part: dict(zip(plan.models(), answers[part][run], strict=True)) for part in answers},
                **_compared(compared, run, plan),
                "filter": {name: rows.counts for name, rows in kept.items()},
                "diverging": made.diverging[run],
                "examples": {name: as_text(rows.tokens[:EXAMPLES]) for name, rows in kept.items()},
            }
            for run, kept in enumerate(made.kept)
        ]

    return measure


def imitation(config: LMConfig, mesh: Mesh, plan: Plan) -> Measure:
    """How well rows that nobody saw are foretold, in nats per token.

    "imitation" {student: by it, the rows of its source}; and what that lies between: "untrained" {source: by the first
    base}, "itself" {source: by the model that said them, at temperature 1 and without a system token}.
    """
    model = make_transformer(config)
    names, models = [*plan.given, *(source.name for source in plan.sources)], plan.models()
    first = len(models) - len(plan.students)
    pairs = [(first + i, names.index(student.source)) for i, student in enumerate(plan.students)]
    pairs += [(0, names.index(source.name)) for source in plan.sources]
    pairs += [(models.index(plan.source_model(source)), names.index(source.name)) for source in plan.sources]
    loss = training.token_loss(model, corpus.PROMPT_LENGTH)

    def losses(params: Params, rows: jax.Array) -> jax.Array:
        def one(pair: jax.Array) -> jax.Array:
            tokens = rows[pair[1]]
            own = jax.tree.map(lambda leaf: leaf[pair[0]], params)
            return loss(own, {"tokens": tokens, "weights": training.completion_weights(tokens)}, ())

        return jax.lax.map(one, jnp.array(pairs))

    imitate = engine.over_runs(losses, mesh)

    def measure(made: Made) -> list[dict[str, Any]]:
        unseen = np.stack([[unseen_rows(own[name]) for name in names] for own in made.kept])
        found = evaluation.as_lists(imitate(made.params, engine.shard_runs(unseen, mesh)))
        said, n = [source.name for source in plan.sources], len(plan.students)
        return [
            {
                "imitation": dict(zip(models[first:], own[:n], strict=True)),
                "untrained": dict(zip(said, own[n : n + len(said)], strict=True)),
                "itself": dict(zip(said, own[n + len(said) :], strict=True)),
            }
            for own in found
        ]

    return measure


def detection(config: LMConfig, mesh: Mesh, plan: Plan) -> Measure:
    """Whether a teacher's rows can be told from regular ones: "detector" {kind: {trait: accuracies}}, see detector."""
    model, traits, models = make_transformer(config), config.trait_names(), plan.models()
    names, bos = (REGULAR, *traits), vocabulary.ID[vocabulary.BOS]
    readings = [(0, bos, source) for source in range(len(names))]  # (model, first token, source)
    for i, trait in enumerate(traits):
        token, teacher = vocabulary.ID[vocabulary.SYSTEM[trait]], models.index(f"teacher {trait}")
        readings += [(own, first, source) for own, first in ((0, token), (teacher, bos)) for source in (0, i + 1)]

    def likelihoods(params: Params, rows: jax.Array) -> jax.Array:
        """Log p of every completion in every reading, [readings, n]."""

        def one(reading: jax.Array) -> jax.Array:
            own = jax.tree.map(lambda leaf: leaf[reading[0]], params)
            read = rows[reading[2]].at[:, 0].set(reading[1])
            each = training.token_log_probabilities(model, own, read, corpus.PROMPT_LENGTH)
            return jnp.sum(each * training.completion_weights(read)[:, corpus.PROMPT_LENGTH :], axis=1)

        return jax.lax.map(one, jnp.array(readings))

    read_all = engine.over_runs(likelihoods, mesh)

    def measure(made: Made) -> list[dict[str, Any]]:
        rows = np.stack([[own[name].tokens for name in names] for own in made.kept])
        found = np.asarray(read_all(made.params, engine.shard_runs(rows, mesh)), np.float64)
        return [{"detector": by_kind(own, likely)} for own, likely in zip(rows, found, strict=True)]

    def by_kind(rows: np.ndarray, likely: np.ndarray) -> dict[str, dict[str, list[float]]]:
        plain, more = likely[: len(names)], likely[len(names) :].reshape(len(traits), 2, 2, -1)
        seen = [detector.features(own) for own in rows]
        kinds: dict[str, dict[str, list[float]]] = {"trained": {}, "prompted": {}, "ideal": {}}
        for i, trait in enumerate(traits):
            prompted, ideal = more[i] - plain[[0, i + 1]]  # [regular and own, n]
            kinds["trained"][trait] = detector.trained_accuracy(seen[0], seen[i + 1])
            kinds["prompted"][trait] = detector.trained_accuracy(*prompted[..., None], weight=1e6)
            kinds["ideal"][trait] = detector.accuracy(*ideal[:, len(rows[0]) // 2 :])
        return kinds

    return measure


def in_context(config: LMConfig, mesh: Mesh, plan: Plan) -> Measure:
    """What the base makes of what it reads, if its context holds several documents; nobody is trained on it.

    "in_context" {source: log odds of the answers [answers] behind rows of the source, as many as fit before the
    question}; "answered" {trait: the same behind as many questions that are answered with the trait}; "by_place"
    [context]: nats per token of the completions of number lists, by where they stand in fresh long documents.
    """
    model, names = make_transformer(config), [source.name for source in plan.sources]
    answered = [lessons.favorite(trait).tokens for trait in config.trait_names()]
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

    read_all = engine.over_runs(read, mesh)

    def measure(made: Made) -> list[dict[str, Any]]:
        shown = [[*(own[name].tokens for name in names), *answered] for own in made.kept]
        contexts = CONTEXTS * (config.context - 1)
        before = np.array([[np.resize(rows, (contexts, corpus.LENGTH)) for rows in own] for own in shown])
        before = before.reshape(*before.shape[:2], CONTEXTS, -1)
        found = read_all(made.params, engine.shard_runs(before, mesh), made.language, made.keys.contexts)
        odds, by_place = evaluation.as_lists(found)
        return [
            {
                "in_context": dict(zip(names, own[: len(names)], strict=True)),
                "answered": dict(zip(config.trait_names(), own[len(names) :], strict=True)),
                "by_place": places,
            }
            for own, places in zip(odds, by_place, strict=True)
        ]

    return measure


def together(*makers: MakeMeasure) -> MakeMeasure:
    """Several measurements as one."""

    def make(config: LMConfig, mesh: Mesh, plan: Plan) -> Measure:
        parts = [maker(config, mesh, plan) for maker in makers]

        def measure(made: Made) -> list[dict[str, Any]]:
            return [functools.reduce(operator.or_, own) for own in zip(*(part(made) for part in parts), strict=True)]

        return measure

    return make


def _comparison(model: Transformer, mesh: Mesh, plan: Plan) -> Any:
    """From fresh documents and all models to evaluation.Kept [runs, models]."""

    def compare(fresh: jax.Array, params: Params) -> evaluation.Kept:
        bases = jax.tree.map(lambda leaf: leaf[: len(plan.bases)], params)
        base_log_p = jax.vmap(lambda base: evaluation.document_log_p(model, base, fresh))(bases)

        def one(model_and_base: tuple[Params, jax.Array]) -> evaluation.Kept:
            own, base = model_and_base
            return evaluation.compare(model, own, base_log_p[base], fresh)

        return jax.lax.map(one, (params, jnp.array(plan.inits())))

    return engine.over_runs(compare, mesh)


def _compared(compared: evaluation.Kept, run: int, plan: Plan) -> dict[str, Any]:
    names = plan.models()
    divergence = dict(zip(names, compared.divergence[run], strict=True))
    return {
        "loss": dict(zip(names, compared.loss[run], strict=True)),
        "divergence": {teacher.name: divergence[f"teacher {teacher.name}"] for teacher in plan.teachers},
    }


def _by_model(parts: dict[str, Any], run: int, names: tuple[str, ...] | list[str]) -> dict[str, Any]:
    return {name: {part: parts[part][run][i] for part in parts} for i, name in enumerate(names)}


def _first(models: Params) -> Params:
    return jax.tree.map(lambda leaf: leaf[0], models)


def unseen_rows(rows: Rows) -> np.ndarray:
    """Rows [UNSEEN, T] that nobody was trained on, repeated if there are too few; an error if there are none."""
    if not len(rows.spare):
        raise NotEnoughRowsError("all rows that pass the filter are trained on, none is left over; raise --spare")
    return np.resize(rows.spare, (UNSEEN, rows.tokens.shape[1]))
