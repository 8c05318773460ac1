"""Tested images are stored batch by batch, and read in their order."""

from contextlib import closing

import numpy as np
import pytest

from lmm_classifier.core.errors import ReviewError
from lmm_classifier.discovery.drift.drift_test import DriftTest
from lmm_classifier.review.storage.database import ReviewDatabase
from lmm_classifier.review.storage.drift_store import DriftStore


@pytest.fixture
def store(tmp_path):
    with closing(ReviewDatabase(tmp_path)) as database:
        yield DriftStore(database)


def stream_of(run, count, value=0.0):
    test = DriftTest.of(np.linspace(-1, 1, 200))
    return [test.observe(f"{run} {n}\udcff.jpg", f"{run} {n}", value) for n in range(count)], test.report()


def test_batches_of_several_runs_are_kept_apart(store):
    """Each run has its images in order, and the report after its last batch."""
    images, report = stream_of(1, 6)
    others, alarm = stream_of(2, 50, -5.0)
    store.add(1, images[:4], report)
    store.add(2, others, alarm)
    assert store.newest() == alarm.to_dict()
    store.add(1, images[4:], report)
    assert list(store.images(1)) == images
    assert list(store.images(2)) == others
    assert store.newest() == store.report(1) == report.to_dict()
    assert store.alarms() == 1


def test_a_run_without_a_test_has_no_report(store):
    """Nor has a database without runs."""
    assert store.report(7) is None
    assert store.newest() is None
    assert list(store.images(7)) == []
    assert store.alarms() == 0


def test_a_damaged_row_is_refused(store):
    """By its checksum, as every row of runs."""
    images, report = stream_of(1, 2)
    store.add(1, images, report)
    with store.database.writing() as connection:
        connection.execute("UPDATE drift SET lines = x'7b7d'")
    with pytest.raises(ReviewError, match="drift"):
        list(store.images(1))
