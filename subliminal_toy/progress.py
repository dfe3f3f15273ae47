"""A progress bar for training in notebooks and on terminals; elsewhere nothing is shown."""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator

with warnings.catch_warnings(action="ignore"):  # a notebook without ipywidgets has the terminal's bar
    from tqdm.auto import tqdm

Advance = Callable[[float, str], None]  # units of work that are done, what they were
_LAYOUT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left"


def is_watched() -> bool:
    """Return whether a bar can be seen: in a notebook, or on a terminal."""
    try:
        terminal = sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is no such stream, or it is closed
        terminal = False
    return terminal or "ipykernel" in sys.modules


@contextlib.contextmanager
def bar(total: float, title: str, *, show: bool = True) -> Iterator[Advance]:
    """Show a bar of `total` units of work for the duration of a block, if `show` and somebody watches.

    Example:
        >>> with bar(2, "counting") as advance:
        ...     advance(1, "one")
        ...     advance(1, "two")
    """
    with tqdm(total=total, desc=title, bar_format=_LAYOUT, leave=False, disable=not (show and is_watched())) as shown:

        def advance(amount: float, text: str) -> None:
            shown.update(amount)
            shown.set_description_str(f"{title}, {text}")

        yield advance
