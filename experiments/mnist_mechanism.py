"""How much of subliminal learning on MNIST does the one-step theorem explain? Theory, level by level, and students.

The theorem is about the first step. The experiment takes some 300 of Adam, towards a teacher that is far away. Asked
here, on the same runs: does every later step still point along the teacher's displacement Delta (direction)? Is it that
component which reads digits (one number), and does a student that may not move along it still learn (cause)? Is a
student of the linearised network as good (linear)? Does the part of Delta that the noise images can show predict how
much a student recovers (coverage)? How far does Adam turn the steps (Adam)?

    python -m experiments.mnist_mechanism                 2 runs of few noise images
    python -m experiments.mnist_mechanism --preset paper  25 runs
"""

if __name__ == "__main__":
    import experiments.harness.quiet_interrupt  # noqa: F401 - its import is its effect

import sys
from collections.abc import Sequence
from typing import Any

from experiments.harness import chunks, cli, tables
from experiments.mnist import mechanism
from experiments.mnist.runs import run_jobs
from subliminal_toy import mnist
from subliminal_toy.mnist import data

PRESETS = {
    "smoke": cli.Preset(
        2, {"teacher.epochs": 1, "student.epochs": 1, "noise_images": 4096}, "2 short runs, to see that it works"
    ),
    "default": cli.Preset(2, {"noise_images": 10_240}, "2 runs of few noise images"),
    "paper": cli.Preset(25, {}, "25 runs"),
}


def run(
    config: mnist.Config | None = None,
    *,
    runs: int = 2,
    seed: int = 0,
    dataset: mnist.Dataset | None = None,
    chunk: int | None = None,
    store: chunks.ChunkStore | None = None,
    progress: cli.Progress | None = None,
) -> dict[str, Any]:
    """Run the experiment.

    Args:
        config: the settings; default the paper's, on MNIST.
        runs: independent runs of the main parts; `mechanism.JOBS` says which share of them the others have.
        seed: of all randomness; run i depends on the seed and on i alone.
        dataset: default: `load_dataset(config.dataset)`.
        chunk: runs trained at a time; default one per device.
        store: keeps finished chunks, for going on after a stop.
        progress: told of every epoch.

    Returns:
        `{"dataset", "runs", <part>: [{"name", "mean", "ci95", "per_run", ...}]}` with the parts of `mechanism.PARTS`.

    Raises:
        DataError: no usable data. TrainingDivergedError: a loss was not finite.
    """
    config = config or mnist.Config()
    dataset = dataset or mnist.load_dataset(config.dataset)
    request = cli.Request(runs, seed, chunk, store, progress or cli.Progress())
    values = run_jobs(mechanism.jobs(config), dataset=dataset, request=request)
    return {"dataset": dataset.name, "runs": runs, **mechanism.summarize(values, config)}


def table(document: dict[str, Any]) -> str:
    """The rows that answer the questions, part by part, as Markdown; the JSON has all."""
    results = document["results"]
    rows = [
        (f"{part}: {row['name']}", *tables.interval_text(row["mean"], row["ci95"]), str(len(row["per_run"])))
        for part in mechanism.PARTS
        for row in results[part]
        if mechanism.is_answer(part, row)
    ]
    return tables.markdown_table((data.TITLES[results["dataset"]], "mean", "95% CI (t)", "runs"), rows)


EXPERIMENT = cli.Experiment(
    name="mnist_mechanism",
    question=__doc__ or "",
    presets=PRESETS,
    run=lambda config, dataset, request: run(config, dataset=dataset, **request.keywords()),
    table=table,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    return cli.main(EXPERIMENT, arguments)


if __name__ == "__main__":
    sys.exit(main())
