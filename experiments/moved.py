"""Old module paths of commands that have moved: importing one ends in a line that says where it is now."""

import importlib.abc
import importlib.machinery
from collections.abc import Sequence
from types import ModuleType

from experiments.harness import commands


class OldPaths(importlib.abc.InspectLoader, importlib.abc.MetaPathFinder):
    """Find `experiments.<name>` where the command lies in another folder by now."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a module that refuses to be run, or None if this is no old path."""
        package, _, name = fullname.rpartition(".")
        now = commands.modules().get(name) if package == "experiments" else None
        return importlib.machinery.ModuleSpec(fullname, self) if now not in (None, fullname) else None

    def get_source(self, fullname: str) -> str:
        """Return the code of that module: one line on stderr, and exit status 2."""
        now = commands.module_of(fullname.rpartition(".")[2])
        line = f"error: {fullname} has moved: python -m {now}\n"
        return f"import sys\nsys.stderr.write({line!r})\nsys.exit(2)\n"
