"""Which settings show the effect on the bundled 8x8 digits? Chosen on a validation split, reported in its results.

The digits have 1,437 training images where MNIST has 60,000, so that the paper's settings make too few steps. A small
grid over learning rate, teacher epochs and student epochs is scored by the accuracy of `student_aux` on the last fifth
of the *training* images, with other seeds than any result uses; the test images are never looked at.

    python -m experiments.studies.tune_digits
    python -m experiments.studies.tune_digits --preset paper
    python -m experiments.studies.tune_digits --runs 2 --width 64
"""

import itertools
from typing import Any

from experiments import mnist_aux_logits
from experiments.harness import chunks, cli, tables
from experiments.mnist.runs import MAIN, SIDE, Job
from subliminal_toy import mnist

TUNING_SEED = 1000  # results have seed 0 unless asked otherwise
FIXED = {"teacher.batch_size": 32, "student.batch_size": 256, "noise_images": 30_000}
GRID = {"learning_rate": (3e-4, 1e-3), "teacher.epochs": (3, 5, 10, 30), "student.epochs": (5, 10)}
PRESETS = {
    "smoke": cli.Preset(1, {}, "1 run of each point"),
    "default": cli.Preset(6, {}, "6 runs of each point"),
    "paper": cli.Preset(20, {}, "20 runs of each point"),
}


def grid() -> list[dict[str, Any]]:
    """Return the settings to try."""
    trials = []
    for rate, teacher_epochs, student_epochs in itertools.product(*GRID.values()):
        rates = {"teacher.learning_rate": rate, "student.learning_rate": rate}
        trials.append({**FIXED, **rates, "teacher.epochs": teacher_epochs, "student.epochs": student_epochs})
    return trials


def jobs(config: mnist.Config) -> list[Job]:
    """Plan the paper's students at every point of the grid."""
    return [
        Job(f"point {i + 1}", mnist.with_settings(config, point), mnist.STUDENTS, held_out=True)
        for i, point in enumerate(grid())
    ]


def summarize(config: mnist.Config, values: chunks.Values) -> dict[str, Any]:
    """Score every point of the grid.

    Returns:
        `{"trials": [{"settings", "student_aux", ...}], "best": settings}`, each condition with its validation
        accuracies, mean and 95% t interval; `best` has the largest mean of student_aux.
    """
    trials: list[dict[str, Any]] = []
    for settings, columns in zip(grid(), values.values(), strict=True):
        rows = mnist_aux_logits.summarize(config, {MAIN: columns})["conditions"]
        trials.append({"settings": settings, **{row.pop("name"): row for row in rows}})
    best = max(trials, key=lambda trial: trial["student_aux"]["mean"])
    return {"trials": trials, "best": best["settings"]}


def table(document: dict[str, Any]) -> str:
    """Write the grid as Markdown, the best point last."""
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
    "tune_digits",
    __doc__,
    PRESETS,
    jobs,
    summarize,
    table,
    SIDE._replace(dataset="digits"),
    seed=TUNING_SEED,
    figure=False,
    runs_text="runs of each point of the grid",
    decided=tuple(grid()[0]),
)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
