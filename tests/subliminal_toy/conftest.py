"""What tests of both sides share."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from subliminal_toy import progress


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], list[float]]:
    """Totals of the bars that are shown from here on, and the amounts that are done."""
    totals: list[float] = []
    done: list[float] = []

    @contextlib.contextmanager
    def bar(total: float, _title: str, *, show: bool) -> Iterator[Callable]:
        if show:
            totals.append(total)
        yield lambda amount, _text: done.append(amount)

    monkeypatch.setattr(progress, "bar", bar)
    return totals, done
