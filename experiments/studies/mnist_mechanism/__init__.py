"""How much of subliminal learning on MNIST does the one-step theorem explain? Theory, level by level, and students.

The theorem is about the first step. The experiment takes some 300 of Adam, towards a teacher that is far away. Asked
here, on the same runs: does every later step still point along the teacher's displacement Delta (direction)? Is it that
component which reads digits (one number), and does a student that may not move along it still learn (cause)? Is a
student of the linearised network as good (linear)? Does the part of Delta that the noise images can show predict how
much a student recovers (coverage)? How far does Adam turn the steps (Adam)?

    python -m experiments.studies.mnist_mechanism
    python -m experiments.studies.mnist_mechanism --dataset mnist
    python -m experiments.studies.mnist_mechanism --dataset mnist --runs 5
"""

from typing import Any

from experiments.harness import cli, tables
from experiments.mnist.runs import SIDE
from experiments.studies.mnist_mechanism import arms, rows
from subliminal_toy.mnist import data

PRESETS = {
    "smoke": cli.Preset(
        2,
        {"teacher.epochs": 1, "student.epochs": 1, "noise_images": 4096},
        "2 short runs, to see that it works",
    ),
    "default": cli.Preset(2, {"noise_images": 8_192}, "2 runs of few noise images"),
    "paper": cli.Preset(25, {}, "25 runs"),
}


def table(document: dict[str, Any]) -> str:
    """Write the rows that answer the questions, part by part, as Markdown; the JSON has all."""
    results = document["results"]
    lines = [
        (f"{part}: {row['name']}", *tables.interval_text(row["mean"], row["ci95"]), str(len(row["per_run"])))
        for part in rows.PARTS
        for row in results[part]
        if rows.is_answer(part, row)
    ]
    return tables.markdown_table((data.TITLES[results["dataset"]], "mean", "95% CI (t)", "runs"), lines)


EXPERIMENT = cli.Experiment(
    "mnist_mechanism", __doc__, PRESETS, arms.jobs, rows.summarize, table, SIDE._replace(dataset="digits")
)
run = EXPERIMENT.run
