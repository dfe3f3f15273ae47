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
from subliminal_toy import engine
from subliminal_toy.config import Config
from subliminal_toy.mnist import data
from subliminal_toy.mnist import train as protocol
from subliminal_toy.statistics import paired_interval, t_interval

CONDITIONS = ("reference", "teacher", *(condition.name for condition in protocol.STUDENTS))
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
    config: Config | None = None, *, runs: int = 10, seed: int = 0, dataset: data.Dataset | None = None,
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
    config = config or Config()
    progress = progress or cli.Progress()
    dataset = data.keep_classes(dataset or data.load_dataset(config.dataset), config.classes)
    mesh = engine.run_mesh(min(runs, chunk or runs))
    run_chunk = protocol.make_protocol(config, dataset, mesh)
    work = {"teacher": 1, "students": len(protocol.STUDENTS)}
    per_run = config.teacher.epochs * work["teacher"] + config.student.epochs * work["students"]
    title = data.TITLES[dataset.name]

    def compute(first: int, count: int) -> dict[str, list[float]]:
        padded = engine.fill_devices(first, count, mesh)
        label = f"{title}, runs {first + 1}-{first + count} of {runs}"
        accuracy = run_chunk(
            protocol.run_keys(seed, padded),
            lambda phase, i: progress.advance(count * work[phase], f"{label}, {phase}, epoch {i + 1}"),
        )
        return {name: column[:count].astype(float).tolist() for name, column in accuracy.items()}

    def on_chunk(count: int, loaded: bool) -> None:
        if loaded:
            progress.advance(count * per_run, f"{title}, {count} runs from an earlier start", loaded=True)

    progress.start(runs * per_run, title)
    accuracy = chunks.run_in_chunks(compute, runs=runs, chunk=chunk or mesh.size, store=store, on_chunk=on_chunk)
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
