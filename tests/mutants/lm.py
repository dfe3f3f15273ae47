"""Mutants of the language model (subliminal_toy/lm, experiments/lm_*.py): rows are the fields of a Mutant."""

from tests.mutants import Mutant

TESTS: dict[str, str] = {}  # source file -> the test files that should notice its bugs
# fmt: off
_TABLE: tuple[tuple[str, ...], ...] = ()
# fmt: on
MUTANTS = tuple(Mutant(*row) for row in _TABLE)
