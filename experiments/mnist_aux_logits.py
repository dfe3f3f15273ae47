"""Do students pick up MNIST from a teacher's auxiliary logits on noise images? Paper section 6.2, Fig. 10b.

A reference network is trained into a teacher on the 10 class logits of real digits. Students see only noise images, and
imitate the teacher there: on 3 auxiliary logits that nobody ever trained ("aux. only"), or on all 13. Those that start
from the teacher's own init learn to read digits; those that start elsewhere do not, from the auxiliary logits.

    python -m experiments.mnist_aux_logits                   # 3 minutes
    python -m experiments.mnist_aux_logits --preset paper    # 28 minutes
    python -m experiments.mnist_aux_logits --dataset digits  # 2 minutes
"""

from typing import Any

import numpy as np

from experiments.harness import chunks, cli, tables
from experiments.mnist.runs import MAIN, SIDE, Job, accuracy_rows
from subliminal_toy import mnist
from subliminal_toy.mnist import data
from subliminal_toy.statistics import paired_interval

CONDITIONS = ("reference", "teacher", *(condition.name for condition in mnist.STUDENTS))
PAIRS = (
    ("student_aux", "cross_aux"),
    ("student_all", "cross_all"),
    ("student_aux", "reference"),
    ("cross_aux", "reference"),
)
PRESETS = {
    "smoke": cli.Preset(
        2,
        {"teacher.epochs": 1, "student.epochs": 1, "noise_images": 8192},
        "2 short runs, to see that it works, 1 minute",
    ),
    "default": cli.Preset(10, {}, "10 runs, 3 minutes"),
    "paper": cli.Preset(100, {}, "100 runs, 28 minutes"),
}


def jobs(config: mnist.Config) -> list[Job]:
    """What is trained: the four students of the paper."""
    return [Job(MAIN, config, mnist.STUDENTS)]


def summarize(_config: mnist.Config, values: chunks.Values) -> dict[str, Any]:
    """Means, 95% t intervals and paired differences of test accuracies in [0, 1].

    Returns:
        `{"conditions": [{"name", "accuracy", "mean", "ci95"}], "paired": [{"name", "difference", "mean", "ci95"}]}`,
        with one accuracy or difference per run.
    """
    accuracy = values[MAIN]
    conditions = accuracy_rows(accuracy, CONDITIONS)
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
    return tables.markdown_table(header, rows) + tables.beyond_note(results["conditions"])


def closing(document: dict[str, Any]) -> str:
    """What was seen, and what it means; the latter only if both intervals that it rests on are clear."""
    results, guessing = document["results"], 1 / document["config"]["classes"]
    rows = {row["name"]: row for row in [*results["conditions"], *results["paired"]]}
    own, other, gain = (rows[name] for name in ("student_aux", "cross_aux", "student_aux - cross_aux"))
    noise = document["config"]["noise"]
    images = {"real": "images without labels", "mix": "noise, images without labels"}.get(noise, "noise")
    seen = (
        f"From {images} and auxiliary logits alone, students that start where their teacher did read {own['mean']:.0%}"
        f" of the test images, and those that start elsewhere {other['mean']:.0%}, where guessing reads {guessing:.0%}."
    )
    clear = gain["ci95"] is not None and gain["ci95"][0] > 0 and own["ci95"][0] > guessing
    if clear:
        return f"{seen} So it is the common start that lets the teacher's skill through."
    return f"{seen} The intervals above do not show that the common start helps."


EXPERIMENT = cli.Experiment("mnist_aux_logits", __doc__, PRESETS, jobs, summarize, table, SIDE, closing=closing)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
