"""Runs of the language model's pipeline in chunks, for all experiments on it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments import cli, records
from subliminal_toy import engine
from subliminal_toy.lm import measure, pipeline
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import Plan

WORK = {"base": 6.0, "teachers": 0.02, "samples": 0.5, "students": 0.4, "evaluation": 0.2}  # rough seconds, for each
OnRows = Callable[[int, str, np.ndarray], None]
Planned = tuple[LMConfig, Plan]


def run_pipeline(
    config: LMConfig, plan: Plan, summarize: Callable[[Any, list[dict[str, Any]]], dict[str, Any]], *,
    runs: int, seed: int = 0, chunk: int | None = None, store: records.ChunkStore | None = None,
    progress: cli.Progress | None = None, on_rows: OnRows = lambda _run, _source, _tokens: None,
    extra: Callable[[dict[str, np.ndarray]], dict[str, Any]] = lambda _rows: {},
    make_measure: pipeline.MakeMeasure = measure.standard, others: Mapping[str, Planned] | None = None,
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
        extra: more values of a run, from all its rows by source.
        make_measure: what is measured on every run.
        others: plans with settings of their own that are done on the same runs; their values come under their names.
    """
    progress = progress or cli.Progress()
    mesh = engine.run_mesh(min(runs, chunk or runs))
    every: dict[str, Planned] = {"": (config, plan), **(others or {})}
    pipelines = {name: pipeline.make_pipeline(own, mesh, table, make_measure) for name, (own, table) in every.items()}
    per_run = sum(_work(own, table) for own, table in every.values())

    def compute(first: int, count: int) -> dict[str, list[dict[str, Any]]]:
        padded = engine.fill_devices(first, count, mesh)
        label = f"language model, runs {first + 1}-{first + count} of {runs}"
        tokens: list[dict[str, np.ndarray]] = [{} for _ in padded]

        def keep(run: int, source: str, rows: np.ndarray) -> None:
            tokens[run][source] = rows
            on_rows(first + run, source, rows)

        def advance(name: str) -> pipeline.OnStage:
            said = f"{label}, {name} " if name else f"{label}, "
            return lambda stage, done: progress.advance(count * done * WORK[stage], said + stage)

        keys = engine.run_keys(pipeline.RunKeys, seed, padded)
        values = pipelines[""](keys, advance(""), keep)
        found = [{**values[i], **extra(tokens[i])} for i in range(count)]
        for name in every:
            if name:
                for i, value in enumerate(pipelines[name](keys, advance(name))[:count]):
                    found[i][name] = value
        return {"run": found}

    def on_chunk(count: int, loaded: bool) -> None:
        if loaded:
            progress.advance(count * per_run, f"{count} runs from an earlier start", loaded=True)

    progress.start(runs * per_run, "language model")
    values = records.run_in_chunks(compute, runs=runs, chunk=chunk or mesh.size, store=store, on_chunk=on_chunk)["run"]
    return {"runs": runs, **summarize(config, values)}


def _work(config: LMConfig, plan: Plan) -> float:
    """Rough seconds of a run."""
    times = {
        "base": config.base.epochs * len(plan.bases),
        "teachers": config.teacher.epochs * len(plan.teachers),
        "samples": len(plan.sources),
        "students": sum((student.recipe.training or config.student).epochs for student in plan.students),
        "evaluation": len(plan.models()),
    }
    return sum(WORK[stage] * count for stage, count in times.items())
