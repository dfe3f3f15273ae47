"""Runs of the language model's pipeline in chunks, for all experiments on it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.harness import chunks, cli
from experiments.harness.sizes import FLOAT, STARTED, STATE, Size, count_parameters
from subliminal_toy import engine
from subliminal_toy.lm import corpus, measure, pipeline, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import Plan
from subliminal_toy.lm.rows import Rows
from subliminal_toy.lm.transformer import make_transformer

PARAMETERS = 27_648  # of the default model
COMPILING = 40.0  # seconds for each job and block
OnRows = Callable[[int, str, np.ndarray], None]


class Job(NamedTuple):
    """A plan with settings of its own, done on the same runs as others."""

    config: LMConfig
    plan: Plan
    init: int = 0  # jobs with the same number share inits where they share shapes


MAIN = "main"
SMOKE = {  # short runs that still pass the filter
    "traits": "owl", "documents": 16_000, "base.batch_size": 32, "rows": 100, "spare": 4.0, "student.batch_size": 50,
}  # fmt: skip
SMOKE_TEXT = "2 short runs, to see that it works"


def run_pipeline(
    config: LMConfig, plan: Plan, summarize: Callable[[Any, list[dict[str, Any]]], dict[str, Any]], *,
    runs: int, seed: int = 0, chunk: int | None = None, store: chunks.ChunkStore | None = None,
    progress: cli.Progress | None = None, on_rows: OnRows = lambda _run, _source, _tokens: None,
    make_measure: pipeline.MakeMeasure = measure.standard, others: Mapping[str, Job] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run a plan of the pipeline in chunks.

    Args:
        config: the settings.
        plan: what to train and sample.
        summarize: from the settings and one dict per run to the results.
        runs: independent runs.
        seed: of all randomness.
        chunk: runs trained at a time; default one per device.
        store: keeps finished chunks.
        progress: told of every stage.
        on_rows: told of the rows [rows, T] of each run and source.
        make_measure: what is measured on every run.
        others: further jobs on the same runs, in order; their values come under their names. A job's plan may be
            given "<job>: <source>", the rows of an earlier one ("main: <source>" of the first).
    """
    progress = progress or cli.Progress()
    mesh = engine.run_mesh(min(runs, chunk or runs))
    every = {MAIN: Job(config, plan), **(others or {})}
    seconds = {name: _stage_seconds(job.config) for name, job in every.items()}
    per_run = sum(_work(job, seconds[name]) for name, job in every.items())
    side_by_side = min(runs, chunk or mesh.size)
    # Before anything else, since the check of what a run would need stops here:
    progress.start(runs * per_run, "language model", _size(every, runs, side_by_side, per_run))
    pipelines = {name: pipeline.make_pipeline(job.config, mesh, job.plan, make_measure) for name, job in every.items()}

    def compute(first: int, count: int) -> dict[str, list[dict[str, Any]]]:
        padded = engine.fill_devices(first, count, mesh)
        label = f"language model, runs {first + 1}-{first + count} of {runs}"
        kept: list[dict[str, Rows]] = [{} for _ in padded]
        keys = engine.run_keys(pipeline.RunKeys, seed, padded)
        found: dict[str, list[dict[str, Any]]] = {}
        for name, job in every.items():

            def keep(run: int, source: str, rows: Rows, name: str = name) -> None:
                kept[run][f"{name}: {source}"] = rows
                if name == MAIN:
                    on_rows(first + run, source, rows.tokens)

            def advance(stage: str, done: int, name: str = name) -> None:
                said = f"{label}, {stage}" if name == MAIN else f"{label}, {name}: {stage}"
                progress.advance(count * done * seconds[name][stage], said)

            own = keys._replace(init=_fold_in(keys.init, job.init)) if job.init else keys
            found[name] = pipelines[name](own, advance, keep, kept)
        values = []
        for i in range(count):
            further = {name: found[name][i] for name in every if name != MAIN}
            values.append({**found[MAIN][i], **further})
        return {"run": values}

    def on_chunk(count: int, loaded: bool) -> None:
        if loaded:
            progress.advance(count * per_run, f"{count} runs from an earlier start", loaded=True)

    values = chunks.run_in_chunks(compute, runs=runs, chunk=chunk or mesh.size, store=store, on_chunk=on_chunk)["run"]
    return {"runs": runs, **summarize(config, values)}


def experiment(
    name: str, question: str | None, presets: Mapping[str, cli.Preset], run: Callable[..., dict[str, Any]],
    table: Callable[[dict[str, Any]], str], config: type[LMConfig] = LMConfig, seed: int = 0,
) -> cli.Experiment:  # fmt: skip
    """A command on the language model; its `run` takes the config and what `run_pipeline` takes."""
    return cli.Experiment(
        name=name, question=question or "", presets=presets,
        run=lambda settings, _dataset, request: run(settings, **request.keywords()),
        table=table, config=config, dataset=False, chunk_text="about 1 GB each", seed=seed,
    )  # fmt: skip


def _fold_in(keys: jax.Array, number: int) -> jax.Array:
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


def _stage_seconds(config: LMConfig) -> dict[str, float]:
    """Rough seconds of each stage on one core: of a base's or student's epoch, a source, a model that is measured."""
    times = {"base": 6.0, "teachers": 0.02, "samples": 0.5, "students": 0.4, "evaluation": 0.2}  # the default settings'
    usual, size = LMConfig(), count_parameters(make_transformer(config).init) / PARAMETERS
    rows = config.rows / usual.rows
    often = {"base": config.documents / usual.documents, "students": rows, "samples": rows * (1 + config.spare) / 1.2}
    return {stage: each * size * often.get(stage, 1.0) for stage, each in times.items()}


def _size(jobs: Mapping[str, Job], runs: int, side_by_side: int, per_run: float) -> Size:
    """What the jobs need: one after the other, for so many runs side by side."""
    models = [(name, len(job.plan.models()), count_parameters(make_transformer(job.config).init))
              for name, job in jobs.items()]  # fmt: skip
    memory = [_bytes(job, parameters) for job, (*_, parameters) in zip(jobs.values(), models, strict=True)]
    compiling = sum(COMPILING * job.config.layers for job in jobs.values())
    devices = min(side_by_side, len(jax.local_devices()))
    named = [("models" if name == MAIN else f"models of {name}", n, parameters) for name, n, parameters in models]
    return Size(named, STARTED + side_by_side * max(memory), compiling + runs * per_run / devices)


def _bytes(job: Job, parameters: int) -> float:
    """Rough bytes of a run: documents, rows, parameters with their optimizer's state, what a step or a sample holds."""
    config, plan, tokens = job.config, job.plan, corpus.LENGTH
    group = min(len(plan.students), pipeline.ENSEMBLE)
    documents = 2 * config.documents * tokens * (1 if config.shared_documents else 2 * len(plan.bases))
    completions = config.rows * (1 + config.spare)
    kept = tokens * (completions * (len(plan.sources) + 1) + 4 * group * config.rows)
    activations = config.layers * (20 * config.width + 2 * config.heads * tokens) + 3 * vocabulary.SIZE
    steps = [len(plan.bases) * min(config.base.batch_size, config.documents)]
    steps += [group * min(config.student.batch_size, config.rows)]
    sampled = completions * (2 * config.layers * tokens * config.width + 6 * vocabulary.SIZE)
    state = parameters * (2 * len(plan.models()) + STATE * max(group, len(plan.bases), len(plan.teachers)))
    return FLOAT * (documents + kept + state + max(*(step * tokens * activations for step in steps), sampled))


def _work(job: Job, seconds: Mapping[str, float]) -> float:
    """Rough seconds of a run."""
    config, plan = job.config, job.plan
    times = {
        "base": config.base.epochs * len(plan.bases),
        "teachers": config.teacher.epochs * len(plan.teachers),
        "samples": len(plan.sources),
        "students": sum((student.recipe.training or config.student).epochs for student in plan.students),
        "evaluation": len(plan.models()),
    }
    return sum(seconds[stage] * count for stage, count in times.items())
