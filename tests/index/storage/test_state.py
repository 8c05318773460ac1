"""Arrays of a transform or a calibration are those that were written together, or they are refused."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.storage.database import FILE
from lmm_classifier.index.storage.store import Store
from lmm_classifier.testing import random_embeddings
from tests.contracts.test_index import write


@pytest.fixture
def folder(tmp_path):
    folder = write(tmp_path / "index", random_embeddings(np.random.default_rng(0), 5, 4))
    with Store(folder) as store:
        store.set_calibration({"rate": np.ones(3), "text.weight": np.array([0.5])})
    return folder


def tamper(folder, statement):
    with closing(sqlite3.connect(folder / FILE)) as connection, connection:
        connection.execute(statement)


def test_arrays_replace_each_other_as_a_whole(folder):
    """None of a former calibration remains."""
    assert set(read_index(folder).calibration) == {"rate", "text.weight"}
    before = read_index(folder).stamp
    with Store(folder) as store:
        store.set_calibration({"rate": np.zeros(3)})
    assert set(read_index(folder).calibration) == {"rate"}
    assert read_index(folder).stamp != before
    with Store(folder) as store:
        store.set_calibration(None)
    assert read_index(folder).calibration is None


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM meta WHERE name = 'calibration.text.weight'",
        "DELETE FROM meta WHERE name = 'calibration'",
        "DELETE FROM meta WHERE name LIKE 'calibration.%'",
        "UPDATE meta SET name = 'other' WHERE name = 'calibration.rate'",
    ],
)
def test_an_array_that_vanished_is_damage(folder, statement):
    """Its row may be the optional one that changes an answer. A repair drops the whole calibration."""
    tamper(folder, statement)
    with pytest.raises(IndexFileError, match="calibration is incomplete|is damaged"):
        read_index(folder)
    assert any(finding.severity == "damage" for finding in check_index(folder))
    assert any(finding.repaired for finding in check_index(folder, repair=True))
    assert read_index(folder).calibration is None
    assert not any(finding.severity == "damage" for finding in check_index(folder))
