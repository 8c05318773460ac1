"""The parts that all pages share: every template escapes, and a page has what its sections hold."""

import re
from importlib.resources import files

import pytest
from jinja2 import UndefinedError

from lmm_classifier.html.cards import GroupCard
from lmm_classifier.html.page import Section, Table, write_page
from lmm_classifier.html.thumbnails import EmbeddedImage
from tests.html.html_page import HtmlPage, assert_harmless

REPORTS = files("lmm_classifier.html")
TEMPLATES = [file for file in REPORTS.joinpath("templates").iterdir() if file.name.endswith(".html")]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda file: file.name)
def test_no_template_goes_around_the_escaping(template):
    """`safe` and `autoescape` switch it off; `e` and `~` make markup of text that was not escaped for UTF-8."""
    text = template.read_text(encoding="utf-8")
    assert not re.search(r"\|\s*(safe|e|escape|forceescape|join)\b|autoescape|~", text)


def test_every_class_of_a_template_has_a_style():
    """A class that is not in the style sheet was renamed at one place only."""
    style = REPORTS.joinpath("style.css").read_text(encoding="utf-8")
    for template in TEMPLATES:
        for classes in re.findall(r'class="([\w ]+)"', template.read_text(encoding="utf-8")):
            for name in classes.split():
                assert f".{name}" in style, f"{template.name} uses {name}"


def test_sections_with_tables_and_groups(tmp_path):
    """A heading shows its count; items that are not shown are counted; cells and headings are escaped."""
    images = [
        EmbeddedImage("a/1.png", "data:image/jpeg;base64,AA==", 4, 3),
        EmbeddedImage("a/2.png", error="bad & broken"),
    ]
    sections = [
        Section("table", "A & B", 2, table=Table(["label", "n"], [["<x>", "1"], ["y\udcff", "2"]])),
        Section("groups", "Groups", 3, groups=[GroupCard("a / b", "same bytes", images, 5)]),
    ]
    path = tmp_path / "page.html"
    write_page(path, "audit.html", "Title", [], sections)
    page = assert_harmless(path.read_text(encoding="utf-8"))
    assert "A & B 2" in page.text
    assert "<x>" in page.text
    assert "y\\udcff" in page.text
    assert "bad & broken" in page.text
    assert "and 5 more" in page.text
    assert "and 2 more" in page.text
    assert not page.all("dl")


def test_a_missing_value_is_an_error_and_writes_nothing(tmp_path):
    """A template that asks for a value that the page does not give raises; no half page appears."""
    with pytest.raises(UndefinedError):
        write_page(tmp_path / "page.html", "cost.html", "Title", [], [])
    assert list(tmp_path.iterdir()) == []


def test_a_page_without_sections(tmp_path):
    """A page without sections says so."""
    write_page(tmp_path / "page.html", "results.html", "Title", [], [])
    assert "No images." in HtmlPage((tmp_path / "page.html").read_text(encoding="utf-8")).text
