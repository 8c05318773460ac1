"""The figures of the demo are counted as by hand."""

from pathlib import Path

from lmm_classifier.cli.demo_results import RerankTrial, pages, summarize
from lmm_classifier.core.datatypes import Classification, Decision
from lmm_classifier.data.synthetic.catalog import KNOWN, UNKNOWN
from lmm_classifier.evaluation.labeled_result import LabeledResult

FIRST, SECOND = KNOWN[:2]


def entry(label, truth, reason="confident"):
    decision = Decision("reject" if label == "unknown" else "accept", reason)
    return LabeledResult(Path("x.jpg"), Classification(label, 0.9, reason == "reranked", decision, ()), truth)


def test_known_and_unknown_images_are_counted_apart():
    """A reranked image counts once more, in its own line."""
    results = [
        entry(FIRST, FIRST),
        entry(SECOND, FIRST, "reranked"),
        entry("unknown", SECOND, "novel"),
        entry("unknown", UNKNOWN[0], "novel"),
    ]
    assert summarize(results) == [
        ("known images correct", "1 of 3 (33%)"),
        ("known called unknown", "1 of 3 (33%)"),
        ("unknown called unknown", "1 of 1 (100%)"),
        ("reranked", "1 of 4 (25%)"),
    ]


def test_corrected_and_newly_wrong_images_are_counted():
    """Correct after = correct before + corrected - newly wrong."""
    after = [entry(FIRST, FIRST), entry(SECOND, FIRST), entry(SECOND, SECOND), entry(FIRST, SECOND)]
    trial = RerankTrial([(FIRST, SECOND)], [SECOND, FIRST, SECOND, FIRST], after)
    assert (trial.corrected, trial.newly_wrong) == (1, 1)
    assert ("correct before", "2 of 4 (50%)") in trial.summary()
    assert ("correct after", "2 of 4 (50%)") in trial.summary()
    assert f"{FIRST} / {SECOND}" in trial.lines()[0]
    assert RerankTrial([], [], []).lines()[0].endswith("none")


def test_only_written_pages_are_listed(tmp_path):
    """Each with what it shows."""
    (tmp_path / "audit.html").touch()
    (line,) = pages(tmp_path)
    assert line.startswith(f"{tmp_path / 'audit.html'}: ")
