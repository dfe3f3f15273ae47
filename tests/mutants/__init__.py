"""Bugs to plant: one table per package, and the tool that plants them (`python -m tests.mutants`)."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One planted bug: in `file`, `old` becomes `new`."""

    name: str
    file: str  # from the repository's root
    old: str  # occurs exactly once in the file
    new: str
    tests: str = ""  # test files that should notice, from the root, separated by blanks; "": those of the table's map
    expression: str = ""  # pytest's -k
    survives: str = ""  # why no test can notice it; "": one has to
