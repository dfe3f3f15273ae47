"""Do two workers of a cluster do twice what one does?

One worker and two, each held to a core of its own, compute the same runs of the MNIST experiment, 1, 2, 1, 2, ...; what
is compiled is compiled before the clock starts. The time that workers do not compute is what the cluster costs. Linux.

    python -m experiments.benchmarks.benchmark_cluster
    python -m experiments.benchmarks.benchmark_cluster --runs 1
    python -m experiments.benchmarks.benchmark_cluster --runs 5
"""

import logging
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from experiments import mnist_aux_logits
from experiments.benchmarks import benchmark
from experiments.harness import cli, cluster, tables
from experiments.harness.chunks import MAIN, Chunk, Columns, Values
from experiments.harness.experiment import Advance, Side
from experiments.mnist.runs import FIRST, IMAGES
from subliminal_toy import engine, machine, mnist

WORKERS = (1, 2)
RUNS = 16  # that are computed in a repeat by either
PRESETS = {
    "smoke": cli.Preset(1, {"teacher.epochs": 1, "student.epochs": 1}, "1 repeat of short runs"),
    "default": cli.Preset(3, {}, "3 repeats of 16 runs"),
    "paper": cli.Preset(10, {}, "10 repeats"),
}


class Scaling(NamedTuple):
    """The same runs by one worker and by two."""

    config: mnist.Config
    name: str = MAIN

    def runs(self, asked: int) -> int:
        """As many repeats as are asked for."""
        return asked

    def work(self) -> float:
        """In repeats."""
        return 1.0

    def compute(self, chunk: Chunk, _dataset: mnist.Dataset | None, advance: Advance) -> Columns:
        """A repeat. RunFailedError: there are not as many cores as workers, or a run failed."""
        if machine.count_cores() < max(WORKERS) or not hasattr(os, "sched_setaffinity"):
            raise engine.RunFailedError(f"this needs Linux and a core for each of {max(WORKERS)} workers")
        runs = [
            Chunk(
                mnist_aux_logits.EXPERIMENT.name,
                MAIN,
                self.config,
                chunk.seed,
                chunk.first * RUNS + i,
                1,
                1,
                chunk.data_dir,
            )
            for i in range(RUNS)
        ]
        values: Columns = {}
        for workers in WORKERS:
            values[f"{workers}"] = [measure(workers, runs)]
            advance(1 / len(WORKERS), f"{workers} worker{'s' * (workers > 1)}")
        return values


def measure(workers: int, chunks: list[Chunk]) -> dict[str, Any]:
    """Compute the chunks with so many workers: seconds from the first to the last, and of each chunk."""
    import distributed

    with distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=None, silence_logs=logging.ERROR
    ) as local:
        with distributed.Client(local) as client:
            cores = sorted(os.sched_getaffinity(0))
            for core, address in zip(cores, client.scheduler_info()["workers"], strict=False):
                client.run(_hold, core, workers=[address])
        list(cluster.compute(local.scheduler_address, chunks[: 2 * workers]))  # compiles
        began = time.perf_counter()
        done = list(cluster.compute(local.scheduler_address, chunks))
        return {"seconds": time.perf_counter() - began, "computing": [one.seconds for one in done]}


def _hold(core: int) -> None:
    """Keep this process, with all threads that it has and will have, on one core."""
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def jobs(config: mnist.Config) -> list[Scaling]:
    """What is measured."""
    return [Scaling(config)]


def summarize(_config: mnist.Config, values: Values) -> dict[str, Any]:
    """Times and their ratio.

    Returns:
        `{"runs_each", "workers": [{"name", "seconds": [repeats], "idle": [repeats]}], "speedup": {"ratio", "mean",
        "ci95"}}`; `idle` is the share of the workers' time in which they do not compute.
    """
    rows = [
        {"name": count, "seconds": [one["seconds"] for one in found],
         "idle": [1 - sum(one["computing"]) / (int(count) * one["seconds"]) for one in found]}
        for count, found in values[MAIN].items()
    ]  # fmt: skip
    one, two = (row["seconds"] for row in rows)
    return {"runs_each": RUNS, "workers": rows, "speedup": benchmark.ratio_interval(one, two)}


def table(document: dict[str, Any]) -> str:
    """Times and the speed-up, as Markdown."""
    results = document["results"]
    rows = [
        (row["name"], f"{sum(row['seconds']) / len(row['seconds']):.1f}",
         f"{100 * sum(row['idle']) / len(row['idle']):.1f}%")
        for row in results["workers"]
    ]  # fmt: skip
    speedup = results["speedup"]
    return "\n\n".join([
        tables.markdown_table(("workers", f"s for {results['runs_each']} runs", "of it not computing"), rows),
        tables.markdown_table(("ratio of seconds", "geometric mean", "95% CI (t)"),
                              [("1 worker / 2 workers", *tables.interval_text(speedup["mean"], speedup["ci95"], 2))]),
    ])  # fmt: skip


EXPERIMENT = cli.Experiment(
    "benchmark_cluster",
    __doc__,
    PRESETS,
    jobs,
    summarize,
    table,
    Side(mnist.Config, IMAGES, dataset="digits", title="benchmark_cluster", clustered=False, together=1, first=FIRST),
    figure=False,
    runs_text="repeats, each with runs of its own",
)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
