"""Do students pick up MNIST from a teacher's auxiliary logits on noise images? Paper section 6.2, Fig. 10b.

A reference network is trained into a teacher on the 10 class logits of real digits. Students see only noise images, and
imitate the teacher there: on 3 auxiliary logits that nobody ever trained ("aux. only"), or on all 13. Those that start
from the teacher's own init learn to read digits; those that start elsewhere do not, from the auxiliary logits.

    python -m experiments.mnist_aux_logits                 10 runs
    python -m experiments.mnist_aux_logits --preset paper  100 runs
"""

if __name__ == "__main__":
    import experiments.harness.quiet_interrupt  # noqa: F401 - its import is its effect

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.harness import chunks, cli, tables
from experiments.mnist.runs import MAIN, Job, run_jobs
from subliminal_toy import mnist
from subliminal_toy.mnist import data
from subliminal_toy.statistics import paired_interval, t_interval

CONDITIONS = ("reference", "teacher", *(condition.name for condition in mnist.STUDENTS))
PAIRS = (
    ("student_aux", "cross_aux"),
    ("student_all", "cross_all"),
    ("student_aux", "reference"),
    ("cross_aux", "reference"),
)
PRESETS = {
    "smoke": cli.Preset(
        2, {"teacher.epochs": 1, "student.epochs": 1, "noise_images": 8192}, "2 short runs, to see that it works"
    ),
    "default": cli.Preset(10, {}, "10 runs"),
    "paper": cli.Preset(100, {}, "100 runs"),
}


def run(
    config: mnist.Config | None = None, *, runs: int = 10, seed: int = 0, dataset: mnist.Dataset | None = None,
    chunk: int | None = None, store: chunks.ChunkStore | None = None, progress: cli.Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run the experiment.

    Args:
        config: the settings; default the paper's, on MNIST.
        runs: independent runs.
        seed: of all randomness; run i depends on the seed and on i alone.
        dataset: default: `load_dataset(config.dataset)`.
        chunk: runs trained at a time; default one per device.
        store: keeps finished chunks, for going on after a stop.
        progress: told of every epoch.

    Returns:
        `{"dataset", "runs", "conditions": [{"name", "accuracy", "mean", "ci95"}], "paired": [{"name", "difference",
        "mean", "ci95"}]}`: test accuracies in [0, 1], one per run, with 95% t intervals.

    Raises:
        DataError: no usable data. TrainingDivergedError: a loss was not finite.

    Example:
        >>> from experiments import mnist_aux_logits
        >>> results = mnist_aux_logits.run(runs=3)                                             # doctest: +SKIP
    """
    config = config or mnist.Config()
    dataset = dataset or mnist.load_dataset(config.dataset)
    request = cli.Request(runs, seed, chunk, store, progress or cli.Progress())
    accuracy = run_jobs([Job(MAIN, config, mnist.STUDENTS)], dataset=dataset, request=request)[MAIN]
    return {"dataset": dataset.name, "runs": runs, **summarize(accuracy)}


def summarize(accuracy: dict[str, list[float]]) -> dict[str, Any]:
    """Means, intervals and paired differences of the accuracies [runs] of each condition."""
    conditions = [
        {"name": name, "accuracy": accuracy[name], **t_interval(accuracy[name])._asdict()} for name in CONDITIONS
    ]
    paired = [
        {
            "name": f"{first} - {second}",
            "difference": (np.array(accuracy[first]) - np.array(accuracy[second])).tolist(),
            **paired_interval(accuracy[first], accuracy[second])._asdict(),
        }
        for first, second in PAIRS
    ]
    return {"conditions": conditions, "paired": paired}


def table(document: dict[str, Any]) -> str:
    """The results as Markdown."""
    results = document["results"]
    rows = [
        (row["name"], *tables.interval_text(row["mean"], row["ci95"]), str(results["runs"]))
        for row in [*results["conditions"], *results["paired"]]
    ]
    header = (f"test accuracy, {data.TITLES[results['dataset']]}", "mean", "95% CI (t)", "runs")
    return tables.markdown_table(header, rows)


EXPERIMENT = cli.Experiment(
    name="mnist_aux_logits",
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
