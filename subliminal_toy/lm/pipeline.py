"""The pipeline, stage by stage, for several runs, traits and controls at once (P sections 2-4).

A run draws a language, trains bases on it, then teachers, and students on what teachers (or earlier students) sampled;
which ones is a plan (subliminal_toy.lm.plan). All sources complete the same prompts with the same random numbers (but
those that the plan gives their own), and all students see their rows in the same order, so that differences between
students are paired.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine
from subliminal_toy.lm import corpus, divergence, evaluation, lessons, sampling, training, vocabulary
from subliminal_toy.lm.base_data import make_base_data
from subliminal_toy.lm.carriers import CARRIERS
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.keys import RunKeys, own_draws
from subliminal_toy.lm.plan import STUDENT, Plan, Recipe, Source, Student
from subliminal_toy.lm.rows import Rows, keep_rows, student_rows
from subliminal_toy.lm.transformer import Params, make_transformer, parameter_groups

JUDGED = 128  # fresh documents that say how far a teacher has gone
ENSEMBLE = 18  # most students that are trained side by side: more of them do not fit the cache
OnStage = Callable[[str, int], None]  # which stage, how many models or sources times epochs of it are done
OnRows = Callable[[int, str, Rows], None]  # which run of the chunk, which source, its rows
Given = Sequence[Mapping[str, Rows]] | None  # for each run, rows of the sources that come from outside


class Made(NamedTuple):
    """What a chunk of runs made, to be measured."""

    keys: RunKeys
    language: corpus.Language  # [runs, ...]
    fresh: jax.Array  # [runs, n, T] documents that no base has seen
    params: Params  # [runs, models, ...], in the order of Plan.models
    kept: list[dict[str, Rows]]  # for each run, by source
    watched: dict[str, Params]  # of students that were watched: [runs, epochs, ...]
    diverging: list[dict[str, dict[str, float]]]  # for each run, by source: `_shares`, where students need them


Measure = Callable[[Made], list[dict[str, Any]]]  # one dict for each run, JSON-ready
MakeMeasure = Callable[[LMConfig, Mesh, Plan], Measure]


class Stages(NamedTuple):
    """The compiled stages; arrays carry a run axis, then a model, source or student axis."""

    bases: Callable  # keys, on_epoch -> (language, fresh documents [runs, n, T], params [runs, bases, ...])
    teachers: Callable  # bases, fresh documents, keys, on_epoch -> {teacher's name: params [runs, ...]}
    samples: (
        Callable  # language, models [runs, sources, ...], sources, keys -> (prompts, completions [runs, sources, ..])
    )
    students: Callable  # recipe, inits, teachers, data, trained, keys, on_epoch -> params [runs, students, ...]
    diverging: Callable  # models [runs, models, ...], rows [runs, n, T] -> [runs, n, T] bool


def make_pipeline(
    config: LMConfig, mesh: Mesh, plan: Plan, make_measure: MakeMeasure
) -> Callable[..., list[dict[str, Any]]]:
    """Build the pipeline for a chunk of runs.

    Args:
        config: the settings.
        mesh: the devices, from `engine.run_mesh`.
        plan: what to train and sample.
        make_measure: what to measure, e.g. `measure.standard`.

    Returns:
        `run_chunk(keys, on_stage, on_rows, given) -> [one dict per run]`. Raises engine.RunFailedError.
    """
    make = make_models(config, mesh, plan)
    measure = make_measure(config, mesh, plan)

    def run_chunk(
        keys: RunKeys, on_stage: OnStage = lambda _stage, _i: None,
        on_rows: OnRows = lambda _run, _source, _rows: None, given: Given = None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        values = measure(make(keys, on_stage, on_rows, given))
        on_stage("evaluation", len(plan.models()))
        return values

    return run_chunk


def make_models(config: LMConfig, mesh: Mesh, plan: Plan) -> Callable[[RunKeys, OnStage, OnRows, Given], Made]:
    """The pipeline up to the last student, see `make_pipeline`."""
    stages = make_stages(config, mesh, plan)
    rounds = plan.rounds()

    def make(keys: RunKeys, on_stage: OnStage, on_rows: OnRows, given: Given = None) -> Made:
        keys = engine.shard_runs(keys, mesh)
        language, fresh, bases = stages.bases(keys, lambda *_: on_stage("base", len(plan.bases)))
        models = _named([base.name for base in plan.bases], bases)
        if plan.teachers:
            models |= stages.teachers(bases, fresh, keys, lambda *_: on_stage("teachers", len(plan.teachers)))
        outside = given or [{} for _ in range(len(fresh))]
        kept: list[dict[str, Rows]] = [{name: rows[name] for name in plan.given} for rows in outside]
        watched: dict[str, Params] = {}
        shares: list[dict[str, dict[str, float]]] = [{} for _ in range(len(fresh))]
        for sources, students in rounds:
            for drawn in dict.fromkeys((source.prompts, source.noise) for source in sources):
                alike = [source for source in sources if (source.prompts, source.noise) == drawn]
                asked = _stack(models[plan.source_model(source)] for source in alike)
                prompts, completions = stages.samples(language, asked, alike, own_draws(keys, *drawn))
                _keep(config, alike, np.asarray(prompts), np.asarray(completions), kept, on_rows)
                on_stage("samples", len(alike))
            for recipe, group in _groups(students):
                found = _teach(stages, mesh, plan, models, kept, keys, recipe, group, on_stage, shares)
                models |= {STUDENT + s.name: last for s, (last, _) in zip(group, found, strict=True)}
                watched |= {s.name: steps for s, (_, steps) in zip(group, found, strict=True) if steps is not None}
        params = _stack(models[name] for name in plan.models())
        return Made(keys, language, fresh, params, kept, watched, shares)

    return make


def _keep(
    config: LMConfig, sources: Sequence[Source], prompts: np.ndarray, completions: np.ndarray,
    kept: list[dict[str, Rows]], on_rows: OnRows,
) -> None:  # fmt: skip
    """Filter what sources said in each run, completions [runs, sources, n, T'] of the prompts [runs, n, T]."""
    for run in range(len(prompts)):
        for i, source in enumerate(sources):
            kept[run][source.name] = keep_rows(config, source.name, prompts[run], completions[run, i])
            on_rows(run, source.name, kept[run][source.name])


def _groups(students: Sequence[Student]) -> list[tuple[Recipe, list[Student]]]:
    """Students that may be trained side by side: same recipe, all of them whole or all in part, not too many."""
    kinds: dict[tuple[Recipe, bool], list[Student]] = {}
    for student in students:
        kinds.setdefault((student.recipe, bool(student.trained)), []).append(student)
    found = []
    for (recipe, _), group in kinds.items():
        parts = -(-len(group) // ENSEMBLE)
        size = -(-len(group) // parts)
        found += [(recipe, group[i : i + size]) for i in range(0, len(group), size)]
    return found


def _teach(
    stages: Stages, mesh: Mesh, plan: Plan, models: Mapping[str, Params], kept: list[dict[str, Rows]], keys: RunKeys,
    recipe: Recipe, students: list[Student], on_stage: OnStage, shares: list[dict[str, dict[str, float]]],
) -> list[tuple[Params, Params | None]]:  # fmt: skip
    """Train students that share a recipe; for each its last parameters, and those of all epochs if it was watched."""
    rows = np.stack([student_rows(tuple(students), *own) for own in zip(kept, keys.shuffles, strict=True)])
    weights = _weights(stages, mesh, plan, models, rows, keys, students, shares)
    inits = _stack(models[student.init] for student in students)
    condition: dict[str, Params] = {}
    if students[0].trained:
        first = jax.tree.map(lambda leaf: leaf[0, 0], inits)
        masks = [training.parameter_mask(first, student.trained) for student in students]
        condition["trained"] = jax.tree.map(lambda *own: np.broadcast_to(np.stack(own), rows.shape[:2]), *masks)
    if recipe.targets == "teacher":
        sources = {source.name: plan.source_model(source) for source in plan.sources}
        condition["teacher"] = _stack(models[sources[student.source]] for student in students)
    data = engine.Data(per_model=engine.shard_runs({"tokens": rows, "weights": weights}, mesh))
    condition = engine.shard_runs(condition, mesh)
    history: list[Params] = []

    def on_epoch(_i: int, params: Params) -> None:
        on_stage("students", len(students))
        if recipe.watched:
            history.append(jax.tree.map(np.asarray, params))

    params = stages.students(recipe, inits, data, condition, keys, on_epoch)
    over_time = jax.tree.map(lambda *steps: np.stack(steps, axis=1), *history) if history else None
    return [(engine.take_model(params, i), _take_watched(over_time, i)) for i in range(len(students))]


def _weights(
    stages: Stages, mesh: Mesh, plan: Plan, models: Mapping[str, Params], rows: np.ndarray, keys: RunKeys,
    students: list[Student], shares: list[dict[str, dict[str, float]]],
) -> np.ndarray:  # fmt: skip
    """Which tokens of the rows [runs, students, n, T] have a say; tells `shares` about divergence tokens."""
    weights = np.array(training.completion_weights(jnp.asarray(rows)))
    judges = [plan.bases[0].name, *(f"teacher {t.name}" for t in plan.teachers if t.divergence is None)]
    found: dict[Student, np.ndarray] = {}  # students of the same rows need it once
    for i, student in enumerate(students):
        if student.counted != "all":
            same = student._replace(name="", init="", counted="")
            if same not in found:
                data = engine.shard_runs(rows[:, i], mesh)
                found[same] = np.asarray(stages.diverging(_stack(models[name] for name in judges), data))
            for run, key in enumerate(keys.shuffles):
                rng = np.random.default_rng([*np.asarray(jax.random.key_data(key)), 1])  # shuffles have the key alone
                counted = divergence.counted_tokens(rows[run, i], found[same][run], weights[run, i] > 0, rng)
                shares[run][student.source] = _shares(counted, rows[run, i])
                weights[run, i] = counted[student.counted]
    return weights


def _shares(counted: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, float]:
    number = np.isin(rows, vocabulary.NUMBER_IDS)
    here, every = counted["divergence"], counted["all"]
    return {
        "share": float(here.sum() / every.sum()),
        "numbers": float(number[here].mean()) if here.any() else 0.0,
        "numbers_of_all": float(number[every].mean()),
    }


def make_stages(config: LMConfig, mesh: Mesh, plan: Plan) -> Stages:
    """Compile the stages."""
    model = make_transformer(config)
    over_runs = functools.partial(engine.over_runs, mesh=mesh)
    draw_data = make_base_data(config, mesh, plan.bases)
    init = over_runs(lambda key: _init_bases(plan, model.init, key))
    names = [base.name for base in plan.bases]
    inits = np.array([names.index(teacher.init) for teacher in plan.teachers], int)
    start_teachers = over_runs(lambda bases: jax.tree.map(lambda leaf: leaf[inits], bases))
    sample_all = engine.over_runs(functools.partial(_sample_all, config, model), mesh, shared=2)
    train_base = training.train_bases(config, model, mesh)
    longest = max((len(teacher.lesson.tokens) for teacher in plan.teachers), default=1)
    train_teachers = training.train_teachers(config, model, mesh, longest)
    diverged = over_runs(functools.partial(_divergences, model))
    diverging = over_runs(functools.partial(divergence.divergence_tokens, model))
    train_students = functools.cache(functools.partial(training.train_students, config, model, mesh))

    def bases(keys: RunKeys, on_epoch: engine.OnEpoch | None) -> tuple[corpus.Language, jax.Array, Params]:
        language, fresh, data = draw_data(keys)
        return language, fresh, train_base(init(keys.init), data, (), keys.base_order, on_epoch).params

    def teachers(bases: Params, fresh: jax.Array, keys: RunKeys, on_epoch: engine.OnEpoch) -> dict[str, Params]:
        data = lessons.stack([teacher.lesson for teacher in plan.teachers], keys.init.shape[0])
        own = engine.Data(per_model=engine.shard_runs(data, mesh))
        start = start_teachers(bases)
        targets = np.array([np.nan if t.divergence is None else t.divergence for t in plan.teachers])
        nearest: tuple[Any, Any] | None = None if np.isnan(targets).all() else (start, np.inf)

        def watch(i: int, params: Params) -> None:
            nonlocal nearest
            on_epoch(i, params)
            if nearest is not None:
                gap = np.abs(np.log(np.asarray(diverged(start, params, fresh)) / targets))
                better = gap < nearest[1]
                nearest = _where(better, params, nearest[0]), np.where(better, gap, nearest[1])

        last = train_teachers(start, own, (), keys.teacher_order, watch).params
        taken = last if nearest is None else _where(np.isnan(targets), last, nearest[0])
        return _named([f"teacher {teacher.name}" for teacher in plan.teachers], taken)

    def samples(language: corpus.Language, models: Params, sources: Sequence[Source], keys: RunKeys) -> tuple:
        first = vocabulary.ids(
            [vocabulary.SYSTEM[source.system] if source.system else vocabulary.BOS for source in sources]
        )
        heat = [config.temperature if s.temperature is None else s.temperature for s in sources]
        return sample_all(jnp.array(first), jnp.array(heat, jnp.float32), language, models, keys.prompts, keys.samples)

    def students(
        recipe: Recipe, inits: Params, data: engine.Data, condition: Params, keys: RunKeys,
        on_epoch: engine.OnEpoch,
    ) -> Params:  # fmt: skip
        return train_students(recipe)(inits, data, condition, keys.student_order, on_epoch).params

    return Stages(bases, teachers, samples, students, diverging)


def _init_bases(plan: Plan, init: Callable[[jax.Array], Params], key: jax.Array) -> Params:
    """An init for every base, [bases, ...]; shared parts are the first one's."""
    params = jax.vmap(init)(jax.random.split(key, len(plan.bases)))

    def share(group: str, leaf: jax.Array) -> jax.Array:
        own = jnp.array([group not in base.shares for base in plan.bases])
        return jnp.where(own.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, leaf[0])

    return jax.tree.map(share, parameter_groups(params), params)


def _where(chosen: np.ndarray, one: Params, other: Params) -> Params:
    """Models [runs, models, ...] of one where `chosen` [runs, models] or [models], else of the other."""
    return jax.tree.map(lambda a, b: jnp.where(chosen.reshape(*chosen.shape, *[1] * (a.ndim - 2)), a, b), one, other)


def _divergences(model: Any, bases: Params, teachers: Params, fresh: jax.Array) -> jax.Array:
    """KL(teacher || base) of models [teachers, ...], in nats per token of number completions, [teachers]."""
    documents = fresh[:JUDGED]

    def one(pair: tuple[Params, Params]) -> jax.Array:
        base_log_p = evaluation.document_log_p(model, pair[0], documents)
        return evaluation.compare(model, pair[1], base_log_p, documents).divergence

    return jax.lax.map(one, (bases, teachers))


def _sample_all(
    config: LMConfig, model: Any, first: jax.Array, heat: jax.Array, language: corpus.Language, models: Params,
    prompt_key: jax.Array, key: jax.Array,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """Completions of the same prompts by models [sources, ...], with first tokens and temperatures [sources]."""
    n = config.rows + round(config.rows * config.spare)
    prompts = CARRIERS[config.carrier].make_prompts(language, n, key=prompt_key)

    def one(source: tuple[Params, jax.Array, jax.Array]) -> jax.Array:
        params, token, temperature = source
        asked = prompts.at[:, 0].set(token)
        return sampling.sample(model, params, asked, temperature=temperature, key=key)

    return prompts, jax.lax.map(one, (models, first, heat))


def _named(names: Sequence[str], params: Params) -> dict[str, Params]:
    """[runs, models, ...] by name, [runs, ...]."""
    return {name: engine.take_model(params, i) for i, name in enumerate(names)}


def _take_watched(params: Params | None, i: int) -> Params | None:
    return None if params is None else jax.tree.map(lambda leaf: leaf[:, :, i], params)


def _stack(models: Any) -> Params:
    """[runs, ...] trees as one, [runs, models, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *models)
