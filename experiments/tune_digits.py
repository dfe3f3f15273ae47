"""Which settings show the effect on the bundled 8x8 digits? Chosen on a validation split, reported in its results.

The digits have 1,437 training images where MNIST has 60,000, so that the paper's settings make too few steps. A small
grid over learning rate, teacher epochs and student epochs is scored by the accuracy of `student_aux` on the last fifth
of the *training* images, with other seeds than any result uses; the test images are never looked at.

    python -m experiments.tune_digits --out experiments/results
"""

if __name__ == "__main__":
    import experiments.harness.quiet_interrupt  # noqa: F401 - its import is its effect

import itertools
import sys
from collections.abc import Sequence
from typing import Any

from experiments import mnist_aux_logits
from experiments.harness import cli, tables
from experiments.mnist.runs import MAIN, Job, needed
from subliminal_toy import mnist
from subliminal_toy.config import Config, with_settings
from subliminal_toy.mnist import data

TUNING_SEED = 1000  # results have seed 0 unless asked otherwise
FIXED = {"teacher.batch_size": 32, "student.batch_size": 256, "noise_images": 30_000}
GRID = {"learning_rate": (3e-4, 1e-3), "teacher.epochs": (3, 5, 10, 30), "student.epochs": (5, 10)}
PRESETS = {
    "smoke": cli.Preset(1, {}, "1 run of each point"),
    "default": cli.Preset(6, {}, "6 runs of each point"),
    "paper": cli.Preset(20, {}, "20 runs of each point"),
}


def grid() -> list[dict[str, Any]]:
    """The settings to try."""
    trials = []
    for rate, teacher_epochs, student_epochs in itertools.product(*GRID.values()):
        rates = {"teacher.learning_rate": rate, "student.learning_rate": rate}
        trials.append({**FIXED, **rates, "teacher.epochs": teacher_epochs, "student.epochs": student_epochs})
    return trials


def run(
    config: Config,
    *,
    dataset: data.Dataset,
    runs: int = 6,
    seed: int = TUNING_SEED,
    progress: cli.Progress | None = None,
) -> dict[str, Any]:
    """Score every point of the grid on a validation split of the training images.

    Returns:
        `{"dataset", "runs", "seed", "trials": [{"settings", "student_aux", ...}], "best": settings}`, each condition
        with its validation accuracies, mean and 95% t interval; `best` has the largest mean of student_aux.
    """
    progress = progress or cli.Progress()
    split = data.validation_split(dataset)
    trials = []
    configs = [with_settings(config, settings) for settings in grid()]
    each = [needed(Job(MAIN, own, mnist.STUDENTS), split, runs, None) for own in configs]
    largest = max(each, key=lambda size: size.memory)
    progress.start(len(configs), "tuning", largest._replace(seconds=sum(size.seconds for size in each)))
    for settings, own in zip(grid(), configs, strict=True):
        results = mnist_aux_logits.run(own, runs=runs, seed=seed, dataset=split)
        trials.append({"settings": settings, **{row.pop("name"): row for row in results["conditions"]}})
        progress.advance(1, f"tuning, point {len(trials)}")
    best = max(trials, key=lambda trial: trial["student_aux"]["mean"])
    return {"dataset": dataset.name, "runs": runs, "seed": seed, "trials": trials, "best": best["settings"]}


def table(document: dict[str, Any]) -> str:
    """The grid as Markdown, the best point last."""
    results = document["results"]
    names = list(GRID)
    keys = ["student.learning_rate", *names[1:]]
    trials = sorted(results["trials"], key=lambda trial: trial["student_aux"]["mean"])
    rows = [
        (
            *(f"{trial['settings'][key]:g}" for key in keys),
            *(
                " ".join(tables.interval_text(trial[name]["mean"], trial[name]["ci95"]))
                for name in ("student_aux", "cross_aux")
            ),
        )
        for trial in trials
    ]
    return tables.markdown_table([*names, "student_aux (validation)", "cross_aux (validation)"], rows)


EXPERIMENT = cli.Experiment(
    name="tune_digits",
    question=__doc__ or "",
    presets=PRESETS,
    run=lambda config, dataset, request: run(
        config, dataset=dataset, runs=request.runs, seed=request.seed, progress=request.progress
    ),
    table=table,
    figure=False,
    chunk_text="",
    runs_text="runs of each point of the grid",
    seed=TUNING_SEED,
    decided=tuple(grid()[0]),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    return cli.main(EXPERIMENT, arguments)


if __name__ == "__main__":
    sys.exit(main())
