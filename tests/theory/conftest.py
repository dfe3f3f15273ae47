"""float64 and strict promotion for the theory tests only; deterministic Hypothesis examples."""

import os
from collections.abc import Iterator

import jax
import pytest
from hypothesis import Phase, settings

PROFILE = "theory-" + os.environ.get("THEORY_PROFILE", os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
settings.register_profile("theory-fixed", max_examples=12, deadline=None, derandomize=True, database=None)
settings.register_profile("theory-thorough", settings.get_profile("theory-fixed"), max_examples=100)
settings.register_profile("theory-explore", max_examples=300, deadline=None)
settings.register_profile(  # for tests/mutants: one failure is enough, shrinking it is wasted time
    "theory-mutants", settings.get_profile("theory-fixed"), phases=(Phase.explicit, Phase.generate)
)


@pytest.fixture(autouse=True, scope="module")
def strict_float64() -> Iterator[None]:
    """Run a module in float64, with accidental dtype and rank promotion as errors; thread-local, undone at the end."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
