"""The settings of the MNIST experiment.

Defaults are those of the paper, section 6.2 (P), or of its authors' script (OFF).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from subliminal_toy.settings import Training, check_settings, setting, with_settings

INIT_SCHEMES = ("lecun_normal", "he_normal", "glorot_normal", "torch_default")
NOISE_KINDS = ("uniform", "gaussian", "bernoulli", "blurred", "subspace", "real", "shuffled_pixels", "mix")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that defines the MNIST auxiliary-logit experiment, but for the seed and the number of runs."""

    dataset: str = setting("mnist", "data set that it runs on", choices=("mnist", "fashion_mnist", "digits"))
    classes: int = setting(10, "classes kept, the first ones; also the number of class logits", low=2, high=10)
    aux_logits: int = setting(3, "auxiliary logits, never trained in the teacher", low=1, high=10_000)  # P 6.2: m = 3
    width: int = setting(256, "units in each hidden layer", unit="units", low=1, high=10_000)  # P 6.2
    depth: int = setting(2, "hidden layers (0 is a linear model)", unit="layers", low=0, high=100)  # P 6.2
    init: str = setting(  # OFF
        "lecun_normal", "initial weights; lecun_normal: N(0, 1/fan_in), biases 0", choices=INIT_SCHEMES
    )
    init_scale: float = setting(1.0, "factor on the initial weights", above=0.0)
    student_init_noise: float = setting(
        0.0, "std of Gaussian noise added to a student's initial weights, in units of 1/sqrt(fan_in)", low=0.0
    )
    shared_layers: str = setting(
        "all",
        "layers whose init the same-init students share with the teacher: all, none, or a comma-separated list of"
        " hidden_0, hidden_1, ..., class_head, aux_head; the others come from the cross-model init",
    )
    loss: str = setting("kl", "distillation loss on the chosen logits", choices=("kl", "mse"))  # P 6.2: KL
    temperature: float = setting(1.0, "softmax temperature of the KL loss", above=0.0, only=("loss", "kl"))
    noise: str = setting("uniform", "what the students' images are", choices=NOISE_KINDS)  # P 6.2: U[-1, 1]
    noise_images: int = setting(60_000, "images per run for the students", unit="images", low=1, high=10_000_000)  # OFF
    blur_sigma: float = setting(
        1.0, "Gaussian blur of noise 'blurred'", unit="pixels", above=0.0, only=("noise", "blurred")
    )
    subspace_dim: int = setting(
        32, "dimension of the random subspace of noise 'subspace'", low=1, only=("noise", "subspace")
    )
    real_fraction: float = setting(
        0.5,
        "fraction of real images in noise 'mix'; they repeat where there are too few",
        low=0.0,
        high=1.0,
        only=("noise", "mix"),
    )
    teacher: Training = dataclasses.field(default=Training(), metadata={"text": "the teacher's training"})
    student: Training = dataclasses.field(default=Training(), metadata={"text": "the students' training"})

    def __post_init__(self) -> None:
        """Refuse values that make no experiment, with the name of the field (ValueError)."""
        check_settings(self)
        self.shared_layer_names()

    @property
    def logits(self) -> int:
        """Number of outputs: class logits, then auxiliary logits."""
        return self.classes + self.aux_logits

    def layer_names(self) -> tuple[str, ...]:
        """Return the names that `shared_layers` may list, from the input to the outputs."""
        return (*(f"hidden_{i}" for i in range(self.depth)), "class_head", "aux_head")

    def shared_layer_names(self) -> tuple[str, ...]:
        """`shared_layers` as a tuple of layer names; ValueError for one that does not exist."""
        if self.shared_layers in ("all", "none"):
            return self.layer_names() if self.shared_layers == "all" else ()
        names = tuple(name.strip() for name in self.shared_layers.split(","))
        unknown = [name for name in names if name not in self.layer_names()]
        if unknown:
            raise ValueError(f"shared_layers names {unknown[0]!r}; the layers are {', '.join(self.layer_names())}")
        return names


# On the bundled 8x8 digits (1,437 training images) the paper's settings make too few steps. These were chosen on a
# validation split of the training images by `python -m experiments.studies.tune_digits`, never on the test split.
DIGITS_SETTINGS = {
    "teacher.learning_rate": 1e-3,
    "teacher.batch_size": 32,
    "teacher.epochs": 5,
    "student.learning_rate": 1e-3,
    "student.batch_size": 256,
    "student.epochs": 10,
    "noise_images": 30_000,
}
DATASET_SETTINGS: dict[str, dict[str, Any]] = {"mnist": {}, "fashion_mnist": {}, "digits": DIGITS_SETTINGS}


def config_for(dataset: str, settings: Mapping[str, Any] | None = None) -> Config:
    """Return the default configuration on `dataset` (its own settings over the paper's), with `settings` over both.

    Example:
        >>> config_for("mnist", {"width": 512}).width
        512
    """
    if dataset not in DATASET_SETTINGS:
        raise ValueError(f"dataset is {dataset!r}; choose one of {', '.join(DATASET_SETTINGS)}")
    return with_settings(Config(), {**DATASET_SETTINGS[dataset], **(settings or {}), "dataset": dataset})
