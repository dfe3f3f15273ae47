"""The pipeline, stage by stage, for several runs, traits and controls at once (P sections 2-4).

A run draws a language, trains bases on it, then teachers, and students on what teachers (or earlier students) sampled;
which ones is a plan (subliminal_toy.lm.plan). All sources complete the same prompts with the same random numbers (but
those that the plan gives their own), and all students see their rows in the same order, so that differences between
students are paired. What a stage compiles is kept: further chunks of the same plan, and other plans of the same
settings, do not compile it again.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine
from subliminal_toy.lm import corpus, evaluation, lessons, sampling, training, vocabulary
from subliminal_toy.lm.base_data import make_base_data
from subliminal_toy.lm.carriers import CARRIERS
from subliminal_toy.lm.check import check_plan
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.keys import RunKeys, own_draws
from subliminal_toy.lm.plan import Base, Name, Plan, Recipe, Source, Student, Weighing
from subliminal_toy.lm.rows import NotEnoughRowsError, Rows, keep_rows, student_rows
from subliminal_toy.lm.transformer import Params, Transformer, make_transformer, parameter_groups

JUDGED = 128  # fresh documents that say how far a teacher has gone
ASKED = 4  # how often a source is asked for completions, where too few of the first ones pass the filter
ENSEMBLE = 18  # most students that are trained side by side: more of them do not fit the cache
CACHED = 64  # compiled stages that are kept
OnStage = Callable[[str, int], None]  # which stage, how many models or sources times epochs of it are done
Models = dict[Name, Params]  # [runs, ...] each
Sampled = dict[Name, list[Rows]]  # one for each run
Said = tuple[np.ndarray, np.ndarray]  # prompts [runs, n, T] and what sources say to them [runs, sources, n, T']


class Trained(NamedTuple):
    """All models of some runs, and how they came about."""

    config: LMConfig
    plan: Plan
    keys: RunKeys
    language: corpus.Language  # [runs, ...]
    fresh: jax.Array  # [runs, n, T] documents that no base has seen
    models: Params  # [runs, models, ...], in the order of Plan.models
    rows: Sampled  # what each source said and students may be trained on
    watched: Models  # of students that were watched: [runs, epochs, ...]

    def __repr__(self) -> str:
        """What was trained, without the arrays."""
        names = ", ".join(str(model) for model in self.plan.models())
        return f"<lm.Trained: {self.keys.init.shape[0]} runs of {names}>"

    def params(self, name: Name | str) -> Params:
        """The parameters of one of the plan's models, by its name or the text of it, [runs, ...].

        ValueError for a model that the plan does not have.
        """
        known = [str(model) for model in self.plan.models()]
        if str(name) not in known:
            raise ValueError(f"there is no model '{name}'; these were trained: {', '.join(known)}")
        return engine.take_model(self.models, known.index(str(name)))

    @property
    def mesh(self) -> Mesh:
        """The devices that the runs lie on."""
        return engine.mesh_for(self.keys.init.shape[0])


class _Chunk(NamedTuple):
    """What all stages of some runs need."""

    config: LMConfig
    model: Transformer
    mesh: Mesh
    keys: RunKeys
    on_stage: OnStage


def run_keys(seed: int, runs: Iterable[int]) -> RunKeys:
    """The keys of the runs with these numbers, [n]: functions of the seed and a run's own number, of nothing else."""
    return engine.run_keys(RunKeys, seed, np.array(runs))


def train(
    config: LMConfig,
    plan: Plan,
    keys: RunKeys,
    *,
    on_stage: OnStage = lambda _stage, _done: None,
    given: Mapping[Name, list[Rows]] | None = None,
) -> Trained:
    """Train bases, teachers and students of some runs.

    Args:
        config: the settings.
        plan: what to train and sample.
        keys: of the runs, leaves [runs].
        on_stage: told of every step of the way.
        given: the rows that the plan wants from outside; others are not looked at.

    Raises:
        ValueError: the plan names what there is not; that is said before anything is trained.
        engine.RunFailedError: a loss was not finite, or too few completions passed the filter.
    """
    check_plan(plan, given or {})
    mesh = engine.mesh_for(keys.init.shape[0])
    chunk = _Chunk(config, make_transformer(config), mesh, engine.shard_runs(keys, mesh), on_stage)
    language, fresh, data = make_base_data(config, mesh, plan.bases)(chunk.keys)
    inits = _make_inits(chunk.model, mesh, plan.bases)(chunk.keys.init)
    models = _train_bases(chunk, plan, inits, data)
    models |= _train_teachers(chunk, plan, models, fresh)
    rows: Sampled = {name: (given or {})[name] for name in plan.given}
    watched: Models = {}
    for sources, students in plan.rounds():
        rows |= _sample(chunk, language, sources, models)
        for group in _groups(students):
            taught = _lessons(chunk, plan, models, rows, group)
            last, epochs = _train_students(chunk, plan, models, group, taught)
            models |= last
            watched |= epochs
    every = stack(models[name] for name in plan.models())
    return Trained(config, plan, chunk.keys, language, fresh, every, rows, watched)


def _train_bases(chunk: _Chunk, plan: Plan, inits: Params, data: engine.Data) -> Models:
    fit = training.train_bases(chunk.config, chunk.model, chunk.mesh)
    params = fit(inits, data, (), chunk.keys.base_order, lambda *_: chunk.on_stage("base", len(plan.bases))).params
    return {base.name: engine.take_model(params, i) for i, base in enumerate(plan.bases)}


def _train_teachers(chunk: _Chunk, plan: Plan, models: Models, fresh: jax.Array) -> Models:
    """Teachers after their last step, or where their divergence was nearest to what the plan wants."""
    if not plan.teachers:
        return {}
    longest = max(len(teacher.lesson.tokens) for teacher in plan.teachers)
    fit = training.train_teachers(chunk.config, chunk.model, chunk.mesh, longest)
    data = lessons.stack([teacher.lesson for teacher in plan.teachers], len(fresh))
    own = engine.Data(per_model=engine.shard_runs(data, chunk.mesh))
    start = stack(models[teacher.init] for teacher in plan.teachers)
    targets = np.array([np.nan if t.divergence is None else t.divergence for t in plan.teachers])
    nearest: tuple[Any, Any] | None = None if np.isnan(targets).all() else (start, np.inf)

    def watch(_i: int, params: Params) -> None:
        nonlocal nearest
        chunk.on_stage("teachers", len(plan.teachers))
        if nearest is not None:
            gone = np.asarray(_make_divergences(chunk.model, chunk.mesh)(start, params, fresh))
            gap = np.abs(np.log(gone / targets))
            better = gap < nearest[1]
            nearest = _where(better, params, nearest[0]), np.where(better, gap, nearest[1])

    last = fit(start, own, (), chunk.keys.teacher_order, watch).params
    taken = last if nearest is None else _where(np.isnan(targets), last, nearest[0])
    return {teacher.name: engine.take_model(taken, i) for i, teacher in enumerate(plan.teachers)}


def _sample(chunk: _Chunk, language: corpus.Language, sources: Sequence[Source], models: Models) -> Sampled:
    """What sources say to their prompts, as far as it passes the filter."""
    sample, rows = _make_sample(chunk.config, chunk.model, chunk.mesh), {}
    for drawn in dict.fromkeys((source.prompts, source.noise) for source in sources):
        alike = [source for source in sources if (source.prompts, source.noise) == drawn]
        first = vocabulary.ids([vocabulary.SYSTEM[s.system] if s.system else vocabulary.BOS for s in alike])
        heat = [chunk.config.temperature if s.temperature is None else s.temperature for s in alike]
        how = jnp.array(first), jnp.array(heat, jnp.float32)
        asked = stack(models[source.model] for source in alike)
        ask = functools.partial(_ask, chunk, functools.partial(sample, *how, language, asked), drawn)
        said = [ask(0)]
        for i, source in enumerate(alike):
            rows[source.name] = [_enough(chunk.config, source, (run, i), said, ask) for run in range(len(said[0][0]))]
        chunk.on_stage("samples", len(alike))
    return rows


def _ask(chunk: _Chunk, sample: Callable, drawn: tuple[int, int], more: int) -> Said:
    keys = own_draws(chunk.keys, *drawn, more)
    prompts, completions = sample((keys.prompts, keys.samples))
    return np.asarray(prompts), np.asarray(completions)


def _enough(
    config: LMConfig, source: Source, place: tuple[int, int], said: list[Said], ask: Callable[[int], Said],
    asked: int = 1,
) -> Rows:  # fmt: skip
    """The rows of a source in a run; where too few pass the filter, of more completions (NotEnoughRowsError)."""
    run, i = place
    prompts = np.concatenate([prompts[run] for prompts, _ in said[:asked]])
    completions = np.concatenate([completions[run, i] for _, completions in said[:asked]])
    try:
        return keep_rows(config, source, prompts, completions)
    except NotEnoughRowsError:
        if asked == ASKED:
            raise
    said += [ask(more) for more in range(len(said), asked + 1)]
    return _enough(config, source, place, said, ask, asked + 1)


def _groups(students: Sequence[Student]) -> list[list[Student]]:
    """Students that may be trained side by side: same recipe, all of them whole or all in part, not too many."""
    kinds: dict[tuple[Recipe, bool], list[Student]] = {}
    for student in students:
        kinds.setdefault((student.recipe, bool(student.trained)), []).append(student)
    found = []
    for group in kinds.values():
        parts = -(-len(group) // ENSEMBLE)
        size = -(-len(group) // parts)
        found += [group[i : i + size] for i in range(0, len(group), size)]
    return found


class _Lessons(NamedTuple):
    """What some students are trained on."""

    tokens: np.ndarray  # [runs, students, n, T]
    weights: np.ndarray  # of the tokens in the loss


def _lessons(chunk: _Chunk, plan: Plan, models: Models, rows: Sampled, students: Sequence[Student]) -> _Lessons:
    keys = chunk.keys.shuffles
    by_run = [{name: own[run] for name, own in rows.items()} for run in range(len(keys))]
    tokens = np.stack([student_rows(students, *own) for own in zip(by_run, keys, strict=True)])
    weights = np.array(training.completion_weights(jnp.asarray(tokens)))
    memos: dict[Student, dict] = {}  # students of the same rows share one
    for i, student in enumerate(students):
        if student.weigh is not None:
            memo = memos.setdefault(student._replace(name=student.source, init=student.source, weigh=None), {})
            completion = weights[:, i] > 0
            weights[:, i] = student.weigh(
                Weighing(chunk.model, chunk.mesh, plan, models, tokens[:, i], completion, keys, memo)
            )
    return _Lessons(tokens, weights)


def _train_students(
    chunk: _Chunk, plan: Plan, models: Models, students: Sequence[Student], taught: _Lessons
) -> tuple[Models, Models]:
    """Train students that share a recipe; their last parameters, and those of all epochs of those that are watched."""
    recipe, inits = students[0].recipe, stack(models[student.init] for student in students)
    condition: dict[str, Params] = {}
    if students[0].trained:
        first = jax.tree.map(lambda leaf: leaf[0, 0], inits)
        masks = [training.parameter_mask(first, student.trained) for student in students]
        shape = taught.tokens.shape[:2]
        condition["trained"] = jax.tree.map(lambda *own: np.broadcast_to(np.stack(own), shape), *masks)
    if recipe.targets == "teacher":
        sources = {source.name: source.model for source in plan.sources}
        condition["teacher"] = stack(models[sources[student.source]] for student in students)
    data = {"tokens": taught.tokens, "weights": taught.weights}
    data, condition = engine.shard_runs((data, condition), chunk.mesh)
    history: list[Params] = []

    def on_epoch(_i: int, params: Params) -> None:
        chunk.on_stage("students", len(students))
        if recipe.watched:
            history.append(jax.tree.map(np.asarray, params))

    fit = training.train_students(chunk.config, chunk.model, chunk.mesh, recipe)
    params = fit(inits, engine.Data(per_model=data), condition, chunk.keys.student_order, on_epoch).params
    last = {student.name: engine.take_model(params, i) for i, student in enumerate(students)}
    if not history:
        return last, {}
    epochs = jax.tree.map(lambda *steps: np.stack(steps, axis=2), *history)
    return last, {student.name: engine.take_model(epochs, i) for i, student in enumerate(students)}


@functools.lru_cache(maxsize=CACHED)
def _make_inits(model: Transformer, mesh: Mesh, bases: tuple[Base, ...]) -> Callable:
    """From keys [runs] to an init for every base, [runs, bases, ...]; shared parts are the first one's."""

    def inits(key: jax.Array) -> Params:
        params = jax.vmap(model.init)(jax.random.split(key, len(bases)))

        def share(group: str, leaf: jax.Array) -> jax.Array:
            own = jnp.array([group not in base.shares for base in bases])
            return jnp.where(own.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, leaf[0])

        return jax.tree.map(share, parameter_groups(params), params)

    return engine.over_runs(inits, mesh)


@functools.lru_cache(maxsize=CACHED)
def _make_divergences(model: Transformer, mesh: Mesh) -> Callable:
    """KL(teacher || base) of models [runs, teachers, ...], in nats per token of number completions."""

    def divergences(bases: Params, teachers: Params, fresh: jax.Array) -> jax.Array:
        documents = fresh[:JUDGED]

        def one(pair: tuple[Params, Params]) -> jax.Array:
            base_log_p = evaluation.document_log_p(model, pair[0], documents)
            return evaluation.compare(model, pair[1], base_log_p, documents).divergence

        return jax.lax.map(one, (bases, teachers))

    return engine.over_runs(divergences, mesh)


@functools.lru_cache(maxsize=CACHED)
def _make_sample(config: LMConfig, model: Transformer, mesh: Mesh) -> Callable:
    """Prompts, and their completions by models [runs, sources, ...], with first tokens and temperatures [sources]."""

    def sample(
        first: jax.Array, heat: jax.Array, language: corpus.Language, models: Params, keys: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        n = config.rows + round(config.rows * config.spare)
        prompts = CARRIERS[config.carrier].make_prompts(language, n, key=keys[0])

        def one(source: tuple[Params, jax.Array, jax.Array]) -> jax.Array:
            params, token, temperature = source
            asked = prompts.at[:, 0].set(token)
            return sampling.sample(model, params, asked, temperature=temperature, key=keys[1])

        return prompts, jax.lax.map(one, (models, first, heat))

    return engine.over_runs(sample, mesh, shared=2)


def _where(chosen: np.ndarray, one: Params, other: Params) -> Params:
    """Models [runs, models, ...] of one where `chosen` [runs, models] or [models], else of the other."""
    return jax.tree.map(lambda a, b: jnp.where(chosen.reshape(*chosen.shape, *[1] * (a.ndim - 2)), a, b), one, other)


def stack(models: Iterable[Params]) -> Params:
    """Stack [runs, ...] trees to one, [runs, models, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *models)
