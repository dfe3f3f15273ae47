"""The progress bar: seen in notebooks and on terminals, nowhere else."""

import sys
from types import ModuleType

import pytest

from subliminal_toy import progress


@pytest.mark.parametrize(("terminal", "notebook", "watched"), [(0, 0, False), (1, 0, True), (0, 1, True)])
def test_a_bar_is_shown_where_somebody_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *, terminal: int, notebook: int, watched: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: bool(terminal))
    if notebook:
        monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    assert progress.is_watched() == watched
    with progress.bar(4, "digits") as advance:
        advance(1, "teacher")
        advance(3, "students")
    shown = capsys.readouterr().err
    assert ("digits, students: 100%" in shown) == watched
    assert bool(shown) == watched
    with progress.bar(4, "digits", show=False) as advance:
        advance(4, "students")
    assert not capsys.readouterr().err


def test_a_closed_stderr_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert not progress.is_watched()
