"""Cells of tables: text, links and proportions with their interval, all escaped."""

from lmm_classifier.html.page import Section, write_page
from lmm_classifier.html.tables import Link, Proportion, Table
from tests.html.html_page import assert_harmless


def test_every_kind_of_cell(tmp_path):
    """A link leads to its anchor, one without anchor is text, and a proportion is drawn where there is one."""
    figure = {"fraction": 0.75, "count": 3, "of": 4, "interval": [0.3, 0.95]}
    nothing = {"fraction": None, "count": 0, "of": 0, "interval": [0.0, 1.0]}
    rows = [["<a>", Link("<to>", "place"), Link("plain", "")], ["b", Proportion.of(figure), Proportion.of(nothing)]]
    write_page(tmp_path / "p.html", "audit.html", "T", [], [Section("s", "S", table=Table(["x", "y", "z"], rows))])
    page = assert_harmless((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert [link["href"] for link in page.all("a")] == ["#s", "#place"]
    assert "75% (30 to 95), 3 of 4" in page.text
    assert "<a>" in page.text
    assert "<to>" in page.text
    (drawn,) = page.all("svg")
    assert drawn["aria-hidden"] == "true"
    assert {"cx": "75.0", "cy": "4", "r": "3", "class": "dot"} in page.all("circle")
