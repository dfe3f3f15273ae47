"""The MLP/MNIST experiment: data, the network, noise, losses, and the training of teachers and students.

Example:
    >>> from subliminal_toy import mnist
    >>> config, digits = mnist.config_for("digits"), mnist.load_dataset("digits")
    >>> trained = mnist.train(config, digits, mnist.STUDENTS, mnist.run_keys(0, range(2)), watch=True)  # doctest: +SKIP
    >>> trained.params("student_aux")["hidden_0"]["kernel"]  # [runs, pixels, units]                    # doctest: +SKIP
    >>> mnist.accuracy(config, digits, trained.history["student_aux"])  # [runs, epochs]                # doctest: +SKIP
"""

from subliminal_toy.mnist.config import Config, config_for
from subliminal_toy.mnist.data import Dataset, keep_classes, load_dataset
from subliminal_toy.mnist.measure import accuracies, accuracy, logits
from subliminal_toy.mnist.models import Model
from subliminal_toy.mnist.protocol import RunKeys, Trained, run_keys, train
from subliminal_toy.mnist.students import CONTROLS, STUDENTS, Condition
from subliminal_toy.settings import with_settings

__all__ = [
    "CONTROLS",
    "STUDENTS",
    "Condition",
    "Config",
    "Dataset",
    "Model",
    "RunKeys",
    "Trained",
    "accuracies",
    "accuracy",
    "config_for",
    "keep_classes",
    "load_dataset",
    "logits",
    "run_keys",
    "train",
    "with_settings",
]
