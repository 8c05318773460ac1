"""Filters leave the cards of one name, and cards are spread over the names."""

from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.html.cards import Card
from lmm_classifier.html.filters import filtered, spread
from lmm_classifier.html.page import Section, write_page
from lmm_classifier.html.thumbnails import EmbeddedImage
from tests.html.html_page import assert_harmless


def card(heading):
    return Card(EmbeddedImage("x", error="none"), heading)


@given(st.lists(st.text(max_size=3), min_size=1, max_size=30))
def test_each_card_has_the_class_of_its_filter(names):
    """The rule of a filter names it alone, and no name can leave its selector: anchors are made of numbers."""
    found = filtered("part", [(name, card(name)) for name in names])
    assert [made.heading for made in found.cards] == names
    if len(set(names)) == 1:
        assert (found.filters, set(found.anchors.values())) == ([], {"part"})
        return
    assert {choice.anchor: choice.shown for choice in found.filters} == {
        found.anchors[name]: names.count(name) for name in names
    }
    assert all(made.filters == (found.anchors[made.heading],) for made in found.cards)
    assert [choice.total for choice in found.filters] == sorted(map(names.count, set(names)), reverse=True)
    for choice in found.filters:
        assert choice.rule == f"#{choice.anchor}:target~* article:not(.{choice.anchor}){{display:none}}"


@given(st.lists(st.integers(0, 5)), st.integers(0, 40))
def test_spread_shows_every_name_before_it_shows_one_twice(names, most):
    """And keeps the order."""
    places = spread(names, most)
    assert places == sorted(set(places))
    assert len(places) == min(most, len(names))
    shown = [names[place] for place in places]
    rest = [name for place, name in enumerate(names) if place not in places]
    assert all(shown.count(name) >= max(map(shown.count, shown), default=0) - 1 for name in rest)


def test_the_page_has_a_link_a_notice_and_a_rule_for_each_filter(tmp_path):
    """Many filters are folded; each says how many of its images have a card."""
    names = [f"<l{number % 14}>" for number in range(28)]
    found = filtered("part", [(name, card(name)) for name in names], totals=dict.fromkeys(names, 5))
    write_page(
        tmp_path / "p.html", "audit.html", "T", [], [Section("part", "P", 28, filters=found.filters, cards=found.cards)]
    )
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    page = assert_harmless(text)
    assert "Show only one of 14" in page.text
    assert "Only <l0> (2 of 5)." in page.text
    assert text.count(":target~* article:not(") == 14
    targets = {attrs["id"] for attrs in page.all("p", class_="filter")}
    assert targets == {link["href"][1:] for link in page.all("a")} - {"part"}
    assert len(page.all("article", class_="part-1")) == 2
