"""Mutants of what all experiments share (experiments/harness): rows are the fields of a Mutant."""

from tests.mutants import Mutant

TESTS: dict[str, str] = {}  # source file -> the test files that should notice its bugs
# fmt: off
_TABLE: tuple[tuple[str, ...], ...] = ()
# fmt: on
MUTANTS = tuple(Mutant(*row) for row in _TABLE)
