"""Pictures, drawn from result files alone: nothing here trains, or knows how the numbers were made."""

import contextlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from experiments.harness import files

HERE = Path(__file__).resolve().parent
COMMITTED_RESULTS = HERE.parent / "experiments" / "results"


class FigureError(ValueError):
    """A figure cannot be drawn; the message is one line."""


def names() -> list[str]:
    """List the figures: a module of this package each, named after the experiment whose results it draws."""
    return sorted(path.stem for path in HERE.glob("[!._]*.py") if path.stem != "style")


def load(name: str, results: Path) -> dict[str, Any]:
    """Load the result document of experiment `name`; FigureError if it is missing or is not one."""
    path = Path(results) / f"{name}.json"
    try:
        document = json.loads(path.read_bytes(), parse_constant=_refuse)
    except OSError as error:
        raise FigureError(f"no results at {path} ({error.strerror}); run python -m experiments {name}") from error
    except (ValueError, RecursionError) as error:
        raise FigureError(f"{path} is not JSON ({error}); run python -m experiments {name} again") from error
    if not isinstance(document, dict) or document.get("experiment") != name:
        raise FigureError(f"{path} does not hold results of {name}")
    return document


def draw(name: str, *, results: Path = COMMITTED_RESULTS, out: Path = HERE, svg: bool = False) -> list[Path]:
    """Draw the figures of `<results>/<name>.json` and return their paths.

    The first is `<out>/<name>.png`; what the module calls `more` is `<out>/<name>.<part>.png`, and so are its
    `VARIANTS`, results of other settings in `<results>/<part>/`, where there are any. `svg`: beside each PNG.
    """
    if name not in names():
        raise FigureError(f"there is no figure {name!r}; there are {', '.join(names())}")
    document = load(name, results)
    with _one_line("Matplotlib cannot be loaded"):
        from figures import style

        module = importlib.import_module(f"figures.{name}")
    formats = ("png", "svg") if svg else ("png",)
    variants = [part for part in getattr(module, "VARIANTS", ()) if (Path(results) / part / f"{name}.json").exists()]
    unfit = f"{Path(results) / name}.json does not hold what this figure shows; run python -m experiments {name} again"
    with style.applied():
        with _one_line(unfit):
            more = module.more(document) if hasattr(module, "more") else {}
            named = {name: module.figure(document)} | {f"{name}.{part}": figure for part, figure in more.items()}
            named |= {f"{name}.{part}": module.figure(load(name, Path(results) / part)) for part in variants}
        with _one_line("Matplotlib cannot draw it"), _one_line(unfit, RuntimeWarning):
            drawn = {
                f"{stem}.{kind}": style.as_bytes(picture, kind) for stem, picture in named.items() for kind in formats
            }
    return [files.write(Path(out) / file, picture) for file, picture in drawn.items()]


@contextlib.contextmanager
def _one_line(what: str, kind: type[Exception] = Exception) -> Iterator[None]:
    """Raise an error of the block as a FigureError: results, or Matplotlib's surroundings, may be wrong in any way."""
    try:
        yield
    except FigureError:
        raise
    except kind as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise FigureError(f"{what} ({why[:150]})") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} in it")
