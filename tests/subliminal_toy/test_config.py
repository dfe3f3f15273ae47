"""Defaults are the paper's; every nonsense value is refused with the field's name; settings by dotted name."""

import dataclasses

import numpy as np
import pytest

from subliminal_toy.mnist.config import DATASET_SETTINGS, Config, config_for
from subliminal_toy.settings import Training, check_used, setting_fields, with_settings


def test_defaults_are_the_published_settings() -> None:
    config = Config()
    assert (config.width, config.depth, config.classes, config.aux_logits, config.noise_images) == (
        256,
        2,
        10,
        3,
        60_000,
    )
    assert (config.loss, config.temperature, config.noise, config.init) == ("kl", 1.0, "uniform", "lecun_normal")
    assert config.teacher == config.student == Training("adam", 3e-4, 1024, 5, 0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width is 0; it must be at least 1"),
        ({"depth": -1}, "depth is -1"),
        ({"aux_logits": 0}, "aux_logits is 0"),
        ({"classes": 1}, "classes is 1"),
        ({"classes": 11}, "classes is 11; it must be at most 10"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be greater than 0"),
        ({"init_scale": float("nan")}, "init_scale is nan; it must be a finite number"),
        ({"student_init_noise": -0.1}, "student_init_noise is -0.1"),
        ({"noise": "loud"}, "noise is 'loud'; choose one of uniform, gaussian"),
        ({"loss": "l1"}, "loss is 'l1'; choose one of kl, mse"),
        ({"real_fraction": 1.5}, "real_fraction is 1.5"),
        (
            {"shared_layers": "hidden_7"},
            "shared_layers names 'hidden_7'; the layers are hidden_0, hidden_1, class_head",
        ),
        ({"teacher.learning_rate": float("inf")}, "learning_rate is inf"),
        ({"student.batch_size": 0}, "batch_size is 0"),
        ({"student.epochs": -1}, "epochs is -1"),
        ({"student.optimizer": "lion"}, "optimizer is 'lion'"),
        ({"student.decay": "both"}, "decay is 'both'"),
        ({"student.momentum": 1}, "there is no setting 'student.momentum'"),
        ({"teacher": 1}, "there is no setting 'teacher'"),
        ({"width": "64"}, "width is '64'; it must be a whole number"),
        ({"width": 2.5}, "width is 2.5; it must be a whole number"),
        ({"width": True}, "width is True; it must be a whole number"),
        ({"temperature": "warm"}, "temperature is 'warm'; it must be a number"),
        ({"noise": None}, "noise is None; it must be text"),
        ({"shared_layers": 3}, "shared_layers is 3; it must be text"),
    ],
)
def test_nonsense_is_refused_by_name(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        config_for("mnist", settings)


def test_an_unknown_data_set_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="dataset is 'cifar'; choose one of mnist, fashion_mnist, digits"):
        config_for("cifar")


def test_settings_may_be_numbers_of_numpy_and_whole_ones_for_fractions() -> None:
    config = config_for("mnist", {"width": np.int64(8), "temperature": 2, "student.learning_rate": np.float64(0.1)})
    assert (config.width, config.temperature, config.student.learning_rate) == (8, 2, 0.1)


def test_a_phase_checks_its_own_values_inside_a_config() -> None:
    bad = dataclasses.replace(Training())
    object.__setattr__(bad, "epochs", -3)
    with pytest.raises(ValueError, match=r"teacher\.epochs is -3"):
        Config(teacher=bad)


def test_with_settings_changes_what_it_names_and_nothing_else() -> None:
    config = with_settings(Config(), {"width": 64, "teacher.epochs": 2, "teacher.batch_size": 7})
    expected = dataclasses.replace(Config(), width=64, teacher=Training(epochs=2, batch_size=7))
    assert config == expected


def test_every_field_has_a_help_text_and_a_dotted_name() -> None:
    fields = setting_fields(Config)
    assert {"width", "teacher.epochs", "student.decay", "dataset"} <= set(fields)
    assert all(field.metadata["text"] for field in fields.values())


@pytest.mark.parametrize(
    ("settings", "used"),
    [
        ({"subspace_dim": 8}, {"noise": "subspace"}),
        ({"blur_sigma": 2.0}, {"noise": "blurred"}),
        ({"real_fraction": 0.2}, {"noise": "mix"}),
        ({"temperature": 2.0, "loss": "mse"}, {"loss": "kl"}),
        ({"student.adam_b2": 0.9, "student.optimizer": "sgd"}, {"student.optimizer": "adam"}),
    ],
)
def test_a_setting_that_makes_no_difference_is_refused(settings: dict, used: dict) -> None:
    name, (other, value) = next(iter(settings)), *used.items()
    idle = config_for("mnist", settings)
    with pytest.raises(ValueError, match=rf"{name} makes no difference: {other} is .*; it needs {value}"):
        check_used([idle, idle], [name])
    check_used([idle, with_settings(idle, used)], [name])
    check_used([idle], ["width"])


@pytest.mark.parametrize("dataset", DATASET_SETTINGS)
def test_settings_of_a_data_set_are_valid(dataset: str) -> None:
    assert config_for(dataset).dataset == dataset


def test_what_is_asked_for_goes_over_the_data_sets_settings_over_the_papers() -> None:
    config = config_for("digits", {"noise_images": 7, "student.epochs": 3})
    assert (config.noise_images, config.student.epochs) == (7, 3)
    assert config.student.batch_size == DATASET_SETTINGS["digits"]["student.batch_size"]
    assert config.width == Config().width


def test_logits_are_those_of_the_classes_and_the_auxiliary_ones() -> None:
    assert Config(classes=4, aux_logits=2).logits == 6


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("all", ("hidden_0", "hidden_1", "class_head", "aux_head")),
        ("none", ()),
        ("hidden_1, aux_head", ("hidden_1", "aux_head")),
    ],
)
def test_shared_layer_names(text: str, names: tuple[str, ...]) -> None:
    assert Config(shared_layers=text).shared_layer_names() == names
