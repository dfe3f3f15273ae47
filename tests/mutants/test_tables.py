"""The tables of mutants, fast; planting them all is `python -m tests.mutants`."""

import subprocess

import pytest

from tests.mutants import __main__ as tool

MUTANTS = tool.choose([])


def test_every_mutant_has_a_name_of_its_own_a_text_that_is_there_and_tests_that_exist() -> None:
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)
    assert tool.wrong_texts(MUTANTS) == []
    assert all(m.old != m.new and m.tests for m in MUTANTS)
    assert [file for m in MUTANTS for file in m.tests.split() if not (tool.ROOT / file).is_file()] == []


def test_a_text_that_is_not_there_is_reported() -> None:
    assert len(tool.wrong_texts([MUTANTS[0]._replace(old="no such text"), MUTANTS[0]])) == 1


@pytest.mark.parametrize(
    ("status", "output", "survives", "killed", "expected"),
    [
        (0, "3 passed", "", False, False),
        (0, "3 passed", "no test can", False, True),
        (1, "FAILED tests/x.py::test_a - AssertionError", "", True, True),
        (1, "ERROR tests/x.py::test_a - ValueError", "", True, True),
        (1, "FAILED tests/x.py::test_a[1] - AssertionError", "no test can", True, False),
        (2, "ERROR tests/x.py", "", False, False),  # the mutant cannot be imported
    ],
)
def test_verdicts(status: int, output: str, survives: str, killed: bool, expected: bool) -> None:
    done = subprocess.CompletedProcess([], status, f"...\n{output}\n", "")
    verdict = tool.judge(MUTANTS[0]._replace(survives=survives), done)
    assert (verdict.killed, verdict.expected) == (killed, expected)
