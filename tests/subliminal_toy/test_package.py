"""What `import subliminal_toy` offers."""

import subprocess
import sys
from pathlib import Path

import pytest

import subliminal_toy

FOLDER = Path(subliminal_toy.__file__).parent


def test_every_part_is_offered_and_in_the_map() -> None:
    parts = {path.stem for path in FOLDER.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(subliminal_toy.__all__) == parts - {"__init__"}
    assert set(subliminal_toy.__all__) <= set(dir(subliminal_toy))
    for name in subliminal_toy.__all__:
        assert f"\n    {name} " in str(subliminal_toy.__doc__)
        assert getattr(subliminal_toy, name).__name__ == f"subliminal_toy.{name}"


def test_an_unknown_part_is_named() -> None:
    with pytest.raises(AttributeError, match="no part 'mnits'; it has engine, lm"):
        subliminal_toy.mnits  # noqa: B018


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys, subliminal_toy; print('jax' in sys.modules, subliminal_toy.statistics.t_interval([1, 1]).mean)"
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    assert done.stdout == "False 1.0\n"
