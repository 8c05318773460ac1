"""Assumptions are named, have a unit and a source, and can be set."""

import math

import pytest

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.distributed.capacity.assumptions import CapacityAssumptions
from lmm_classifier.distributed.chunks import list_chunks
from lmm_classifier.distributed.listing import ListedFile
from lmm_classifier.neighbors.gathering.reading import ReadingLimits


def test_each_assumption_says_what_it_is():
    """A meaning and a source; a unit but for plain numbers."""
    for name, _, about in CapacityAssumptions().items():
        assert about["meaning"], name
        assert about["source"], name


def test_a_changed_one_leaves_the_others():
    """The result is a new object."""
    before = CapacityAssumptions()
    after = before.changed({"decode_ms": 9.0, "prefixes": 2.0})
    assert (after.decode_ms, after.prefixes, after.image_kb) == (9.0, 2.0, before.image_kb)
    assert before.decode_ms != 9.0


def test_an_unknown_name_is_refused():
    """With the one that is meant, or with all."""
    with pytest.raises(ConfigError, match=r"'decode_msec'. Did you mean 'decode_ms'"):
        CapacityAssumptions().changed({"decode_msec": 1.0})
    with pytest.raises(ConfigError, match=r"'xyzzy'. Expected one of image_kb"):
        CapacityAssumptions().changed({"xyzzy": 1.0})


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_number_that_cannot_be_is_refused(value):
    """A message names the assumption."""
    with pytest.raises(ConfigError, match="image_kb"):
        CapacityAssumptions(image_kb=value)


def test_defaults_are_those_of_the_program():
    """What a comparison reads for a query, and how many images are in a chunk."""
    assumed, limits = CapacityAssumptions(), ReadingLimits()
    assert (assumed.labels_read, assumed.label_rows) == (limits.labels, limits.rows)
    assert assumed.rescored_rows == 10 * limits.searched
    files = [ListedFile(f"{number:07}.jpg", "cat", 1, 1, 1) for number in range(60_000)]
    chunks = len(list(list_chunks(files, "images", "an encoder")))
    assert assumed.chunk_rows == pytest.approx(len(files) / chunks, rel=0.15)
