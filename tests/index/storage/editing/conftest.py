"""A small durable index for the tests of edits."""

import numpy as np
import pytest

from lmm_classifier.index.storage.store import Store
from lmm_classifier.testing import random_embeddings
from tests.contracts.test_index import write


@pytest.fixture
def folder(tmp_path):
    """An index of ten examples."""
    return write(tmp_path / "index", random_embeddings(np.random.default_rng(0), 10, 8))


@pytest.fixture
def store(folder):
    """The same, open for writing."""
    with Store(folder) as opened:
        yield opened
