"""The commands and where they lie: `experiments/`, its `studies/` and its `benchmarks/`. Nothing is imported here."""

from pathlib import Path

EXPERIMENTS = Path(__file__).resolve().parent.parent
ROOMS = ("", "studies", "benchmarks")  # folders of experiments/ that hold commands
_STARTS = '\nif __name__ == "__main__":\n'  # how a file says that it is a command


def modules() -> dict[str, str]:
    """Return the module of every command by its name, the commands of `experiments/` first."""
    return {
        path.stem if path.name != "__main__.py" else path.parent.name: _module(path)
        for room in ROOMS
        for path in sorted([*(EXPERIMENTS / room).glob("[a-z]*.py"), *(EXPERIMENTS / room).glob("[a-z]*/__main__.py")])
        if _STARTS in path.read_text(encoding="utf-8", errors="replace")
    }


def module_of(name: str) -> str:
    """Return the module of a command; `experiments.<name>` if there is no such command."""
    return modules().get(name, f"experiments.{name}")


def question(module: str) -> str:
    """Return what a command answers: the first line of its file, or of its folder's `__init__.py`."""
    path = EXPERIMENTS.parent.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip('"')


def _module(path: Path) -> str:
    parts = path.relative_to(EXPERIMENTS.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__main__" else parts)
