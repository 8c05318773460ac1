"""Results serialize and explain themselves; the docstring examples run."""

import doctest
import json

import pytest

from lmm_classifier.core import datatypes, errors, progress
from lmm_classifier.core.datatypes import Candidate, Classification, Decision, Example, Neighbor
from lmm_classifier.core.progress import Skipped
from lmm_classifier.index.build.reports import BuildReport


def result(reason="confident", action="accept", **rest):
    candidates = (
        Candidate("a\udcff", 0.6, (Neighbor(Example("a/1.jpg", "a\udcff"), 0.9),), rest.pop("rerank", None)),
        Candidate("b", 0.4, (Neighbor(Example("b/1.jpg", "b"), 0.8),)),
    )
    values = {"label": "a", "score": 0.6, "used_reranker": False, "similarity": 0.9, **rest}
    return Classification(decision=Decision(action, reason), candidates=candidates, **values)


@pytest.mark.parametrize("module", [datatypes, errors, progress])
def test_examples_of_docstrings_run(module):
    """Each public value and the root of the errors has an example, and it runs."""
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_json_round_trip():
    """A result is one line of ASCII that parses to the result with its candidates."""
    line = result(path="x\ny\udcff.jpg").to_json()
    assert line.isascii()
    assert "\n" not in line
    read = json.loads(line)
    assert read["path"] == "x\ny\udcff.jpg"
    assert read["candidates"][0]["neighbors"] == [{"path": "a/1.jpg", "label": "a\udcff", "similarity": 0.9}]
    assert (read["label"], read["score"], read["reason"], read["used_reranker"]) == ("a", 0.6, "confident", False)


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("confident", "vote a\udcff 0.60, next b 0.40; nearest similarity 0.90"),
        ("ambiguous", "labels compete: vote a\udcff 0.60, next b 0.40; best guess without reranking"),
        ("rolled_up", "labels compete: vote a\udcff 0.60, next b 0.40; together a"),
        ("novel", "not familiar: nearest similarity 0.90"),
        ("forced", "not familiar (nearest similarity 0.90), but unknown is not allowed: vote a"),
        ("reranked", "the reranker chose a 0.60"),
        ("reranker_failed", "the reranker gave no answer, so the vote stands (down)"),
    ],
)
def test_every_reason_is_explained(reason, sentence):
    """Each named reason has its sentence, with the numbers."""
    assert sentence in result(reason, error="down").why


def test_an_unreadable_file_is_explained_by_its_error():
    """Without candidates the error is the explanation."""
    result = Classification("unknown", 0.0, False, Decision("reject", "unreadable"), (), error="x.jpg: broken")
    assert result.why == "x.jpg: broken"
    assert result.is_unknown
    json.loads(result.to_json())


def test_build_report_counts():
    """The total is the sum over labels, and files of another kind are not failures."""
    report = BuildReport(
        "c", "o", "e", {"a": 2, "b": 3}, (Skipped("x.txt", "no image", "ignored"), Skipped("y.jpg", "cut", "corrupt"))
    )
    assert report.total == 5
    assert [skipped.path for skipped in report.failed] == ["y.jpg"]
    assert json.loads(json.dumps(report.to_dict()))["skipped"][1]["kind"] == "corrupt"
