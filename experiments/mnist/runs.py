"""Runs of the MNIST experiment in chunks: train, measure, and keep what was measured."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.harness import chunks, cli
from subliminal_toy import engine, mnist
from subliminal_toy.mnist import data

Measure = Callable[[mnist.Trained, mnist.Dataset], dict[str, np.ndarray]]  # name -> [runs, ...]


def run_in_chunks(
    config: mnist.Config,
    conditions: Sequence[mnist.Condition],
    measure: Measure,
    *,
    dataset: mnist.Dataset,
    request: cli.Request,
    watch: bool = False,
) -> dict[str, list]:
    """Train and measure all runs of a request.

    Args:
        config: the settings.
        conditions: the students.
        measure: from the networks of some runs to values, one entry per run.
        dataset: restricted to the config's classes here.
        request: how many runs, from which seed, how many at a time, where they are kept.
        watch: as for `mnist.train`.

    Returns:
        What `measure` named, each a list of one value per run, in order.
    """
    dataset = data.keep_classes(dataset, config.classes)
    runs, title = request.runs, data.TITLES[dataset.name]
    mesh = engine.run_mesh(min(runs, request.chunk or runs))
    students = [condition.config(config).student.epochs for condition in conditions]
    per_run = config.teacher.epochs + sum(students)

    def compute(first: int, count: int) -> dict[str, list[Any]]:
        keys = mnist.run_keys(request.seed, engine.fill_devices(first, count, mesh))
        label = f"{title}, runs {first + 1}-{first + count} of {runs}"

        def on_epoch(phase: str, models: int, i: int) -> None:
            request.progress.advance(count * models, f"{label}, {phase}, epoch {i + 1}")

        values = measure(mnist.train(config, dataset, conditions, keys, on_epoch=on_epoch, watch=watch), dataset)
        return {name: column[:count].astype(float).tolist() for name, column in values.items()}

    def on_chunk(count: int, loaded: bool) -> None:
        if loaded:
            request.progress.advance(count * per_run, f"{title}, {count} runs from an earlier start", loaded=True)

    request.progress.start(runs * per_run, title)
    size = request.chunk or mesh.size
    return chunks.run_in_chunks(compute, runs=runs, chunk=size, store=request.store, on_chunk=on_chunk)
