"""Runs of the MNIST experiment: what is trained, what is measured, and what it takes."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.harness.chunks import MAIN as MAIN
from experiments.harness.chunks import Chunk, Columns
from experiments.harness.experiment import Advance, DataSource, Side
from subliminal_toy import mnist
from subliminal_toy.mnist import data
from subliminal_toy.mnist.config import DATASET_SETTINGS
from subliminal_toy.mnist.students import count_epochs
from subliminal_toy.statistics import t_interval

Measure = Callable[[mnist.Trained, mnist.Dataset], dict[str, np.ndarray]]  # name -> [runs, ...]
FIRST = ("vary", "aux_logits", "width", "noise", "student.epochs")
IMAGES = DataSource(
    names=data.DATASETS,
    load=lambda name, folder: data.load_dataset(name, folder),
    titles=data.TITLES,
    settings=DATASET_SETTINGS,
    shown=("mnist", "digits"),
    first="mnist",
    choice_text="auto is MNIST, or 8x8 digits without it",
    folder_text="folder with MNIST's four files (default: $MNIST_DIR, then TensorFlow Datasets)",
)
WORDS = {  # of a network, for people
    "reference": "reference",
    "teacher": "teacher",
    "student_aux": "student (aux. only)",
    "student_all": "student (all logits)",
    "cross_aux": "cross-model (aux. only)",
    "cross_all": "cross-model (all logits)",
    "untrained_teacher_aux": "control: untrained teacher",
    "shuffled_targets_aux": "control: shuffled targets",
}
SIDE = Side(mnist.Config, IMAGES, chunk_text="about 0.5 GB each on MNIST", first=FIRST)


def accuracy_rows(accuracy: Mapping[str, Sequence[float]], names: Iterable[str]) -> list[dict[str, Any]]:
    """Describe each network's accuracies [runs] in a row: their mean, and 95% t interval (None for one run)."""
    return [
        {"name": name, "words": WORDS[name], "accuracy": accuracy[name], **t_interval(accuracy[name])._asdict()}
        for name in names
    ]


class Job(NamedTuple):
    """Runs of one config with their students, and what is measured on them."""

    name: str
    config: mnist.Config
    conditions: Sequence[mnist.Condition]
    measure: Measure = mnist.accuracies
    share: float = 1.0  # of the runs asked for: a costly variant has fewer, the first ones, at least two
    held_out: bool = False  # measured on a fifth of the training images, held back, and never on the test images

    def runs(self, asked: int) -> int:
        """Return how many runs there are when so many are asked for."""
        return min(asked, max(2, math.ceil(self.share * asked)))

    def work(self) -> float:
        """Count the epochs of all models of a run, in passes over all images."""
        return count_epochs(self.config, self.conditions)

    def _images(self, dataset: mnist.Dataset) -> mnist.Dataset:
        return data.keep_classes(data.validation_split(dataset) if self.held_out else dataset, self.config.classes)

    def compute(self, chunk: Chunk, dataset: mnist.Dataset | None, advance: Advance) -> Columns:
        """Train and measure some runs; those that fill the devices are left out."""
        assert dataset is not None
        dataset = self._images(dataset)
        keys = mnist.run_keys(chunk.seed, chunk.runs())

        def on_epoch(phase: str, work: float, i: int) -> None:
            advance(work, f"{phase}, epoch {i + 1}")

        values = self.measure(mnist.train(self.config, dataset, self.conditions, keys, on_epoch=on_epoch), dataset)
        return {name: np.asarray(column)[: chunk.count].astype(float).tolist() for name, column in values.items()}
