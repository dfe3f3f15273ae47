"""What all tests of the language model share."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True, scope="package")
def compiled_fast() -> Iterator[None]:
    """Models here are tiny: XLA's optimizations would take three times as long as all that is computed."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
