"""A fragment for a notebook: harmless, small, and its style reaches nothing around it."""

import re
from importlib.resources import files

from lmm_classifier.core.progress import Skipped
from lmm_classifier.html.fragment import fragment, skipped_section, table_section
from lmm_classifier.html.page import Section
from tests.html.html_page import HtmlPage, assert_harmless_fragment

STYLE = files("lmm_classifier.html").joinpath("notebook.css").read_text(encoding="utf-8")
MACROS = ("fragment", "cards", "charts", "tables", "thumbnails")  # templates that a fragment uses
ON_PAGES_ONLY = {"command", "side", "group", "filter", "choices", "result", "correct", "wrong"}


def test_the_style_reaches_nothing_else():
    """Every selector begins with the class of the fragment, and no color is fixed for light or for dark."""
    rules = re.sub(r"/\*.*?\*/", "", STYLE, flags=re.DOTALL)
    selectors = [part.strip() for rule in re.findall(r"([^{}]+)\{", rules) for part in rule.split(",")]
    assert len(selectors) > 40
    assert [selector for selector in selectors if not selector.startswith(".lmm-classifier")] == []
    assert not re.search(r"#[0-9a-f]{3}|:\s*(white|black)\b", rules)
    assert len(STYLE) < 6000


def test_every_class_of_a_fragment_has_a_style():
    """A class that the style does not know was renamed at one place only."""
    for name in MACROS:
        template = files("lmm_classifier.html").joinpath("templates", f"{name}.html").read_text(encoding="utf-8")
        for classes in re.findall(r'class="([\w ]+)"', template):
            for css_class in set(classes.split()) - ON_PAGES_ONLY:
                assert f".{css_class}" in STYLE, f"{name}.html uses {css_class}"


def test_everything_is_escaped():
    """Titles, figures, cells, headings and notes may hold anything that a file can be called."""
    evil = "<script>alert(1)</script>\udcff\x1b"
    text = fragment(
        evil,
        [(evil, evil)],
        [table_section("t", evil, [evil, evil], [[evil, evil]]), skipped_section([Skipped(evil, evil, evil)])],
        [evil],
    )
    page = assert_harmless_fragment(text)
    assert page.text.count("<script>alert(1)</script>\\udcff\\x1b") == 12
    text.encode("utf-8")


def test_long_tables_are_folded_and_counted():
    """Ten rows are open, 190 folded, and the number of the others is said."""
    rows = [[f"name{number}", str(number)] for number in range(1, 251)]
    page = assert_harmless_fragment(fragment("T", [], [table_section("t", "Rows", ["name", "n"], rows)]))
    assert "Rows 250" in page.text
    assert "190 of 240 more" in page.text
    assert "name200" in page.text
    assert "name201" not in page.text
    short = fragment("T", [], [table_section("t", "Rows", ["name", "n"], rows[:12])])
    assert "2 more" in HtmlPage(short).text
    assert not HtmlPage(fragment("T", [], [table_section("t", "Rows", ["name", "n"], rows[:10])])).all("details")


def test_sections_without_anything_are_dropped():
    """An empty table has no heading; a section that is not counted stays."""
    page = HtmlPage(fragment("T", [], [table_section("t", "Rows", ["n"], []), Section("s", "Other")]))
    assert page.texts["h4"] == ["Other"]


def test_files_that_should_be_images_come_first():
    """Other files are of less interest."""
    files_ = [Skipped("a.txt", "no image", "ignored"), Skipped("z.jpg", "is broken", "corrupt")]
    section = skipped_section(files_)
    assert [row[0] for row in section.table.rows] == ["z.jpg", "a.txt"]
