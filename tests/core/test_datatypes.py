"""The words: verdicts serialise, explain themselves, and fingerprints tell apart what differs."""

import json

import pytest

from lmm_classifier.core.datatypes import Candidate, Classification, Decision, Example, Fingerprint, Neighbor
from lmm_classifier.core.progress import Skipped
from lmm_classifier.index.build.reports import BuildReport


def verdict(reason="confident", action="accept", **rest):
    candidates = (
        Candidate("a\udcff", 0.6, (Neighbor(Example("a/1.jpg", "a\udcff"), 0.9),), rest.pop("rerank", None)),
        Candidate("b", 0.4, (Neighbor(Example("b/1.jpg", "b"), 0.8),)),
    )
    values = {"label": "a", "score": 0.6, "used_reranker": False, "similarity": 0.9, **rest}
    return Classification(decision=Decision(action, reason), candidates=candidates, **values)


def test_json_round_trip():
    """One line of ASCII that parses to the verdict with its evidence."""
    line = verdict(path="x\ny\udcff.jpg").to_json()
    assert line.isascii()
    assert "\n" not in line
    read = json.loads(line)
    assert read["path"] == "x\ny\udcff.jpg"
    assert read["candidates"][0]["neighbors"] == [{"path": "a/1.jpg", "label": "a\udcff", "similarity": 0.9}]
    assert (read["label"], read["score"], read["reason"], read["used_reranker"]) == ("a", 0.6, "confident", False)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("confident", "vote a\udcff 0.60, next b 0.40; nearest similarity 0.90"),
        ("ambiguous", "labels compete"),
        ("novel", "nothing like it: nearest similarity 0.90"),
        ("forced", "the set is closed"),
        ("reranked", "a second look chose a 0.60"),
        ("reranker_failed", "the second look failed, so the vote stands (down)"),
    ],
)
def test_every_reason_is_explained(reason, said):
    """Each named reason has its sentence, with the numbers."""
    assert said in verdict(reason, error="down").why


def test_unreadable_says_the_error():
    """Without candidates the error is the reason."""
    result = Classification("unknown", 0.0, False, Decision("reject", "unreadable"), (), error="x.jpg: broken")
    assert result.why == "x.jpg: broken"
    assert result.is_unknown
    json.loads(result.to_json())


def test_fingerprint_differences():
    """What makes two spaces different is named; a number type is not among it."""
    one = Fingerprint("siglip", "m", "abc", "squash", 8, "float32")
    assert one.differences(Fingerprint("siglip", "other name", "abc", "squash", 8, "bfloat16")) == []
    assert one.differences(Fingerprint("onnx", "m", "abd", "crop", 9, "float32")) == [
        "backend",
        "revision",
        "preprocessing",
        "dim",
    ]
    assert Fingerprint("d", "m", "", "p", 1, "f").differences(Fingerprint("d", "n", "", "p", 1, "f")) == ["model"]


def test_build_report_counts():
    """Totals are sums, and files of another kind are not failures."""
    report = BuildReport(
        "c", "o", "e", {"a": 2, "b": 3}, (Skipped("x.txt", "no picture", "ignored"), Skipped("y.jpg", "cut", "corrupt"))
    )
    assert report.total == 5
    assert [one.path for one in report.failed] == ["y.jpg"]
    assert json.loads(json.dumps(report.to_dict()))["skipped"][1]["kind"] == "corrupt"
