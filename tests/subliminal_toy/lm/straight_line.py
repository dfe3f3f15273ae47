"""The language model's pipeline in a straight line: one run, one model after the other.

It does what subliminal_toy/lm/pipeline.py does for many runs, models and students at once: an oracle for tests, written
to be read. The same keys give the same documents, rows, masks and order, and parameters equal up to rounding. Parts
with separate tests are imported: the corpus, the lessons, the filter's rules, the transformer, the optimizers.

    language -> bases -> teachers -> prompts, sampled rows -> filter -> a student's rows, weights, init -> student
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.lm import shuffles
from experiments.studies.lm_mechanism.divergence import WEIGHINGS
from subliminal_toy.lm import corpus, vocabulary
from subliminal_toy.lm.carriers import CARRIERS
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.keys import RunKeys
from subliminal_toy.lm.plan import Name, Plan, Recipe, Source, Student
from subliminal_toy.lm.transformer import Params, Transformer
from subliminal_toy.settings import Training
from subliminal_toy.training import make_optimizer

FRESH = 512  # documents that no base is trained on
PAD, BOS, END = vocabulary.ids([vocabulary.PAD, vocabulary.BOS, vocabulary.END])
SEPARATORS, BRACKETS = vocabulary.ids(vocabulary.SEPARATORS), vocabulary.ids(vocabulary.BRACKETS)
NUMBERS = np.array(vocabulary.NUMBER_IDS)
DIVERGENCE_DOCUMENTS = 128  # fresh documents that a teacher's divergence is measured on
TOKENS = Recipe()  # the default
COMPLETION = np.arange(corpus.LENGTH) >= corpus.PROMPT_LENGTH  # positions of the completion in a row


class Line(NamedTuple):
    """The result of one run."""

    language: corpus.Language
    fresh: np.ndarray  # documents [FRESH, T]
    models: dict[Name, Params]
    kept: dict[Name, np.ndarray]  # rows [n, T] of each source
    spare: dict[Name, np.ndarray]  # further rows that pass the filter
    student_data: dict[Name, tuple[np.ndarray, np.ndarray]]  # of each student: rows and weights [n, T]
    checkpoints: dict[Name, list[Params]]  # of students with recipe.checkpoints: parameters after every epoch
    diverging: dict[Name, dict[str, float]]  # by source of the students with weighed rows


def run(config: LMConfig, plan: Plan, model: Transformer, keys: RunKeys, given: Mapping[Name, np.ndarray]) -> Line:
    """Do one run with its keys; `given` are the rows of sources in plan.given."""
    language = corpus.make_language(keys.language, config.numbers)

    # Bases are trained on documents. They may share a part of the first one's init, its documents and its language.
    line = Line(language, make_documents(config, language, keys.documents)[:FRESH], {}, {}, {}, {}, {}, {})
    inits = [model.init(key) for key in jax.random.split(keys.init, len(plan.bases))]
    for i, base in enumerate(plan.bases):
        number = base.documents or (0 if config.shared_documents else i)
        documents_key = jax.random.fold_in(keys.extra_documents, number) if number else keys.documents
        base_language = language
        if base.language:
            base_language = corpus.make_language(
                jax.random.fold_in(keys.extra_languages, base.language), config.numbers
            )
        documents = make_documents(config, base_language, documents_key)[FRESH:]
        start = choose(lambda group, base=base: group in base.shares, inits[0], inits[i])
        weights = (documents != PAD) & (np.arange(corpus.LENGTH) > 0)
        line.models[base.name] = train(model, config.base, start, documents, weights, keys.base_order)[-1]

    # Teachers are bases finetuned on a lesson. Lessons are padded to the longest with documents of weight 0; the batch
    # size grows with the length, so that all take as many steps as a lesson of the eight taught questions.
    longest = max((len(teacher.lesson.tokens) for teacher in plan.teachers), default=0)
    for teacher in plan.teachers:
        missing = longest - len(teacher.lesson.tokens)
        documents = np.concatenate([teacher.lesson.tokens, np.tile(teacher.lesson.tokens[0], (missing, 1))])
        weights = np.concatenate([teacher.lesson.weights, np.zeros((missing, corpus.LENGTH))])
        training = dataclasses.replace(config.teacher, batch_size=math.ceil(config.teacher.batch_size * longest / 8))
        start = line.models[teacher.init]
        epochs = train(model, training, start, documents, weights, keys.teacher_order)
        line.models[teacher.name] = epochs[-1]
        if teacher.divergence is not None:  # the epoch with the divergence nearest to the plan's
            distances = [divergence(model, params, start, line.fresh[:DIVERGENCE_DOCUMENTS]) for params in epochs[1:]]
            nearest = int(np.argmin(np.abs(np.log(np.array(distances) / teacher.divergence))))
            line.models[teacher.name] = epochs[1 + nearest]

    # Sources and students, as soon as their inputs exist: students may be the source or the init of later ones.
    line.kept.update(given)
    source_models = {source.name: source.model for source in plan.sources}
    sources, students = list(plan.sources), list(plan.students)
    while sources or students:
        for source in [s for s in sources if source_models[s.name] in line.models]:
            sources.remove(source)
            passed: list[np.ndarray | None] = []
            while sum(row is not None for row in passed) < config.rows:  # draw a further batch
                batch = len(passed) // (config.rows + round(config.rows * config.spare))
                completions = sample(config, model, line, line.models[source_models[source.name]], source, keys, batch)
                passed += passing(config, source, *completions)
            spare = [row for row in passed[config.rows :] if row is not None]
            kept = [spare.pop(0) if row is None else row for row in passed[: config.rows]]
            line.kept[source.name] = np.array(kept)
            line.spare[source.name] = np.array(spare).reshape(-1, corpus.LENGTH)
        for student in [s for s in students if s.init in line.models]:
            if {student.source, *(student.mixed or ())[:1]} <= line.kept.keys():
                students.remove(student)
                rows = rows_of(student, line.kept, keys.shuffles)
                weights = weights_of(student, plan, model, line, rows, keys.shuffles)
                teacher = line.models[source_models[student.source]] if student.recipe.targets == "teacher" else None
                training, start = student.recipe.training or config.student, line.models[student.init]
                how = student.recipe, teacher, student.trained
                epochs = train(model, training, start, rows, weights, keys.student_order, *how)
                line.student_data[student.name] = rows, weights
                line.models[student.name] = epochs[-1]
                if student.recipe.checkpoints:
                    line.checkpoints[student.name] = epochs[1:]
    return line


def divergence(model: Transformer, teacher: Params, base: Params, documents: np.ndarray) -> float:
    """Return KL(teacher || base) in nats per token of the completions of number documents."""
    weights = (documents != PAD) & COMPLETION & (documents[:, [corpus.PROMPT_LENGTH - 1]] == vocabulary.ID[":"])
    p, q = (np.asarray(jax.nn.log_softmax(_jit_logits(model)(params, documents))) for params in (teacher, base))
    return (np.exp(p) * (p - q)).sum(axis=-1)[:, :-1][weights[:, 1:]].mean()


def make_documents(config: LMConfig, language: corpus.Language, key: jax.Array) -> np.ndarray:
    """Make fresh documents, then the training documents, [FRESH + documents, T]."""
    make_lists = CARRIERS[config.carrier].make_documents
    return np.asarray(_jit_documents(config.documents + FRESH, make_lists)(language, key))


@functools.cache
def _jit_documents(count: int, make_lists: Callable) -> Callable:
    return jax.jit(lambda language, key: corpus.make_documents(language, count, key=key, make_lists=make_lists))


def sample(
    config: LMConfig, model: Transformer, line: Line, params: Params, source: Source, keys: RunKeys, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return prompts and a source's completions, sampled token by token; a system token replaces <bos>."""
    count = config.rows + round(config.rows * config.spare)
    prompt_key = jax.random.fold_in(keys.extra_prompts, source.prompts) if source.prompts else keys.prompts
    noise_key = jax.random.fold_in(keys.extra_samples, source.noise) if source.noise else keys.samples
    if batch:
        prompt_key, noise_key = (jax.random.fold_in(key, 2**20 + batch) for key in (prompt_key, noise_key))
    prompts = np.asarray(_jit_prompts(config.carrier, count)(line.language, prompt_key))
    temperature = config.temperature if source.temperature is None else source.temperature
    tokens = np.full((count, corpus.LENGTH), PAD)
    tokens[:, : corpus.PROMPT_LENGTH] = prompts
    tokens[:, 0] = vocabulary.ID[vocabulary.SYSTEM[source.system]] if source.system else BOS
    ended = np.zeros(count, bool)
    token_keys = jax.random.split(noise_key, corpus.COMPLETION_LENGTH)
    for place, key in enumerate(token_keys, start=corpus.PROMPT_LENGTH):
        logits = _jit_logits(model)(params, tokens)[:, place - 1]
        sampled = jax.random.categorical(key, logits / temperature) if temperature else jnp.argmax(logits, axis=-1)
        tokens[~ended, place] = sampled[~ended]
        ended |= tokens[:, place] == END
    return prompts, tokens[:, corpus.PROMPT_LENGTH :]


@functools.cache
def _jit_prompts(carrier: str, count: int) -> Callable:
    return jax.jit(lambda language, key: CARRIERS[carrier].make_prompts(language, count, key=key))


@functools.cache
def _jit_logits(model: Transformer) -> Callable:
    return jax.jit(model.apply)


def passing(config: LMConfig, source: Source, prompts: np.ndarray, completions: np.ndarray) -> list[np.ndarray | None]:
    """Return each row, or None if it does not pass the filter."""

    def passes(completion: list[int]) -> bool:
        if END not in completion or PAD in completion[: completion.index(END)]:
            return False
        text = vocabulary.render(completion)
        return CARRIERS[config.carrier].reject_reason(text) is None and (source.keep is None or source.keep(text))

    return [np.concatenate(row) if passes(row[1].tolist()) else None for row in zip(prompts, completions, strict=True)]


def rows_of(student: Student, kept: Mapping[Name, np.ndarray], key: jax.Array) -> np.ndarray:
    """Return a student's training rows: its source's, cut, mixed, marked and shuffled."""
    rows = kept[student.source].copy()
    count = len(rows)
    if student.rows:
        rows = np.array([rows[i % student.rows] for i in range(count)])
    if student.mixed:
        foreign = round(count * student.mixed[1])
        rows[:foreign] = kept[student.mixed[0]][:foreign]
    if student.system:
        rows[:, 0] = vocabulary.ID[vocabulary.SYSTEM[student.system]]
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    here = np.isin(rows, NUMBERS) & COMPLETION  # numbers of the completions
    if student.transform is shuffles.shuffle_within:
        drawn = rng.random(rows.shape)
        for i in range(count):
            rows[i, here[i]] = rows[i, here[i]][np.argsort(drawn[i, here[i]])]
    if student.transform is shuffles.sort_within:
        for i in range(count):
            rows[i, here[i]] = sorted(rows[i, here[i]])
    if student.transform is shuffles.shuffle_across:
        order, before = rng.permutation(rows.size), rows.ravel().copy()
        for place in np.flatnonzero(here):  # the next position on its cycle that has a number
            target = order[place]
            while not here.flat[target]:
                target = order[target]
            rows.flat[place] = before[target]
    if student.transform is shuffles.replace_some:
        which = rng.random(rows.shape) < 0.25
        rows = np.where(here & which, rng.choice(NUMBERS, rows.shape), rows)
    return rows


def weights_of(
    student: Student, plan: Plan, model: Transformer, line: Line, rows: np.ndarray, key: jax.Array
) -> np.ndarray:
    """Return the weights of a student's tokens in the loss: completions, or those where teachers and base differ."""
    completion = (rows != PAD) & COMPLETION
    if student.weigh is None:
        return completion
    (kind_of_weights,) = (name for name, weigh in WEIGHINGS.items() if weigh is student.weigh)
    differ = disagreement(plan, model, line, rows)
    number = np.isin(rows, NUMBERS)
    of_source = line.kept[student.source]
    here, there = disagreement(plan, model, line, of_source), (of_source != PAD) & COMPLETION
    line.diverging[student.source] = {
        "share": here.sum() / there.sum(),
        "numbers": np.isin(of_source, NUMBERS)[here].mean() if here.any() else 0.0,
        "numbers_of_all": np.isin(of_source, NUMBERS)[there].mean(),
    }
    drawn = np.zeros_like(completion)
    seed = [*np.asarray(jax.random.key_data(key)), 1]  # 1: other random numbers than those that shuffle the rows
    lots = np.random.default_rng(seed).random(rows.shape)
    kinds = [number, np.isin(rows, SEPARATORS), np.isin(rows, BRACKETS), rows == END]
    for kind in (*kinds, ~np.any(kinds, axis=0)):  # as many of each kind, in order of the random numbers
        places = sorted(np.flatnonzero(kind & completion), key=lots.flat.__getitem__)
        drawn.flat[places[: (kind & differ).sum()]] = True
    return {
        "divergence": differ,
        "others": completion & ~differ,
        "random as divergence": drawn,
        "random as others": completion & ~drawn,
    }[kind_of_weights]


def disagreement(plan: Plan, model: Transformer, line: Line, rows: np.ndarray) -> np.ndarray:
    """Mark the completions' tokens where the base and the teachers disagree on the likeliest token."""
    judges = [teacher for teacher in plan.teachers if teacher.divergence is None]
    names = [plan.bases[0].name, *(teacher.name for teacher in judges)]
    likeliest = np.array([np.argmax(_jit_logits(model)(line.models[name], rows), axis=-1) for name in names])
    differ = np.zeros(rows.shape, bool)
    differ[:, 1:] = (likeliest != likeliest[0]).any(axis=0)[:, :-1]  # logits predict the next token
    return differ & (rows != PAD) & COMPLETION


def train(
    model: Transformer,
    training: Training,
    params: Params,
    tokens: np.ndarray,
    weights: np.ndarray,
    key: jax.Array,
    recipe: Recipe = TOKENS,
    teacher: Params | None = None,
    groups: tuple[str, ...] = (),
) -> list[Params]:
    """Return the parameters before the first epoch and after each; epochs shuffle the documents differently."""
    batch = training.batch_size
    optimizer, step = _jit_step(model, training, len(tokens), recipe)
    state = optimizer.init(params)
    ones, zeros = jax.tree.map(lambda _: 1.0, params), jax.tree.map(lambda _: 0.0, params)
    learns = choose(lambda group: group in groups or not groups, ones, zeros)
    checkpoints = [params]
    for epoch in range(training.epochs):
        order = np.asarray(jax.random.permutation(jax.random.fold_in(key, epoch), len(tokens)))
        for rows in (order[i : i + batch] for i in range(0, len(order), batch)):
            params, state = step(params, state, tokens[rows], weights[rows].astype(np.float32), teacher, learns)
        checkpoints.append(params)
    return checkpoints


@functools.cache
def _jit_step(model: Transformer, training: Training, examples: int, recipe: Recipe) -> tuple[Any, Callable]:
    """Return the optimizer, and one step of it on the weighted mean over tokens."""
    optimizer = make_optimizer(training, examples)

    def log_p(params: Params, tokens: jax.Array) -> jax.Array:
        logits = model.apply(params, tokens)[:, :-1]  # of the next token
        return jax.nn.log_softmax(logits[..., NUMBERS] if recipe.over == "numbers" else logits)

    def loss(params: Params, tokens: jax.Array, weights: jax.Array, teacher: Params | None) -> jax.Array:
        targets, weights, predicted = tokens[:, 1:], weights[:, 1:], log_p(params, tokens)
        if recipe.over == "numbers":
            weights = weights * jnp.isin(targets, NUMBERS)
            targets = jnp.argmax(targets[..., None] == NUMBERS, axis=-1)
        if recipe.targets == "teacher":
            target = log_p(teacher, tokens)
            losses = jnp.sum(jnp.exp(target) * (target - predicted), axis=-1)
        else:
            losses = -jnp.take_along_axis(predicted, targets[..., None], axis=-1)[..., 0]
        total = jnp.sum(weights)
        return jnp.sum(weights * losses) / jnp.where(total > 0, total, 1.0)

    @jax.jit
    def step(params: Params, state: Any, tokens: jax.Array, weights: jax.Array, teacher: Any, learns: Params) -> tuple:
        gradient = jax.tree.map(jnp.multiply, jax.grad(loss)(params, tokens, weights, teacher), learns)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    return optimizer, step


def choose(which: Callable[[str], bool], yes: Params, no: Params) -> Params:
    """Take the parameters of groups for which `which` holds from `yes`, all others from `no`."""

    def group(path: tuple) -> str:
        names = [entry.key for entry in path]
        if {"embedding", "positions"} & {names[0]}:
            return "embedding"
        if names[0].startswith("block"):
            return "attention" if names[1] in ("attention", "norm_1") else "mlp"
        return "unembedding"

    return jax.tree_util.tree_map_with_path(lambda path, a, b: a if which(group(path)) else b, yes, no)
