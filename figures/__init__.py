"""Pictures, drawn from result files alone: nothing here trains, or knows how the numbers were made."""

import importlib
import json
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
COMMITTED_RESULTS = HERE.parent / "experiments" / "results"


class FigureError(ValueError):
    """A figure cannot be drawn; the message is one line."""


def names() -> list[str]:
    """The figures there are: a module of this package each, named after the experiment whose results it draws."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("__init__", "__main__", "style"))


def load(name: str, results: Path) -> dict[str, Any]:
    """The result document of experiment `name`; FigureError if it is missing or is not one."""
    path = Path(results) / f"{name}.json"
    try:
        document = json.loads(path.read_text(), parse_constant=_refuse)
    except OSError as error:
        raise FigureError(f"no results at {path} ({error.strerror}); run python -m experiments.{name}") from error
    except (ValueError, RecursionError) as error:
        raise FigureError(f"{path} is not JSON ({error}); run python -m experiments.{name} again") from error
    if not isinstance(document, dict) or document.get("experiment") != name:
        raise FigureError(f"{path} does not hold results of {name}")
    return document


def draw(name: str, *, results: Path = COMMITTED_RESULTS, out: Path = HERE) -> Path:
    """Draw one figure from `<results>/<name>.json` to `<out>/<name>.png` and return its path."""
    if name not in names():
        raise FigureError(f"there is no figure {name!r}; there are {', '.join(names())}")
    document = load(name, results)
    from figures import style

    module = importlib.import_module(f"figures.{name}")
    with style.applied():
        try:
            picture = style.as_png(module.figure(document))
        except Exception as error:  # the file may be wrong in any way
            where = Path(results) / f"{name}.json"
            why = f"{type(error).__name__}: {str(error)[:100]}"
            again = f"run python -m experiments.{name} again"
            raise FigureError(f"{where} does not hold what this figure shows ({why}); {again}") from error
    return style.save(picture, Path(out) / f"{name}.png")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} in it")
