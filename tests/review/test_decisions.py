"""An answer that a crash interrupted is finished or dropped when runs are opened again, as the index tells."""

from contextlib import closing

import pytest
from filelock import FileLock

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.storage.lock import locked
from lmm_classifier.index.vector_index import Index
from lmm_classifier.review import decisions
from lmm_classifier.review.reviewer import Reviewer


def argyle(review):
    return [item for name, item in sorted(review.ids.items()) if name.startswith("argyle/")]


def labels(review):
    return list(Index.open(review.config.retrieval.index_path).contents.labels)


def decided(reviewer, ids):
    return [item.decision.kind for item in reviewer.runs.items(ids)]


def test_a_crash_before_the_edit(review):
    """The answer had no effect, so it is forgotten."""
    review.reviewer.answers.begin(review.run, "argyle", argyle(review))
    with closing(Reviewer(review.classifier)) as again:
        assert again.answers.answers() == []
        assert decided(again, argyle(review)) == ["", "", ""]


def test_a_crash_after_the_edit(review):
    """The answer is finished, and can be undone."""
    ids = argyle(review)
    answer = review.reviewer.answers.begin(review.run, "argyle", ids)
    files = [item.result["path"] for item in review.reviewer.runs.items(ids)]
    review.classifier.editor().add(files, "argyle", origin=f"review: run {review.run}, answer {answer.id}")
    with closing(Reviewer(review.classifier)) as again:
        assert decided(again, ids) == ["label"] * 3
        assert again.answers.interrupted() == []
        assert "argyle" in labels(review)
        again.undo()
        assert "argyle" not in labels(review)
        assert decided(again, ids) == ["", "", ""]


def test_an_answer_that_another_program_is_taking_is_left_alone(review):
    """A second reviewer never settles what the first one is doing."""
    answer = review.reviewer.answers.begin(review.run, "argyle", argyle(review))
    with FileLock(review.config.retrieval.index_path / "review.lock"), closing(Reviewer(review.classifier)) as other:
        assert other.answers.interrupted() == [answer]
    with closing(Reviewer(review.classifier)) as later:
        assert later.answers.interrupted() == []


@pytest.mark.parametrize("edited", [True, False])
def test_a_crash_while_an_answer_is_undone(review, edited):
    """It is undone where the index forgot the examples, and stands where it did not."""
    ids = argyle(review)
    answer = review.reviewer.teach(ids, "argyle").answer
    review.reviewer.answers.begin_undo(answer.id)
    if edited:
        review.classifier.editor().remove(answer.examples)
    with closing(Reviewer(review.classifier)) as again:
        assert again.answers.interrupted() == []
        assert decided(again, ids) == ([""] if edited else ["label"]) * 3


def test_an_index_that_another_program_changes(review, monkeypatch):
    """The edit fails, no item is decided, and the next try works."""
    editor = review.classifier.editor()
    monkeypatch.setattr(editor, "_wait", 0.01)
    own = decisions.Decisions(editor, review.config.retrieval.index_path, review.reviewer.runs, review.reviewer.answers)
    lock = locked(review.config.retrieval.index_path)
    try:
        with pytest.raises(IndexFileError, match="Another program"):
            own.teach(argyle(review), "argyle")
    finally:
        lock.release()
    assert review.reviewer.answers.answers() == []
    assert decided(review.reviewer, argyle(review)) == ["", "", ""]
    assert own.teach(argyle(review), "argyle")[0] is not None
