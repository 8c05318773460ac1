"""The audit page shows every kind of finding with its images."""

import shutil
from dataclasses import replace

import pytest

from lmm_classifier import PipelineConfig, audit_index, build_index_from_directory
from lmm_classifier.evaluation.duplicates import Duplicates
from lmm_classifier.evaluation.findings import ConfusablePair
from lmm_classifier.evaluation.reports import suspect_cards
from lmm_classifier.evaluation.reports.audit_page import write_audit_page
from tests.helpers.datasets import draw_dataset
from tests.html.html_page import assert_harmless


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an index of a dataset that has a wrong label and a duplicate under another label."""
    root = tmp_path_factory.mktemp("audit")
    dataset = draw_dataset(root / "dataset", count=6)
    shutil.move(dataset / "gingham" / "03.png", dataset / "stripes" / "gingham.png")
    shutil.copy(dataset / "stripes" / "00.png", dataset / "herringbone" / "twice.png")
    build_index_from_directory(dataset, root / "index", 16, PipelineConfig.offline())
    return root


def test_the_page_shows_the_findings(place, tmp_path):
    """The planted mistakes are on the page with their images, and so are all figures."""
    audit = audit_index(place / "index", PipelineConfig.offline())
    write_audit_page(str(tmp_path / "page.html"), audit, str(place / "index"))
    page = assert_harmless((tmp_path / "page.html").read_text(encoding="utf-8"))
    for name, value in audit.figures:
        assert name in page.text
        assert value in page.text
    assert "✗ labeled stripes" in page.text
    assert "gingham?" in page.text
    assert "label quality 0." in page.text
    assert "herringbone / stripes" in page.text
    assert "same bytes" in page.text
    assert page.all("img", alt="stripes/gingham.png")
    assert page.all("article", class_="group")


@pytest.mark.long
def test_long_lists_are_cut_and_counted(place, tmp_path):
    """A section shows 60 groups and says how many there are; a group shows four images."""
    audit = audit_index(place / "index", PipelineConfig.offline())
    group = Duplicates(tuple(f"stripes/{row:02}.png" for row in range(6)), ("stripes",) * 6, False, 0.99, "vectors")
    pair = ConfusablePair("a <b>", "c\udcff", 3, 0.125)
    audit = replace(audit, duplicates=[group] * 70, confusable=[pair])
    write_audit_page(tmp_path / "page.html", audit, place / "index")
    page = assert_harmless((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "and 10 more" in page.text
    assert "and 2 more" in page.text
    assert "near duplicates by vectors, similarity 0.990" in page.text
    assert "a <b>" in page.text
    assert "c\\udcff" in page.text


def test_the_page_of_a_clean_dataset(place, tmp_path):
    """Sections without findings are left out."""
    audit = audit_index(place / "index", PipelineConfig.offline())
    audit = replace(audit, label_issues=[], duplicates=[], outliers=[], thin={}, confusable=[])
    write_audit_page(tmp_path / "page.html", audit, place / "index")
    page = assert_harmless((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert not page.all("section")


def test_every_label_to_check_can_be_reached(place, tmp_path, monkeypatch):
    """The likely wrong ones come first and open, 60 to a part; the rest folded, and beyond a number as a table."""
    monkeypatch.setattr(suspect_cards, "_WITH_IMAGES", 130)
    audit = audit_index(place / "index", PipelineConfig.offline())
    issue = replace(audit.label_issues[0], likely=False)
    likely = [replace(issue, likely=True, path=f"a/likely{row}.png") for row in range(70)]
    others = [replace(issue, path=f"a/other{row}.png") for row in range(170)]
    write_audit_page(tmp_path / "page.html", replace(audit, label_issues=[*likely, *others]), place / "index")
    page = assert_harmless((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.texts["summary"] == ["61 to 70", "1 to 60", "61 to 170, without images"]
    for suspect in (*likely, *others):
        assert suspect.path in page.text
    assert page.text.index("a/likely0.png") < page.text.index("a/other0.png")
    write_audit_page(tmp_path / "none.html", replace(audit, label_issues=others), place / "index")
    page = assert_harmless((tmp_path / "none.html").read_text(encoding="utf-8"))
    assert page.texts["summary"] == ["61 to 120", "121 to 130", "131 to 170, without images"]


def test_a_command_is_shown_where_it_is_given(place, tmp_path):
    """On each card, and nowhere without it."""
    audit = audit_index(place / "index", PipelineConfig.offline())
    assert audit.label_issues
    write_audit_page(tmp_path / "page.html", audit, place / "index", correct=lambda issue: f"relabel <{issue.path}>")
    page = assert_harmless((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.texts["code"] == [f"relabel <{issue.path}>" for issue in audit.label_issues]
    write_audit_page(tmp_path / "page.html", audit, place / "index")
    assert "<code>" not in (tmp_path / "page.html").read_text(encoding="utf-8")
