"""What all tests share: two CPU devices, Hypothesis profiles, real MNIST where it is to be had."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# What one test compiled, the next ones and their commands need not, nor the next `make test`: workers and commands
# inherit these, JAX reads them. `make clean` removes it; JAX_COMPILATION_CACHE_DIR= (empty) does without.
CACHE = Path(__file__).parents[1] / ".compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.01")
# Nearly all the time goes to compiling tiny programs once.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax  # noqa: E402 - after this is set

from experiments.harness import compiled  # noqa: E402
from subliminal_toy import engine  # noqa: E402
from subliminal_toy.mnist import data  # noqa: E402

if compiled.has_emitters_option():  # XLA ends the process for a flag that it does not know
    os.environ["XLA_FLAGS"] = f"--{compiled.EMITTERS_OPTION}=false {os.environ.get('XLA_FLAGS', '')}"

# Examples are the same on every machine and every run; `make test-long` takes more
# (HYPOTHESIS_PROFILE=thorough); HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("fixed", max_examples=12, deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("thorough", settings.get_profile("fixed"), max_examples=100)
settings.register_profile("explore", max_examples=300, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

# Tests that want MNIST ask for the fixture below; commands that they start must not find it. Workers start after this.
MNIST_DIR = os.environ.pop("MNIST_DIR", None) or os.environ.get("MNIST_DIR_OF_TESTS")
if MNIST_DIR is not None:
    os.environ["MNIST_DIR_OF_TESTS"] = MNIST_DIR


def pytest_configure() -> None:
    engine.use_cpu_cores(2)
    jax.local_devices()  # from here on no test can change their number
    if "PYTEST_XDIST_WORKER" not in os.environ:
        compiled.forget_old(CACHE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if MNIST_DIR is None:
        for item in items:
            if item.get_closest_marker("mnist"):
                item.add_marker(pytest.mark.skip(reason="set MNIST_DIR to the folder of the four MNIST files"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say at the end what was not tested for want of something, Chromium or PyTorch, and how many tests that is."""
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", [])]
    reasons = Counter(str(found[2]).removeprefix("Skipped: ") for found in skipped if isinstance(found, tuple | list))
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"NOT TESTED ({count}): {reason}", yellow=True)


@pytest.fixture(autouse=True, scope="module")
def _no_compiled_programs_stay() -> Iterator[None]:
    """Else a worker grows to several GB, and what was traced in float64 is taken up by float32 tests."""
    yield
    jax.clear_caches()


@pytest.fixture
def optimized() -> Iterator[None]:
    """For tests that compute more than they compile."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    return Path(str(MNIST_DIR))


@pytest.fixture(scope="session")
def mnist(mnist_dir: Path) -> data.Dataset:
    return data.load_idx_folder(mnist_dir, "mnist")


@pytest.fixture(scope="session")
def digits() -> data.Dataset:
    return data.load_digits()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No MNIST folder, no cache, no network."""
    monkeypatch.delenv("MNIST_DIR", raising=False)
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "tfds"))

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(data._probe, "__defaults__", (refuse,))
