"""What is older than its number of days is deleted; without a number it is kept."""

from datetime import UTC, datetime, timedelta

import pytest

from lmm_classifier.core.errors import ReviewError
from lmm_classifier.review.retention import delete_expired


def test_days(review):
    """Edits and runs have their own ages; the examples stay."""
    reviewer, editor = review.reviewer, review.classifier.editor()
    first, *_ = review.ids.values()
    reviewer.teach([first], "taught")
    edits, later = len(editor.edits()), datetime.now(UTC) + timedelta(days=3)
    assert delete_expired(editor, reviewer, None, None, later).runs == ()
    assert delete_expired(editor, reviewer, 4, 4, later).runs == ()
    assert len(editor.edits()) == edits
    expired = delete_expired(editor, reviewer, 2, None, later)
    assert expired.edits.edits == edits
    assert reviewer.runs.run(review.run).decided == 1
    assert delete_expired(editor, reviewer, None, 2, later).runs == (review.run,)
    with pytest.raises(ReviewError):
        reviewer.runs.run(review.run)
    assert "taught" in review.classifier.index.contents.labels
