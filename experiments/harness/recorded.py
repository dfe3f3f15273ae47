"""Settings as results record them, and a run's own JSON as the settings of another: `--config FILE`."""

import json
from pathlib import Path
from typing import Any

from experiments.harness.experiment import Experiment, check_numbers
from subliminal_toy import settings

OF_A_REQUEST = ("preset", "runs", "seed", "dataset")  # recorded beside an experiment's settings


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """Settings of phases by their names with a dot."""
    inner = {name: flat(value) if isinstance(value, dict) else {"": value} for name, value in config.items()}
    return {f"{name}.{field}".rstrip("."): value for name, own in inner.items() for field, value in own.items()}


def read_config(path: Path, experiment: Experiment) -> dict[str, Any]:
    """The flat config of an experiment's results; ValueError, saying what the file holds, for any other file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        name, config = document["experiment"], flat(document["config"])
    except OSError as error:
        raise ValueError(f"--config {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"--config {path} holds no results of a command") from error
    if name != experiment.name:
        raise ValueError(f"--config {path} holds results of {name}, not of {experiment.name}")
    if unknown := config.keys() - {*OF_A_REQUEST, *experiment.setting_names()}:
        raise ValueError(f"--config {path} has {min(unknown)}, which is no setting of this version")
    check_numbers({name: config[name] for name in ("runs", "seed") if name in config})
    return config


def with_recorded(experiment: Experiment, config: dict[str, Any], chosen: dict[str, Any], dataset: str | None) -> Any:
    """The chosen settings over the recorded ones, and those over the defaults, which younger settings had then."""
    own = {name: value for name, value in config.items() if name not in OF_A_REQUEST}
    named = {} if dataset is None else {"dataset": dataset}
    return settings.with_settings(experiment.config_class()(), {**own, **chosen, **named})
