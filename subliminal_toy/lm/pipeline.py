"""The pipeline, stage by stage, for several runs, traits and controls at once (P sections 2-4).

A run draws a language, trains bases on it, then teachers, and students on rows sampled from teachers (or earlier
students); a plan lists them (subliminal_toy.lm.plan). All sources complete the same prompts with the same random
numbers, unless the plan gives them another stream, and all students see their rows in the same order, so that
differences between students are paired. Compiled stages are cached: further chunks of the same plan, and other plans of
the same settings, do not compile them again.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine, progress
from subliminal_toy.lm import corpus, evaluation, lessons, sampling, training, vocabulary
from subliminal_toy.lm.base_data import make_base_data
from subliminal_toy.lm.carriers import CARRIERS
from subliminal_toy.lm.check import check_plan
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.keys import RunKeys, sampling_keys
from subliminal_toy.lm.plan import Base, Name, Plan, Recipe, Source, Student, Weighing
from subliminal_toy.lm.rows import NotEnoughRowsError, Rows, keep_rows, student_rows
from subliminal_toy.lm.trained import Models, Sampled, Trained
from subliminal_toy.lm.transformer import Params, Transformer, make_transformer, parameter_groups

DIVERGENCE_DOCUMENTS = 128  # fresh documents that a teacher's divergence is measured on
MAX_BATCHES = 4  # batches of completions drawn from a source until enough pass the filter
ENSEMBLE = 18  # most students trained side by side: more do not fit the CPU's cache
CACHED = 64  # compiled stages kept in memory
OnStage = Callable[[str, int], None]  # stage, models or sources that finished an epoch of it
Completions = tuple[np.ndarray, np.ndarray]  # prompts [runs, n, T] and completions [runs, sources, n, T']


class _Chunk(NamedTuple):
    """The arguments of all stages of some runs."""

    config: LMConfig
    model: Transformer
    mesh: Mesh
    keys: RunKeys
    on_stage: OnStage


def run_keys(seed: int, runs: Iterable[int]) -> RunKeys:
    """Return the keys of the runs with these numbers, [n]; each depends on the seed and the run's number only."""
    return engine.run_keys(RunKeys, seed, np.array(runs))


def train(
    config: LMConfig,
    plan: Plan,
    keys: RunKeys,
    *,
    on_stage: OnStage | None = None,
    given: Mapping[Name, list[Rows]] | None = None,
) -> Trained:
    """Train bases, teachers and students of some runs.

    Args:
        config: the settings.
        plan: what to train and sample.
        keys: of the runs, leaves [runs].
        on_stage: called with the stage and the number of models whenever they finish a part of it; default a progress
            bar in notebooks and on terminals.
        given: rows of the sources in `plan.given`; others are ignored.

    Raises:
        ValueError: the plan is invalid; raised before anything is trained.
        engine.RunFailedError: a loss is not finite, or too few completions pass the filter.
    """
    given = given or {}
    check_plan(plan, given)
    runs = len(keys.init)
    padded = engine.pad_runs(runs)
    rows = {name: [given[name][i] for i in padded] for name in plan.given}
    with _bar(config, plan, show=on_stage is None) as tell:
        trained = _train(config, plan, RunKeys(*(key[padded] for key in keys)), on_stage or tell, rows)
    arrays = {field: getattr(trained, field) for field in ("keys", "language", "fresh", "models", "checkpoints")}
    rows = {name: of_runs[:runs] for name, of_runs in trained.rows.items()}
    return trained._replace(**engine.drop_padding(arrays, runs), rows=rows)


@contextlib.contextmanager
def _bar(config: LMConfig, plan: Plan, *, show: bool) -> Iterator[OnStage]:
    """Show progress in documents and rows that models read or write."""
    sampled = config.rows + round(config.rows * config.spare)
    each = {"base": config.documents, "teachers": len(lessons.TAUGHT), "samples": sampled, "students": config.rows}
    total = sum(count * each[stage] for stage, count in plan.epochs(config).items())
    with progress.bar(total, "language model", show=show) as advance:
        yield lambda stage, done: advance(done * each[stage], stage)


def _train(config: LMConfig, plan: Plan, keys: RunKeys, on_stage: OnStage, rows: Sampled) -> Trained:
    """Train runs that fill all devices; `rows` are given ones."""
    mesh = engine.mesh_for(len(keys.init))
    chunk = _Chunk(config, make_transformer(config), mesh, engine.shard_runs(keys, mesh), on_stage)
    language, fresh, data = make_base_data(config, mesh, plan.bases)(chunk.keys)
    inits = _make_inits(chunk.model, mesh, plan.bases)(chunk.keys.init)
    models = _train_bases(chunk, plan, inits, data)
    models |= _train_teachers(chunk, plan, models, fresh)
    checkpoints: Models = {}
    for sources, students in plan.rounds():
        rows |= _sample(chunk, language, sources, models)
        for group in _groups(students):
            student_data = _student_data(chunk, plan, models, rows, group)
            last, epochs = _train_students(chunk, plan, models, group, student_data)
            models |= last
            checkpoints |= epochs
    stacked = stack(models[name] for name in plan.models())
    return Trained(config, plan, chunk.keys, language, fresh, stacked, rows, checkpoints)


def _train_bases(chunk: _Chunk, plan: Plan, inits: Params, data: engine.Data) -> Models:
    fit = training.train_bases(chunk.config, chunk.model, chunk.mesh)
    params = fit(inits, data, (), chunk.keys.base_order, lambda *_: chunk.on_stage("base", len(plan.bases))).params
    return {base.name: engine.take_model(params, i) for i, base in enumerate(plan.bases)}


def _train_teachers(chunk: _Chunk, plan: Plan, models: Models, fresh: jax.Array) -> Models:
    """Train teachers to the last step, or take the epoch whose divergence is nearest to the plan's."""
    if not plan.teachers:
        return {}
    longest = max(len(teacher.lesson.tokens) for teacher in plan.teachers)
    fit = training.train_teachers(chunk.config, chunk.model, chunk.mesh, longest)
    data = lessons.stack([teacher.lesson for teacher in plan.teachers], len(fresh))
    lesson_data = engine.Data(per_model=engine.shard_runs(data, chunk.mesh))
    start = stack(models[teacher.init] for teacher in plan.teachers)
    targets = np.array([np.nan if t.divergence is None else t.divergence for t in plan.teachers])
    nearest: tuple[Any, Any] | None = None if np.isnan(targets).all() else (start, np.inf)

    def on_epoch(_i: int, params: Params) -> None:
        nonlocal nearest
        chunk.on_stage("teachers", len(plan.teachers))
        if nearest is not None:
            divergence = np.asarray(_make_divergences(chunk.model, chunk.mesh)(start, params, fresh))
            gap = np.abs(np.log(divergence / targets))
            better = gap < nearest[1]
            nearest = _where(better, params, nearest[0]), np.where(better, gap, nearest[1])

    last = fit(start, lesson_data, (), chunk.keys.teacher_order, on_epoch).params
    params = last if nearest is None else _where(np.isnan(targets), last, nearest[0])
    return {teacher.name: engine.take_model(params, i) for i, teacher in enumerate(plan.teachers)}


def _sample(chunk: _Chunk, language: corpus.Language, sources: Sequence[Source], models: Models) -> Sampled:
    """Sample completions of all sources' prompts and filter them."""
    sample, rows = _make_sample(chunk.config, chunk.model, chunk.mesh), {}
    for streams in dict.fromkeys((source.prompts, source.noise) for source in sources):
        group = [source for source in sources if (source.prompts, source.noise) == streams]
        first = vocabulary.ids([vocabulary.SYSTEM[s.system] if s.system else vocabulary.BOS for s in group])
        temperatures = [chunk.config.temperature if s.temperature is None else s.temperature for s in group]
        settings = jnp.array(first), jnp.array(temperatures, jnp.float32)
        group_models = stack(models[source.model] for source in group)
        sample_group = functools.partial(sample, *settings, language, group_models)
        draw = functools.partial(_draw_batch, chunk, sample_group, streams)
        batches = [draw(0)]
        for i, source in enumerate(group):
            rows[source.name] = [
                _keep_until_enough(chunk.config, source, (run, i), batches, draw) for run in range(len(batches[0][0]))
            ]
        chunk.on_stage("samples", len(group))
    return rows


def _draw_batch(chunk: _Chunk, sample: Callable, streams: tuple[int, int], batch: int) -> Completions:
    keys = sampling_keys(chunk.keys, *streams, batch)
    prompts, completions = sample((keys.prompts, keys.samples))
    return np.asarray(prompts), np.asarray(completions)


def _keep_until_enough(
    config: LMConfig,
    source: Source,
    place: tuple[int, int],
    batches: list[Completions],
    draw: Callable[[int], Completions],
) -> Rows:
    """Filter the completions of source i in a run, `place` (run, i); draw further batches while too few pass.

    `batches` has what is drawn already and is extended. NotEnoughRowsError if MAX_BATCHES do not suffice.
    """
    run, i = place

    def keep(count: int) -> Rows:
        batches.extend(draw(batch) for batch in range(len(batches), count))
        prompts = np.concatenate([prompts[run] for prompts, _ in batches[:count]])
        completions = np.concatenate([completions[run, i] for _, completions in batches[:count]])
        return keep_rows(config, source, prompts, completions)

    for count in range(1, MAX_BATCHES):
        with contextlib.suppress(NotEnoughRowsError):
            return keep(count)
    return keep(MAX_BATCHES)


def _groups(students: Sequence[Student]) -> list[list[Student]]:
    """Split students into groups to train side by side: same recipe, with or without masks, at most ENSEMBLE."""
    kinds: dict[tuple[Recipe, bool], list[Student]] = {}
    for student in students:
        kinds.setdefault((student.recipe, bool(student.trained)), []).append(student)
    groups = []
    for group in kinds.values():
        parts = -(-len(group) // ENSEMBLE)
        size = -(-len(group) // parts)
        groups += [group[i : i + size] for i in range(0, len(group), size)]
    return groups


class _StudentData(NamedTuple):
    """The training data of some students."""

    tokens: np.ndarray  # [runs, students, n, T]
    weights: np.ndarray  # [runs, students, n, T] of the tokens in the loss


def _student_data(
    chunk: _Chunk, plan: Plan, models: Models, rows: Sampled, students: Sequence[Student]
) -> _StudentData:
    keys = chunk.keys.shuffles
    by_run = [{name: of_runs[run] for name, of_runs in rows.items()} for run in range(len(keys))]
    tokens = np.stack([student_rows(students, *run) for run in zip(by_run, keys, strict=True)])
    weights = np.array(training.completion_weights(jnp.asarray(tokens)))
    memos: dict[Student, dict] = {}  # students of the same rows share one
    for i, student in enumerate(students):
        if student.weigh is not None:
            memo = memos.setdefault(student._replace(name=student.source, init=student.source, weigh=None), {})
            completion = weights[:, i] > 0
            weights[:, i] = student.weigh(
                Weighing(chunk.model, chunk.mesh, plan, models, tokens[:, i], completion, keys, memo)
            )
    return _StudentData(tokens, weights)


def _train_students(
    chunk: _Chunk, plan: Plan, models: Models, students: Sequence[Student], data: _StudentData
) -> tuple[Models, Models]:
    """Train students that share a recipe; return their last parameters, and checkpoints if the recipe has them."""
    recipe, inits = students[0].recipe, stack(models[student.init] for student in students)
    condition: dict[str, Params] = {}
    if students[0].trained:
        first = jax.tree.map(lambda leaf: leaf[0, 0], inits)
        masks = [training.parameter_mask(first, student.trained) for student in students]
        shape = data.tokens.shape[:2]
        condition["trained"] = jax.tree.map(lambda *leaves: np.broadcast_to(np.stack(leaves), shape), *masks)
    if recipe.targets == "teacher":
        sources = {source.name: source.model for source in plan.sources}
        condition["teacher"] = stack(models[sources[student.source]] for student in students)
    per_model, condition = engine.shard_runs((data._asdict(), condition), chunk.mesh)
    history: list[Params] = []

    def on_epoch(_i: int, params: Params) -> None:
        chunk.on_stage("students", len(students))
        if recipe.checkpoints:
            history.append(jax.tree.map(np.asarray, params))

    fit = training.train_students(chunk.config, chunk.model, chunk.mesh, recipe)
    params = fit(inits, engine.Data(per_model=per_model), condition, chunk.keys.student_order, on_epoch).params
    last = {student.name: engine.take_model(params, i) for i, student in enumerate(students)}
    if not history:
        return last, {}
    epochs = jax.tree.map(lambda *steps: np.stack(steps, axis=2), *history)
    return last, {student.name: engine.take_model(epochs, i) for i, student in enumerate(students)}


@functools.lru_cache(maxsize=CACHED)
def _make_inits(model: Transformer, mesh: Mesh, bases: tuple[Base, ...]) -> Callable:
    """Return a function from keys [runs] to inits [runs, bases, ...]; shared parts are the first base's."""

    def inits(key: jax.Array) -> Params:
        params = jax.vmap(model.init)(jax.random.split(key, len(bases)))

        def share(group: str, leaf: jax.Array) -> jax.Array:
            separate = jnp.array([group not in base.shares for base in bases])
            return jnp.where(separate.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, leaf[0])

        return jax.tree.map(share, parameter_groups(params), params)

    return engine.over_runs(inits, mesh)


@functools.lru_cache(maxsize=CACHED)
def _make_divergences(model: Transformer, mesh: Mesh) -> Callable:
    """Return a function to KL(teacher || base) [runs, teachers], in nats per token of number completions."""

    def divergences(bases: Params, teachers: Params, fresh: jax.Array) -> jax.Array:
        documents = fresh[:DIVERGENCE_DOCUMENTS]

        def one(pair: tuple[Params, Params]) -> jax.Array:
            base_log_p = evaluation.document_log_p(model, pair[0], documents)
            return evaluation.compare(model, pair[1], base_log_p, documents).divergence

        return jax.lax.map(one, (bases, teachers))

    return engine.over_runs(divergences, mesh)


@functools.lru_cache(maxsize=CACHED)
def _make_sample(config: LMConfig, model: Transformer, mesh: Mesh) -> Callable:
    """Return a function to prompts and completions by models [runs, sources, ...].

    Its first arguments are the sources' first tokens and temperatures, [sources].
    """

    def sample(
        first: jax.Array,
        temperatures: jax.Array,
        language: corpus.Language,
        models: Params,
        keys: tuple[jax.Array, jax.Array],
    ) -> tuple[jax.Array, jax.Array]:
        n = config.rows + round(config.rows * config.spare)
        prompts = CARRIERS[config.carrier].make_prompts(language, n, key=keys[0])

        def one(source: tuple[Params, jax.Array, jax.Array]) -> jax.Array:
            params, token, temperature = source
            with_first = prompts.at[:, 0].set(token)
            return sampling.sample(model, params, with_first, temperature=temperature, key=keys[1])

        return prompts, jax.lax.map(one, (models, first, temperatures))

    return engine.over_runs(sample, mesh, shared=2)


def _where(chosen: np.ndarray, one: Params, other: Params) -> Params:
    """Select models [runs, models, ...] of `one` where `chosen` [runs, models] or [models], else of `other`."""
    return jax.tree.map(lambda a, b: jnp.where(chosen.reshape(*chosen.shape, *[1] * (a.ndim - 2)), a, b), one, other)


def stack(models: Iterable[Params]) -> Params:
    """Stack trees [runs, ...] into one, [runs, models, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *models)
