"""The heat map and its table count every pair; many labels stay few cells."""

import re
from pathlib import Path

import numpy as np
import pytest

from lmm_classifier.core.datatypes import Candidate, Classification, Decision
from lmm_classifier.evaluation.labeled_result import LabeledResult
from lmm_classifier.evaluation.results import Evaluation
from lmm_classifier.html.confusion_matrix import (
    MOST_LABELS,
    confusion_matrix,
    describe_pair,
    pairs_table,
)
from lmm_classifier.html.page import Section, write_page
from tests.html.html_page import assert_harmless


def evaluation(pairs, labels):
    """Results of (truth, given); None is called unknown."""
    entries = []
    for truth, given in pairs:
        decision = Decision("reject", "novel") if given is None else Decision("accept", "confident")
        best = Candidate(given or "a", 0.5, ())
        entries.append(
            LabeledResult(Path("x"), Classification(given or "unknown", 0.5, False, decision, (best,), 0.5), truth)
        )
    return Evaluation.of(entries, labels)


PAIRS = [("a", "a"), ("a", "b"), ("a", "b"), ("b", None), ("z", "a"), ("z", None)]


def test_unknown_images_have_a_row_and_a_column():
    """A truth that is no label is an unknown image; the label `unknown` is another thing."""
    counts = evaluation(PAIRS, {"a", "b"}).confusion_counts()
    assert counts == {
        ("a", "a"): 1, ("a", "b"): 2, ("b", None): 1, (None, "a"): 1, (None, None): 1,
    }  # fmt: skip
    matrix = confusion_matrix(counts, {("a", "b"): "place"})
    assert [name.full for name in matrix.names] == ["a", "b", "unknown"]
    cells = {cell.text: cell for cell in matrix.cells}
    assert cells["a predicted as b: 2 of 3"].anchor == "place"
    assert cells["unknown images called unknown: 1 of 2"].is_correct
    assert cells["b called unknown: 1 of 1"].opacity == pytest.approx(0.72)
    rows = pairs_table(counts, {}).rows
    assert [(row[0], row[1].text, row[2], row[3]) for row in rows] == [
        ("a", "b", "2", "67%"),
        ("b", "unknown", "1", "100%"),
        ("unknown", "a", "1", "50%"),
    ]


@pytest.mark.long
@pytest.mark.parametrize("labels", [1, 2, 12, 13, 40, 41, 60, 61, 500])
def test_any_number_of_labels_fits(labels, tmp_path):
    """The cells are inside the drawing, at most 60 labels are drawn, and the file stays small."""
    rng = np.random.default_rng(labels)
    names = [f"{'x' * 30} <{number}> \u202e" for number in range(labels)]
    pairs = [(names[row], names[column]) for row, column in rng.integers(labels, size=(2000, 2))]
    counts = evaluation(pairs, names).confusion_counts()
    matrix = confusion_matrix(counts, {})
    drawn = min(labels, MOST_LABELS)
    assert len(matrix.names) == drawn
    assert all(
        matrix.margin <= value <= matrix.size - matrix.side for cell in matrix.cells for value in (cell.x, cell.y)
    )
    assert ("the 60 with the most errors" in matrix.caption) == (labels > drawn)
    table = pairs_table(counts, {})
    write_page(tmp_path / "p.html", "audit.html", "T", [], [Section("m", "M", matrix=matrix, table=table)])
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert_harmless(text)
    assert len(text) < 1_200_000
    assert len(re.findall('<rect class="(?:un)?known"', text)) == len(matrix.cells)


def test_words_of_a_pair():
    """They are those of the filters and of the cells."""
    assert describe_pair(("a", "b")) == "a predicted as b"
    assert describe_pair((None, "b")) == "unknown images predicted as b"
    assert describe_pair(("a", None)) == "a called unknown"
