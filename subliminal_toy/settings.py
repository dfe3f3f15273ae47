"""Settings as frozen dataclasses: each field carries its help text, unit and range.

The command line and the error messages are made from them. A setting that others have swept is a field, so that a
sweep is `dataclasses.replace(config, ...)` and never new training code. Sources in comments: P = Cloud et al. 2025,
arXiv 2507.14805, section 6.2; OFF = its authors' MNIST script.
"""

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")  # a class of configs
SCHEDULES = ("constant", "cosine", "late_linear")
OPTIMIZERS = ("adam", "sgd", "momentum", "rmsprop", "signsgd")


LARGEST_INT, SMALLEST_FLOAT, LARGEST_FLOAT = 2**31 - 1, 1.2e-38, 3.4e38  # of what is computed with


class Limits(TypedDict, total=False):
    """What a setting may be, and when it counts."""

    low: float  # inclusive
    high: float  # inclusive
    above: float  # exclusive
    only: tuple[str, str]  # another field beside it, and the value of that without which this one makes no difference


def setting(default: Any, text: str, *, unit: str = "", choices: tuple = (), **limits: Unpack[Limits]) -> Any:
    """Make a dataclass field with its help text, unit, valid choices and limits."""
    none = dict.fromkeys(Limits.__annotations__)
    return dataclasses.field(
        default=default, metadata={"text": text, "unit": unit, "choices": choices, **none, **limits}
    )


def is_whole(value: Any) -> bool:
    """Say whether a value is a whole number, Python's or NumPy's; True and False are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Say whether a value is a real number; True and False are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


# By the type of a setting's default: what its values must be, and in words.
_TYPES: dict[type, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "True or False"),
    int: (is_whole, "a whole number"),
    float: (is_number, "a number"),
    str: (lambda value: isinstance(value, str), "text"),
}


def check_settings(instance: Any, prefix: str = "") -> None:
    """Raise ValueError, naming the field, its value and what is allowed, if a field is out of its range."""
    for field in dataclasses.fields(instance):
        value, limits = getattr(instance, field.name), field.metadata
        name = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            check_settings(value, prefix=f"{field.name}.")
            continue
        fits, words = _TYPES.get(type(field.default), (lambda _: True, ""))
        if not fits(value):
            raise ValueError(f"{name} is {value!r}; it must be {words}")
        if limits["choices"] and value not in limits["choices"]:
            raise ValueError(f"{name} is {value!r}; choose one of {', '.join(limits['choices'])}")
        if not is_number(value):
            continue
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} is {value}; it must be a finite number")
        for limit, fails, words in (
            ("low", lambda v, m: v < m, "at least"),
            ("high", lambda v, m: v > m, "at most"),
            ("above", lambda v, m: v <= m, "greater than"),
        ):
            if limits[limit] is not None and fails(value, limits[limit]):
                raise ValueError(f"{name} is {value}; it must be {words} {limits[limit]}")
        if isinstance(value, int) and abs(value) > LARGEST_INT:
            raise ValueError(f"{name} is {value}; it must be at most {LARGEST_INT}, the largest int32")
        if isinstance(value, float) and value and not SMALLEST_FLOAT <= abs(value) <= LARGEST_FLOAT:
            raise ValueError(
                f"{name} is {value}; float32 holds {SMALLEST_FLOAT} to {LARGEST_FLOAT}, that is what it must be in"
            )


def check_used(configs: Sequence[Any], names: Container[str]) -> None:
    """Raise ValueError for one of some settings that makes no difference in any of some configs, for another's sake."""
    for name, field in setting_fields(type(configs[0])).items():
        if name in names and field.metadata["only"]:
            beside, value = field.metadata["only"]
            phase, dot, _ = name.rpartition(".")
            values = [setting_value(config, f"{phase}{dot}{beside}") for config in configs]
            if value not in values:
                raise ValueError(f"{name} makes no difference: {phase}{dot}{beside} is {values[0]}; it needs {value}")


@dataclasses.dataclass(frozen=True)
class Training:
    """How one phase (the teacher's or the students') is trained."""

    optimizer: str = setting("adam", "update rule", choices=OPTIMIZERS)  # OFF: Adam, betas .9/.999, eps 1e-8
    learning_rate: float = setting(3e-4, "step size", above=0.0)  # P 6.2
    batch_size: int = setting(1024, "batch size; the last, smaller batch is used too", unit="examples", low=1)
    epochs: int = setting(
        5, "passes over the training set (0 trains nothing)", unit="epochs", low=0, high=100_000
    )  # P 6.2
    weight_decay: float = setting(0.0, "weight decay coefficient", low=0.0)
    decay: str = setting(
        "decoupled",
        "weight decay as a part of the gradient (coupled) or of the update (decoupled, as in AdamW)",
        choices=("coupled", "decoupled"),
    )
    adam_b2: float = setting(
        0.999, "decay of Adam's mean of squared gradients", low=0.0, high=0.99999, only=("optimizer", "adam")
    )
    clip: float = setting(0.0, "largest norm of a gradient, longer ones are scaled down to it (0: no limit)", low=0.0)
    warmup: int = setting(0, "steps in which the step size rises from 0", unit="steps", low=0)
    schedule: str = setting(
        "constant",
        "step size after the warm-up: constant, cosine to 0, or late_linear: linear to 0 over the second half",
        choices=SCHEDULES,
    )


def with_settings(config: Settings, settings: Mapping[str, Any]) -> Settings:
    """`config` with some fields replaced; those of a phase are named with a dot.

    Raises ValueError for a field that does not exist or a value out of range.

    Example:
        >>> with_settings(Training(), {"epochs": 10}).epochs
        10
    """
    changes: dict[str, Any] = {}
    for name, value in settings.items():
        phase, dot, field = name.rpartition(".")
        if name not in setting_fields(type(config)):
            raise ValueError(f"there is no setting {name!r}")
        if dot:
            changes[phase] = dataclasses.replace(changes.get(phase, getattr(config, phase)), **{field: value})
        else:
            changes[name] = value
    return dataclasses.replace(config, **changes)


def setting_fields(config: type) -> dict[str, dataclasses.Field]:
    """Return all settings of a class by name, the phases' with a dot: "width", "teacher.epochs"."""
    fields: dict[str, dataclasses.Field] = {}
    for field in dataclasses.fields(config):
        if field.type is Training:
            fields |= {f"{field.name}.{inner.name}": inner for inner in dataclasses.fields(Training)}
        else:
            fields[field.name] = field
    return fields


def setting_value(config: Any, name: str) -> Any:
    """Return the value of a setting by its name, a phase's with a dot.

    Example:
        >>> setting_value(Training(), "epochs")
        5
    """
    return functools.reduce(getattr, name.split("."), config)


def setting_values(config: Any) -> dict[str, Any]:
    """Return all settings of a config by name; `with_settings` takes them back."""
    return {name: setting_value(config, name) for name in setting_fields(type(config))}
