"""Runs can be listed and deleted without a classifier."""

import pytest

from lmm_classifier.core.errors import ReviewError
from lmm_classifier.review.reviewer import UPLOAD
from lmm_classifier.review.stored_runs import delete_runs, has_runs


def test_runs_of_an_index(review, tmp_path):
    """A folder without an index is an error."""
    assert has_runs(review.config.retrieval.index_path)
    with pytest.raises(ReviewError, match="no index"):
        has_runs(tmp_path / "missing")


def test_uploads_of_a_deleted_run_go_at_once(review):
    """A content that another run has too stays."""
    folder, reviewer = review.config.retrieval.index_path, review.reviewer
    images = [(name, (review.new / name).read_bytes()) for name in list(review.ids)[:2]]
    runs = [reviewer.runs.create(UPLOAD).id for _ in range(2)]
    reviewer.add_uploads(runs[0], images)
    reviewer.add_uploads(runs[1], images[:1])
    delete_runs(folder, reviewer.runs, runs[:1])
    (kept,) = (folder / "uploads").iterdir()
    assert kept.read_bytes() == images[0][1]
    delete_runs(folder, reviewer.runs, [*runs[1:], review.run])
    assert list((folder / "uploads").iterdir()) == []
    assert reviewer.runs.runs() == []
