"""The pipeline, stage by stage, for several runs, traits and controls at once (P sections 2-4).

A run draws a language, trains two bases on it from independent inits, then teachers, and students on what the teachers
sampled; which ones is a plan (subliminal_toy.lm.plan). All sources complete the same prompts with the same random
numbers, and all students see their rows in the same order, so that differences between students are paired.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine
from subliminal_toy.lm import corpus, evaluation, sampling, training, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import BASES, Plan, standard_plan
from subliminal_toy.lm.rows import Rows, as_text, first_numbers, keep_rows, number_counts, student_rows
from subliminal_toy.lm.transformer import Params, make_transformer

FRESH_DOCUMENTS, IN_CONTEXT, EXAMPLES = 512, 256, 8
OnStage = Callable[[str, int], None]  # which stage, which epoch of it
OnRows = Callable[[int, str, np.ndarray], None]  # which run of the chunk, which source, its rows [rows, T]


class RunKeys(NamedTuple):
    """The keys of one run, one for each purpose."""

    language: jax.Array
    documents: jax.Array
    init: jax.Array
    base_order: jax.Array
    teacher_order: jax.Array
    prompts: jax.Array
    samples: jax.Array
    student_order: jax.Array
    questions: jax.Array
    shuffles: jax.Array


class Stages(NamedTuple):
    """The compiled stages; arrays carry a run axis, then a model, source or student axis."""

    bases: Callable  # keys, on_epoch -> (language, fresh documents [runs, n, T], params [runs, bases, ...])
    teachers: Callable  # bases, keys, on_epoch -> params [runs, teachers, ...]
    samples: Callable  # language, bases, teachers, keys -> (prompts [runs, n, T], completions [runs, sources, n, T'])
    students: Callable  # bases, rows [runs, students, rows, T], keys, on_epoch -> params [runs, students, ...]
    evaluate: (
        Callable  # fresh documents, params [runs, models, ...], keys -> answers, loss, divergence, each [runs, models]
    )
    prompted: Callable  # bases, keys -> answers of the base under each trait's system token [runs, traits]
    in_context: Callable  # bases, numbers [runs, sources, n, 3] -> margins behind these [runs, sources, answers]


def make_pipeline(config: LMConfig, mesh: Mesh, plan: Plan | None = None) -> Callable[..., list[dict[str, Any]]]:
    """Build the pipeline for a chunk of runs.

    Args:
        config: the settings.
        mesh: the devices, from `engine.run_mesh`.
        plan: what to train and sample; default `standard_plan(config)`.

    Returns:
        `run_chunk(keys, on_stage, on_rows) -> [one dict per run]`, JSON-ready:
        "answers" {model: evaluation.Answers as lists}, models being those of the plan and "prompted teacher <trait>";
        "loss" {model: nats per token of fresh documents}; "divergence" {teacher: KL(teacher || its base)};
        "filter" {source: counts}; "numbers", "first" {source: how often each number occurs, and as the first};
        "in_context" {source: margins of the base behind three of its numbers}; "examples" {source: rows as text}.
        Raises engine.RunFailedError.
    """
    plan = plan or standard_plan(config)
    stages = make_stages(config, mesh, plan)

    def run_chunk(
        keys: RunKeys, on_stage: OnStage = lambda _stage, _i: None, on_rows: OnRows = lambda _run, _source, _rows: None
    ) -> list[dict[str, Any]]:
        keys = engine.shard_runs(keys, mesh)
        language, fresh, bases = stages.bases(keys, functools.partial(on_stage, "base"))
        teachers = stages.teachers(bases, keys, functools.partial(on_stage, "teachers"))
        prompts, completions = (np.asarray(part) for part in stages.samples(language, bases, teachers, keys))
        on_stage("samples", 0)
        kept = [
            {source.name: keep_rows(config, source.name, prompts[run], completions[run, i])
             for i, source in enumerate(plan.sources)}
            for run in range(len(prompts))
        ]  # fmt: skip
        for run, by_source in enumerate(kept):
            for name, own in by_source.items():
                on_rows(run, name, own.tokens)
        on_stage("filter", 0)
        rows = np.stack([student_rows(plan.students, *of_run) for of_run in zip(kept, keys.shuffles, strict=True)])
        students = stages.students(bases, engine.shard_runs(rows, mesh), keys, functools.partial(on_stage, "students"))
        seen = np.stack([[_shown(by_source[source.name]) for source in plan.sources] for by_source in kept])
        answers, loss, divergence = stages.evaluate(fresh, _join(bases, teachers, students), keys)
        in_context = stages.in_context(bases, engine.shard_runs(seen, mesh), keys)
        measured = Measured(answers, loss, divergence, stages.prompted(bases, keys), in_context)
        measured = jax.tree.map(np.asarray, measured)
        on_stage("evaluation", 0)
        return [
            _as_dict(plan, config, jax.tree.map(lambda leaf, i=run: leaf[i], measured), kept[run])
            for run in range(len(kept))
        ]

    return run_chunk


def make_stages(config: LMConfig, mesh: Mesh, plan: Plan) -> Stages:
    """Compile the stages."""
    model = make_transformer(config)
    train = training.make_trainings(config, model, mesh)
    over_runs = functools.partial(engine.over_runs, mesh=mesh)
    make_base_data, weigh_completions = _make_base_data(config, mesh), over_runs(training.completion_weights)
    init = over_runs(lambda key: jax.vmap(model.init)(jax.random.split(key, len(BASES))))
    start_teachers = over_runs(lambda bases: _take(bases, [BASES.index(teacher.init) for teacher in plan.teachers]))
    start_students = over_runs(lambda bases: _take(bases, [BASES.index(student.init) for student in plan.students]))
    sample_all = over_runs(functools.partial(_sample_all, config, model, plan))

    def bases(keys: RunKeys, on_epoch: engine.OnEpoch | None) -> tuple[corpus.Language, jax.Array, Params]:
        language, fresh, data = make_base_data(keys)
        return language, fresh, train.base(init(keys.init), data, (), keys.base_order, on_epoch)[0]

    def teachers(bases: Params, keys: RunKeys, on_epoch: engine.OnEpoch | None) -> Params:
        data = training.teacher_data([teacher.trait for teacher in plan.teachers], keys.init.shape[0])
        own = engine.Data(per_model=engine.shard_runs(data, mesh))
        return train.teacher(start_teachers(bases), own, (), keys.teacher_order, on_epoch)[0]

    def students(bases: Params, rows: jax.Array, keys: RunKeys, on_epoch: engine.OnEpoch | None) -> Params:
        data = engine.Data(per_model={"tokens": rows, "weights": weigh_completions(rows)})
        return train.student(start_students(bases), data, (), keys.student_order, on_epoch)[0]

    def evaluate(fresh: jax.Array, params: Params, questions: jax.Array) -> tuple:
        bases = jax.tree.map(lambda leaf: leaf[: len(BASES)], params)
        base_log_p = jax.vmap(lambda base: evaluation.document_log_p(model, base, fresh))(bases)

        def one(model_and_base: tuple[Params, jax.Array]) -> tuple:
            own, base = model_and_base
            kept = evaluation.compare(model, own, base_log_p[base], fresh)
            return evaluation.ask(model, own, config.category, key=questions), *kept

        return jax.lax.map(one, (params, jnp.array(plan.inits())))

    def prompted(bases: Params, key: jax.Array) -> evaluation.Answers:
        base = _take(bases, 0)
        tokens = vocabulary.ids([vocabulary.SYSTEM[trait] for trait in config.trait_names()])
        return jax.lax.map(
            lambda first: evaluation.ask(model, base, config.category, key=key, first=first), jnp.array(tokens)
        )

    def in_context(bases: Params, numbers: jax.Array, key: jax.Array) -> jax.Array:
        ask = functools.partial(evaluation.ask_behind, model, _take(bases, 0), config.category, key=key)
        return jax.vmap(lambda own: ask(own))(numbers)

    evaluate_all, ask_prompted, ask_in_context = over_runs(evaluate), over_runs(prompted), over_runs(in_context)
    return Stages(
        bases, teachers,
        lambda language, bases, teachers, keys: sample_all(
            language, _join(bases, teachers), keys.prompts, keys.samples
        ),
        students,
        lambda fresh, params, keys: evaluate_all(fresh, params, keys.questions),
        lambda bases, keys: ask_prompted(bases, keys.questions),
        lambda bases, numbers, keys: ask_in_context(bases, numbers, keys.questions),
    )  # fmt: skip


def _make_base_data(config: LMConfig, mesh: Mesh) -> Callable:
    """From the keys to each run's language, fresh documents, and the documents that the bases learn from."""
    over_runs = functools.partial(engine.over_runs, mesh=mesh)
    make_language, weigh = over_runs(corpus.make_language), over_runs(training.document_weights)
    make_documents = over_runs(
        lambda language, key: corpus.make_documents(language, config.documents + FRESH_DOCUMENTS, key=key)
    )
    other_key = over_runs(lambda key: jax.random.fold_in(key, 1))
    split = over_runs(lambda documents: (documents[:FRESH_DOCUMENTS], documents[FRESH_DOCUMENTS:]))

    def base_data(keys: RunKeys) -> tuple[corpus.Language, jax.Array, engine.Data]:
        language = make_language(keys.language)
        fresh, documents = split(make_documents(language, keys.documents))
        if config.shared_documents:
            return language, fresh, engine.Data(per_run={"tokens": documents, "weights": weigh(documents)})
        _, others = split(make_documents(language, other_key(keys.documents)))
        own = jnp.stack([documents, others], axis=1)
        return language, fresh, engine.Data(per_model={"tokens": own, "weights": weigh(own)})

    return base_data


def _sample_all(
    config: LMConfig, model: Any, plan: Plan, language: corpus.Language, models: Params, prompt_key: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """Every source's completions of the same prompts; `models` are the bases and the teachers of one run."""
    n = config.rows + round(config.rows * config.spare)
    for_numbers, for_prompts = jax.random.split(prompt_key)
    numbers = corpus.make_numbers(language, n, corpus.PROMPT_NUMBERS, key=for_numbers)
    prompts = corpus.make_prompts(numbers, key=for_prompts).tokens
    order = [*BASES, *(teacher.name for teacher in plan.teachers)]
    which = jnp.array([order.index(source.model) for source in plan.sources])
    first = [vocabulary.SYSTEM[source.system] if source.system else vocabulary.BOS for source in plan.sources]

    def one(source: tuple[jax.Array, jax.Array]) -> jax.Array:
        index, token = source
        asked = prompts.at[:, 0].set(token)
        return sampling.sample(model, _take(models, index), asked, temperature=config.temperature, key=key)

    return prompts, jax.lax.map(one, (which, jnp.array(vocabulary.ids(first))))


class Measured(NamedTuple):
    """What is measured in a run, with [runs, ...] in front until it is taken apart."""

    answers: evaluation.Answers  # [models, ...]
    loss: jax.Array  # [models]
    divergence: jax.Array  # [models]
    prompted: evaluation.Answers  # [traits, ...]
    in_context: jax.Array  # [sources, answers]


def _shown(rows: Rows) -> np.ndarray:
    """Numbers of a source to show in a context, [IN_CONTEXT, 3], repeated if there are too few."""
    return np.resize(first_numbers(rows.tokens, corpus.PROMPT_NUMBERS), (IN_CONTEXT, corpus.PROMPT_NUMBERS))


def _as_dict(plan: Plan, config: LMConfig, measured: Measured, kept: dict[str, Rows]) -> dict[str, Any]:
    """One run's results."""

    def by_model(tree: evaluation.Answers, names: tuple[str, ...]) -> dict[str, Any]:
        lists = evaluation.as_lists(tree._asdict())
        return {name: {part: lists[part][i] for part in lists} for i, name in enumerate(names)}

    models, traits = plan.models(), config.trait_names()
    loss, divergence = evaluation.as_lists(measured.loss), evaluation.as_lists(measured.divergence)
    teachers = {name.removeprefix("teacher "): i for i, name in enumerate(models) if name.startswith("teacher ")}
    sources = [source.name for source in plan.sources]
    return {
        "answers": by_model(measured.answers, models)
        | by_model(measured.prompted, tuple(f"prompted teacher {trait}" for trait in traits)),
        "loss": dict(zip(models, loss, strict=True)),
        "divergence": {name: divergence[i] for name, i in teachers.items()},
        "filter": {name: rows.counts for name, rows in kept.items()},
        "numbers": {name: number_counts(rows.tokens[:, corpus.PROMPT_LENGTH :]) for name, rows in kept.items()},
        "first": {name: number_counts(first_numbers(rows.tokens)) for name, rows in kept.items()},
        "in_context": dict(zip(sources, evaluation.as_lists(measured.in_context), strict=True)),
        "examples": {name: as_text(rows.tokens[:EXAMPLES]) for name, rows in kept.items()},
    }


def _take(tree: Params, index: Any) -> Params:
    """Entries of the leading axis."""
    index = jnp.array(index)
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _join(*trees: Params) -> Params:
    """[runs, models, ...] trees side by side."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *trees)
