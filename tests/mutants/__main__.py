"""Plant bugs in a copy of the project, one at a time, and demand that the tests turn red.

The tables hold bugs that would publish a wrong number; wording and presentation are not in them.

    python -m tests.mutants --jobs 2              all of them
    python -m tests.mutants mnist --jobs 2        one package's, two at a time
    python -m tests.mutants wrong-key --list      show what would be planted

Each mutant replaces one piece of text in one file, and is shown to the test files that the table of its package names
for that file (slow tests and real MNIST left out). The working files are never touched. A text that is not found
exactly once, or tests that are not green before any bug is planted, stop the run at once. The exit status is 1 if a
mutant survives that is not listed with a reason, or if a listed one falls.
"""

import argparse
import concurrent.futures
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tests.mutants import Mutant, lm, mnist, pretrained, theory

ROOT = Path(__file__).parents[2]
PACKAGES: dict[str, ModuleType] = {"theory": theory, "mnist": mnist, "lm": lm, "pretrained": pretrained}
TIMEOUT = 900  # seconds; a mutant that hangs is noticed, too


class Verdict(NamedTuple):
    """What the tests said of one mutant."""

    mutant: Mutant
    killed: bool
    by: str  # the first test that failed, or what else happened

    @property
    def expected(self) -> bool:
        """Whether it fell, or survived for the reason that is listed."""
        return self.killed != bool(self.mutant.survives)


def all_mutants() -> dict[str, list[Mutant]]:
    """The mutants of every package, each with the test files that should notice it."""
    return {
        package: [m if m.tests else m._replace(tests=module.TESTS[m.file]) for m in module.MUTANTS]
        for package, module in PACKAGES.items()
    }


def choose(names: Sequence[str]) -> list[Mutant]:
    """The mutants of the named packages and those named themselves; all without names. SystemExit if unknown."""
    packages = all_mutants()
    unknown = set(names) - set(packages) - {m.name for mutants in packages.values() for m in mutants}
    if unknown:
        raise SystemExit(f"no package and no mutant is called {', '.join(sorted(unknown))}")
    return [m for key, mutants in packages.items() for m in mutants if not names or key in names or m.name in names]


def wrong_texts(mutants: Iterable[Mutant]) -> list[str]:
    """What is wrong with the tables: a mutant that changes nothing, or more than one place, proves nothing."""
    found = [(m, (ROOT / m.file).read_text().count(m.old)) for m in mutants]
    return [f"{m.name}: its text occurs {count} times in {m.file}, expected once" for m, count in found if count != 1]


def copy_project(folder: Path) -> None:
    """Copy the working tree, without what is hidden or ignored by git."""

    def skip(where: str, names: list[str]) -> set[str]:
        results = {"results"} if Path(where) == ROOT else set()
        return {name for name in names if name.startswith(".") or name == "__pycache__"} | results

    shutil.copytree(ROOT, folder, ignore=skip)


def run_pytest(folder: Path, tests: str, expression: str) -> subprocess.CompletedProcess[str]:
    """Run a selection of tests in a copy, up to the first failure."""
    command = [sys.executable, "-m", "pytest", "-x", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist", "-rfE"]
    command += ["-m", "not slow", *tests.split(), *(["-k", expression] if expression else [])]
    environment = {name: value for name, value in os.environ.items() if name != "MNIST_DIR"}
    environment |= {"PYTHONPATH": str(folder), "THEORY_PROFILE": "mutants", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder.parent / "jax"))
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT
    )


def selections(mutants: Iterable[Mutant]) -> list[tuple[str, str]]:
    """Every test file with the union of what is asked of it, so that it runs once."""
    asked: dict[str, set[str]] = {}
    for mutant in mutants:
        for file in mutant.tests.split():
            asked.setdefault(file, set()).add(mutant.expression)
    return [
        (file, "" if "" in expressions else " or ".join(f"({e})" for e in sorted(expressions)))
        for file, expressions in sorted(asked.items())
    ]


def check_clean(folder: Path, selection: tuple[str, str]) -> None:
    """Stop unless the tests are green on the clean copy: else every mutant would look killed."""
    done = run_pytest(folder, *selection)
    if done.returncode != 0:
        raise SystemExit(f"{selection[0]} is not green without any mutant\n{done.stdout}{done.stderr}")


def try_mutant(folder: Path, mutant: Mutant) -> Verdict:
    """Plant the bug in the copy, run its tests, take it out again; print one row of the table."""
    path = folder / mutant.file
    clean = path.read_text()
    path.write_text(clean.replace(mutant.old, mutant.new))
    try:
        verdict = judge(mutant, run_pytest(folder, mutant.tests, mutant.expression))
    except subprocess.TimeoutExpired:
        verdict = Verdict(mutant, True, f"the clock ({TIMEOUT} s)")
    finally:
        path.write_text(clean)
    word = {True: "yes", False: "NO"}[verdict.killed] + ("" if verdict.expected else " (!)")
    print(f"| {mutant.name} | {mutant.file} | {verdict.by} | {word} |", flush=True)
    return verdict


def judge(mutant: Mutant, done: subprocess.CompletedProcess[str]) -> Verdict:
    """Read pytest's answer; a mutant that cannot even be imported is a broken mutant, and not killed."""
    red = re.search(r"^(?:FAILED|ERROR) \S*::([\w.]+)", done.stdout, re.MULTILINE)
    if done.returncode == 1 and red:
        return Verdict(mutant, True, red.group(1))
    return Verdict(mutant, False, "-" if done.returncode == 0 else f"pytest could not run it: {done.returncode}")


def in_copies(copies: Sequence[Path], function: Callable[[Path, Any], Any], items: Sequence[Any]) -> list[Any]:
    """`function(copy, item)` of every item, as many at a time as there are copies, never two in one."""
    free: queue.Queue[Path] = queue.Queue()
    for copy in copies:
        free.put(copy)

    def one(item: Any) -> Any:
        copy = free.get()
        try:
            return function(copy, item)
        finally:
            free.put(copy)

    with concurrent.futures.ThreadPoolExecutor(len(copies)) as pool:
        return list(pool.map(one, items))


def run(mutants: Sequence[Mutant], jobs: int) -> int:
    """Try all the mutants; print the table; return the exit status."""
    with tempfile.TemporaryDirectory() as name:
        copies = [Path(name) / f"copy{i}" for i in range(jobs)]
        for copy in copies:
            copy_project(copy)
        in_copies(copies, check_clean, selections(mutants))
        print("| mutant | file | killed by | killed |\n|---|---|---|---|", flush=True)
        verdicts = in_copies(copies, try_mutant, mutants)
    print(f"\n{sum(v.killed for v in verdicts)} of {len(verdicts)} killed")
    for mutant, killed, _ in (v for v in verdicts if v.mutant.survives or not v.killed):
        print(f"- {mutant.name}: {mutant.survives or 'NO REASON LISTED'}" + (" (but it was killed)" if killed else ""))
    return 0 if all(v.expected for v in verdicts) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"packages ({', '.join(PACKAGES)}) or mutants; default all")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time, each in a copy of its own (default 1)")
    parser.add_argument("--list", action="store_true", help="name them and the tests that should notice them")
    options = parser.parse_args(arguments)
    mutants = choose(options.names)
    wrong = wrong_texts(mutants)
    if wrong:
        raise SystemExit("\n".join(wrong))
    if options.list:
        print("\n".join(f"{m.name}: {m.file}: {m.tests} {m.expression}".rstrip() for m in mutants))
        return 0
    return run(mutants, max(options.jobs, 1))


if __name__ == "__main__":
    sys.exit(main())
