"""The page of a run stays small for any number of images, and shows the least certain of each group."""

from pathlib import Path

import numpy as np

from lmm_classifier.core.datatypes import Candidate, Classification, Decision
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.evaluation.reports.run_page import RunPage
from lmm_classifier.html.page import MAX_CARDS
from tests.html.html_page import assert_harmless


def result(score, label="<b>=1", reason="confident"):
    action = "reject" if reason in ("novel", "unreadable") else "accept"
    return Classification(label, score, False, Decision(action, reason), (Candidate(label, score, ()),), 0.5)


def test_the_page_shows_the_least_certain(tmp_path):
    """And counts the others."""
    draw("stripes", np.random.default_rng(0), 32).save(tmp_path / "1.png")
    page = RunPage()
    for number in range(200):
        page.add(tmp_path / "1.png", result(number / 200), "accepted")
    page.add(tmp_path / "gone.png", result(0.5, "unknown", "novel"), "unknown")
    page.add(tmp_path / "gone.png", result(0.0, "unknown", "unreadable"), "unreadable")
    page.write(tmp_path / "page.html", "A run", [("images", "202")], Path)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("<article>") == MAX_CARDS + 2
    assert "and 140 more" in text
    assert "score 0.00" in text
    assert "score 0.29" in text
    assert "score 0.31" not in text
    assert text.index("Unknown") < text.index("Accepted") < text.index("Unreadable")
    assert "&lt;b&gt;" in text
    assert_harmless(text)


def test_equal_scores_keep_the_order(tmp_path):
    """Two images of one score are shown as they came."""
    page = RunPage()
    for name in ("a.png", "b.png"):
        page.add(tmp_path / name, result(0.5), "accepted")
    page.write(tmp_path / "page.html", "A run", [], Path)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.index("a.png") < text.index("b.png")
