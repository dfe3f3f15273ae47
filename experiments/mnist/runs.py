"""Runs of the MNIST experiment in chunks: train, measure, and keep what was measured."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.harness import chunks, cli
from experiments.harness.sizes import COMPILING, FLOAT, FLOPS, RATE, STARTED, STATE, Size, count_parameters
from subliminal_toy import engine, mnist
from subliminal_toy.mnist import data, models

MAIN = "main"
Measure = Callable[[mnist.Trained, mnist.Dataset], dict[str, np.ndarray]]  # name -> [runs, ...]
Values = dict[str, dict[str, list]]  # by job, then by name: one entry per run


class Job(NamedTuple):
    """Runs of one config with their students, and what is measured on them."""

    name: str
    config: mnist.Config
    conditions: Sequence[mnist.Condition]
    measure: Measure = mnist.accuracies
    share: float = 1.0  # of the runs asked for: a costly variant has fewer, the first ones, at least two

    def runs(self, asked: int) -> int:
        """How many runs there are when so many are asked for."""
        return min(asked, max(2, math.ceil(self.share * asked)))

    def work(self) -> float:
        """Epochs of all models of a run, in passes over all images."""
        images = self.config.noise_images
        students = [c.config(self.config).student.epochs * (c.images or images) / images for c in self.conditions]
        return self.config.teacher.epochs + sum(students)


def run_jobs(jobs: Sequence[Job], *, dataset: mnist.Dataset, request: cli.Request) -> Values:
    """Train and measure all jobs, each in chunks of runs. Runs of the same number have the same keys in all jobs.

    Args:
        jobs: what to train; names differ.
        dataset: restricted to each config's classes here.
        request: how many runs, from which seed, how many at a time, where they are kept.
    """
    title = data.TITLES[dataset.name]
    needs = [needed(job, dataset, job.runs(request.runs), request.chunk) for job in jobs]
    whole = Size(
        [model for size in needs for model in size.models],
        max(size.memory for size in needs),
        sum(size.seconds for size in needs),
    )
    request.progress.start(sum(job.work() * job.runs(request.runs) for job in jobs), title, whole)
    return {job.name: _run_job(job, title, dataset, request) for job in jobs}


def _run_job(job: Job, title: str, dataset: mnist.Dataset, request: cli.Request) -> dict[str, list]:
    dataset = data.keep_classes(dataset, job.config.classes)
    runs, said = job.runs(request.runs), title if job.name == MAIN else f"{title}, {job.name}"
    mesh = engine.run_mesh(min(runs, request.chunk or runs))

    def compute(first: int, count: int) -> dict[str, list[Any]]:
        keys = mnist.run_keys(request.seed, engine.fill_devices(first, count, mesh))
        label = f"{said}, runs {first + 1}-{first + count} of {runs}"

        def on_epoch(phase: str, work: float, i: int) -> None:
            request.progress.advance(count * work, f"{label}, {phase}, epoch {i + 1}")

        values = job.measure(mnist.train(job.config, dataset, job.conditions, keys, on_epoch=on_epoch), dataset)
        return {name: np.asarray(column)[:count].astype(float).tolist() for name, column in values.items()}

    def on_chunk(count: int, loaded: bool) -> None:
        if loaded:
            request.progress.advance(count * job.work(), f"{said}, {count} runs from an earlier start", loaded=True)

    store = request.store.part(job.name) if request.store and job.name != MAIN else request.store
    size = request.chunk or mesh.size
    return chunks.run_in_chunks(compute, runs=runs, chunk=size, store=store, on_chunk=on_chunk)


def needed(job: Job, dataset: mnist.Dataset, runs: int, chunk: int | None) -> Size:
    """What a job needs, so many runs of a reference, a teacher and its students; `chunk` of them side by side."""
    config, conditions = job.config, job.conditions
    parameters = count_parameters(models.make_mlp(config, dataset.train_images.shape[1]).init)
    (seen, pixels), tested, students = dataset.train_images.shape, len(dataset.test_images), len(conditions)
    shown, units = config.noise_images, config.width * config.depth + config.logits
    batch = max(min(config.teacher.batch_size, seen), students * min(config.student.batch_size, shown))
    data_set = 2 * (seen + tested) * pixels + seen * config.logits  # here and on the device
    run = shown * (pixels + config.logits) * (1 if config.noise in ("uniform", "gaussian", "bernoulli") else 2)
    run += students * parameters * STATE + 2 * batch * units + tested * max(config.width, config.logits) * students
    trained = seen * config.teacher.epochs + shown * (job.work() - config.teacher.epochs)
    flops = FLOPS * parameters * (trained + (students + 2) * tested / 3 + shown / 3)
    side_by_side = min(runs, chunk or len(jax.local_devices()))
    devices = min(side_by_side, len(jax.local_devices()))
    return Size(
        [("networks" if job.name == MAIN else f"networks of {job.name}", students + 2, parameters)],
        STARTED + FLOAT * (data_set * devices + run * side_by_side),
        COMPILING + config.depth + runs * flops / RATE / devices,
    )
