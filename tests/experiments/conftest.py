"""What several tests of experiments share."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def torch() -> Iterator:
    """PyTorch with one thread: on a busy machine the threads of small operations mostly wait for each other."""
    library = pytest.importorskip("torch")
    before = library.get_num_threads()
    library.set_num_threads(1)
    yield library
    library.set_num_threads(before)
