"""The tiny random model, made once."""

import pytest

pytest.importorskip("tokenizers")

from subliminal_toy import pretrained


@pytest.fixture(scope="session")
def model() -> pretrained.Model:
    return pretrained.load("random")
