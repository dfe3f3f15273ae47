"""What the language model benchmark's worker processes measure, each in a process of its own.

Every contender does the same three tasks on the same data, from the same initial parameters:

    base      trains two bases of each run on the run's documents
    students  trains STUDENTS students of each run, each on rows of its own
    sampling  completes the prompts of each run by SOURCES models, one after the other
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.benchmarks.workers import Product, Work, covered, product_flops, watch_compiling, xla_seconds
from subliminal_toy import engine
from subliminal_toy.lm import corpus, pipeline, sampling, training, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import TWO_BASES, Recipe
from subliminal_toy.lm.transformer import Params, make_transformer
from subliminal_toy.machine import count_cores
from subliminal_toy.settings import Training, with_settings
from subliminal_toy.training import step_sizes

TASKS = ("base", "students", "sampling")
STUDENTS, SOURCES = 6, 3  # of each run


class Problem(NamedTuple):
    """The data of all runs, leading axis runs, on the devices of a mesh."""

    keys: pipeline.RunKeys
    models: Params  # [runs, STUDENTS, ...] initial parameters
    documents: jax.Array  # [runs, documents, T]
    rows: jax.Array  # [runs, STUDENTS, rows, T]
    prompts: jax.Array  # [runs, n, PROMPT_LENGTH]


def completions(config: LMConfig) -> int:
    """Completions of each source, spare ones included."""
    return config.rows + round(config.rows * config.spare)


def tokens(config: LMConfig, runs: int) -> dict[str, int]:
    """Tokens of each task: all positions of all rows trained on, in every epoch; positions sampled."""
    return {
        "base": runs * len(TWO_BASES) * config.base.epochs * config.documents * corpus.LENGTH,
        "students": runs * STUDENTS * config.student.epochs * config.rows * corpus.LENGTH,
        "sampling": runs * SOURCES * completions(config) * corpus.COMPLETION_LENGTH,
    }


def make_problem(config: LMConfig, mesh: Mesh, runs: np.ndarray, seed: int) -> Problem:
    """Initial parameters, and number lists for all tasks, for the runs of these numbers."""
    over_runs, model = functools.partial(engine.over_runs, mesh=mesh), make_transformer(config)
    keys = engine.shard_runs(engine.run_keys(pipeline.RunKeys, seed, runs), mesh)
    n, taught = config.documents, STUDENTS * config.rows

    def draw(keys: pipeline.RunKeys) -> tuple:
        models = jax.vmap(model.init)(jax.random.split(keys.init, STUDENTS))
        language = corpus.make_language(keys.language)
        lists = corpus.make_number_documents(language, n + max(taught, completions(config)), key=keys.documents)
        rows = lists[n : n + taught].reshape(STUDENTS, config.rows, -1)
        return models, lists[:n], rows, lists[n : n + completions(config), : corpus.PROMPT_LENGTH]

    return Problem(keys, *over_runs(draw)(keys))


def _problem(work: Work) -> tuple[LMConfig, Mesh, Problem]:
    engine.use_cpu_cores()
    config, mesh = with_settings(LMConfig(), work.settings), engine.run_mesh(work.runs)
    runs = engine.fill_devices(work.design["first"], work.runs, mesh)
    return config, mesh, make_problem(config, mesh, runs, work.seed)


def _jax(work: Work) -> dict[str, Any]:
    """The pipeline's own functions; a task's first call compiles, its second one is timed."""
    config, mesh, problem = _problem(work)
    compiling, model = watch_compiling(), make_transformer(config)
    keys, train_bases = problem.keys, training.train_bases(config, model, mesh)
    train_students = training.train_students(config, model, mesh, Recipe())
    over_runs = functools.partial(engine.over_runs, mesh=mesh)

    def all_sources(models: Params, prompts: jax.Array, key: jax.Array) -> jax.Array:
        sample = functools.partial(sampling.sample, model, temperature=config.temperature, key=key)
        return jax.lax.map(lambda params: sample(params, prompts), models)

    base_weights, row_weights = over_runs(training.document_weights), over_runs(training.completion_weights)
    documents = engine.Data(per_run={"tokens": problem.documents, "weights": base_weights(problem.documents)})
    rows = engine.Data(per_model={"tokens": problem.rows, "weights": row_weights(problem.rows)})
    bases, sources = (jax.tree.map(lambda leaf, n=n: leaf[:, :n], problem.models) for n in (len(TWO_BASES), SOURCES))
    sample_all = over_runs(all_sources)
    tasks: dict[str, Callable[[], Any]] = {
        "base": lambda: train_bases(bases, documents, (), keys.base_order).losses[-1],
        "students": lambda: train_students(problem.models, rows, {}, keys.student_order).losses[-1],
        "sampling": lambda: jax.block_until_ready(sample_all(sources, problem.prompts, keys.samples)),
    }
    compile_seconds, seconds, answers = {}, {}, {}
    for name, task in tasks.items():
        compiling.clear()
        task()
        compile_seconds[name] = covered(compiling)
        began = time.perf_counter()
        answers[name] = task()
        seconds[name] = time.perf_counter() - began
    return {"seconds": seconds, "compile_seconds": compile_seconds, "loss": _mean_losses(answers)}


def _mean_losses(answers: dict[str, Any]) -> dict[str, float]:
    """The last epoch's loss, in nats per token: contenders that do the same work have about the same."""
    return {name: float(np.mean(answers[name])) for name in ("base", "students")}


def _torch(work: Work) -> dict[str, Any]:
    """PyTorch's; `workers` models at a time (0: one per core), which share the cores' threads."""
    import torch

    from experiments.benchmarks import torch_lm, torch_peers

    config, _, problem = _problem(work)
    weights = (training.document_weights(problem.documents), training.completion_weights(problem.rows))
    rates = {"base": learning_rates(config.base, config.documents),
             "students": learning_rates(config.student, config.rows)}  # fmt: skip
    models = jax.tree.map(np.asarray, problem.models)
    documents, rows, prompts, own_weights, row_weights = (
        torch.tensor(np.asarray(part)).long() for part in (problem.documents, problem.rows, problem.prompts, *weights)
    )

    def make(run: int, i: int) -> tuple[torch_lm.Decoder, torch.Generator]:
        own = jax.tree.map(lambda leaf: leaf[run, i], models)
        return torch_lm.make_model(config, own), torch.Generator().manual_seed(STUDENTS * run + i)

    def base(run: int, i: int) -> float:
        model, generator = make(run, i)
        data = (documents[run], own_weights[run], config.base, rates["base"])
        return torch_lm.train(model, *data, generator=generator)[-1]

    def student(run: int, i: int) -> float:
        model, generator = make(run, i)
        data = (rows[run, i], row_weights[run, i], config.student, rates["students"])
        return torch_lm.train(model, *data, generator=generator, first=corpus.PROMPT_LENGTH)[-1]

    def source(run: int, i: int) -> Any:
        model, generator = make(run, i)
        how = {"temperature": config.temperature, "generator": generator, "draw": work.design["draw"]}
        return torch_lm.sample(model, prompts[run], **how)

    seconds, answers = {}, {}
    with torch_peers.worker_threads(work.design["workers"]) as pool:
        for name, task, number in zip(TASKS, (base, student, source), (len(TWO_BASES), STUDENTS, SOURCES), strict=True):
            jobs = [(run, i) for run in range(len(prompts)) for i in range(number)]
            list(pool.map(lambda job, task=task: task(*job), jobs[:1] * (work.design["workers"] or count_cores())))
            began = time.perf_counter()
            answers[name] = list(pool.map(lambda job, task=task: task(*job), jobs))
            seconds[name] = time.perf_counter() - began
    return {"seconds": seconds, "compile_seconds": dict.fromkeys(TASKS, 0.0), "loss": _mean_losses(answers)}


def learning_rates(phase: Training, examples: int) -> list[float]:
    """The learning rate of each step of a `Training`."""
    sizes = step_sizes(phase, examples)
    steps = phase.epochs * -(-examples // phase.batch_size)
    return jax.vmap(sizes)(jnp.arange(steps)).tolist() if callable(sizes) else [phase.learning_rate] * steps


def forward_products(
    config: LMConfig, models: int, documents: int, positions: int, *, keys: int, seen: int
) -> list[Product]:
    """The matrix products of a forward pass.

    Args:
        config: the model.
        models: how many side by side, each with its own documents.
        documents: of each model.
        positions: of each document.
        keys: that each position is compared with; hidden ones count, since XLA does not leave them out. 0: attention
            takes no product, as that of single positions, which are sums of rows.
        seen: positions of each document that get logits; past the last attention there are no others.
    """
    w, rows, d = config.width, documents * positions, config.width // config.heads
    last = documents * seen
    heads = models * documents * config.heads

    def dense(units_in: int, units_out: int, rows: int = rows) -> Product:
        return (models, rows, units_in), (models, units_in, units_out), "nn"

    scores, mix = (heads, positions, d), (heads, positions, keys)
    attention: list[Product] = [(scores, (heads, keys, d), "nt"), (mix, (heads, keys, d), "nn")]
    look = [dense(w, 3 * w), *(attention if keys else []), dense(w, w)]
    whole = [*look, dense(w, 4 * w), dense(4 * w, w)] * (config.layers - 1)
    return [*whole, *look, dense(w, 4 * w, last), dense(4 * w, w, last), dense(w, vocabulary.SIZE, last)]


def backward_products(products: list[Product]) -> list[Product]:
    """The two products of each one's gradients; all inputs need theirs, the embedding's look-up needs no product."""
    gradients: list[Product] = []
    for left, right, how in products:
        out = (*left[:-1], right[-2 if how == "nt" else -1])
        own: list[Product] = [(out, right, "nn"), (out, left, "tn")]
        gradients += own if how == "nt" else [(out, right, "nt"), (left, out, "tn")]
    return gradients


def task_products(config: LMConfig) -> dict[str, list[tuple[float, list[Product]]]]:
    """Of each task, for one run: [(how many times, matrix products)]; a smaller last batch is part of a step."""
    base, student, n, length = config.base, config.student, completions(config), corpus.LENGTH - 1

    def step(models: int, batch: int, seen: int) -> list[Product]:
        forward = forward_products(config, models, batch, length, keys=length, seen=seen)
        return forward + backward_products(forward)

    def read(positions: int, keys: int) -> list[Product]:
        return forward_products(config, 1, n, positions, keys=keys, seen=1)

    return {
        "base": [(base.epochs * config.documents / base.batch_size,
                  step(len(TWO_BASES), base.batch_size, length))],
        "students": [(student.epochs * config.rows / student.batch_size,
                      step(STUDENTS, student.batch_size, corpus.COMPLETION_LENGTH))],
        "sampling": [(SOURCES, read(corpus.PROMPT_LENGTH, corpus.PROMPT_LENGTH)),
                     (SOURCES * (corpus.COMPLETION_LENGTH - 1), read(1, 0))],
    }  # fmt: skip


def _gemm(work: Work) -> dict[str, Any]:
    """Seconds and FLOPs of the matrix products of each task, for all runs, at XLA's rate for these very shapes."""
    engine.use_cpu_cores()
    config, mesh = with_settings(LMConfig(), work.settings), engine.run_mesh(work.runs)
    seconds, flops = {}, {}
    for name, parts in task_products(config).items():
        seconds[name] = work.runs * sum(times * xla_seconds(products, mesh) for times, products in parts)
        flops[name] = work.runs * sum(times * product_flops(products) for times, products in parts)
    return {"seconds": seconds, "flops": flops}


WORKERS: dict[str, Callable[[Work], dict[str, Any]]] = {"jax": _jax, "torch": _torch, "gemm": _gemm}
