"""The contact sheet: complete, self-contained, harmless whatever the names are, and written whole or not at all."""

import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from lmm_classifier.core.datatypes import Candidate, Classification, Decision, Example, Neighbor
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.evaluation.reports.contact_sheet import write_contact_sheet
from lmm_classifier.evaluation.results import Entry

VOID = {"meta", "img", "link", "br"}


class Page(HTMLParser):
    """Reads a page: every tag must be closed in order; keeps the start tags and the visible text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def all(self, tag, **wanted):
        return [a for t, a in self.tags if t == tag and all(a.get(k.strip("_")) == v for k, v in wanted.items())]


@pytest.fixture
def root(tmp_path):
    """A corpus of two labels with three pictures each."""
    for label in ("gingham", "tartan"):
        (tmp_path / "corpus" / label).mkdir(parents=True)
        for number in range(3):
            draw(label, np.random.default_rng(number), 48).save(tmp_path / "corpus" / label / f"{number}.png")
    return tmp_path / "corpus"


def candidate(label, score, similarities=(), folder=None):
    neighbors = [Neighbor(Example(f"{folder or label}/{n}.png", label), s) for n, s in enumerate(similarities)]
    return Candidate(label, score, tuple(neighbors))


def result(label="gingham", action="accept", reason="confident", candidates=None, used_reranker=False, error=None):
    if candidates is None:
        candidates = (candidate("gingham", 0.75, (0.9, 0.5, 0.4)), candidate("tartan", 0.25, (0.7, 0.6, 0.3)))
    score = candidates[0].score if candidates else 0.0
    similarity = 0.9 if candidates else None
    return Classification(label, score, used_reranker, Decision(action, reason), candidates, similarity, error=error)


UNKNOWN = result("unknown", "reject", "novel")


def write(root, *entries, title="A title", summary=()):
    path = root.parent / "page.html"
    write_contact_sheet(path, title, summary, entries, root)
    return path.read_text(encoding="utf-8")


def cards(text):
    return re.findall(r"<article>.*?</article>", text, re.DOTALL)


def test_a_card_shows_the_verdict_and_its_evidence(root):
    """Label, score, reason, picture and neighbours are all there, the nearest five first across candidates."""
    text = write(root, Entry(root / "gingham/0.png", result(), None))
    (card,) = cards(text)
    assert "<h3>gingham</h3>" in card
    assert "score 0.75" in card
    assert "width:75%" in card
    assert "vote gingham 0.75, next tartan 0.25; nearest similarity 0.90" in card
    assert re.findall(r'class="number">(\d\.\d\d)<', card) == ["0.90", "0.70", "0.60", "0.50", "0.40"]
    image = Page(card).all("img")[0]
    assert image["src"].startswith("data:image/jpeg;base64,")
    assert image["alt"] == "gingham/0.png"
    assert [span["aria-label"] for span in Page(card).all("span", role="img")][:2] == ["gingham/0.png", "tartan/0.png"]


def test_every_entry_appears_once_and_mistakes_come_first(root):
    """Sections are mistakes, asked again, unknown, the rest, whatever the order of the entries."""
    second = result(reason="reranked", used_reranker=True)
    entries = [
        Entry(root / "rest.png", result(), "gingham"),
        Entry(root / "unknown.png", UNKNOWN, "marble"),
        Entry(root / "asked.png", second, "gingham"),
        Entry(root / "wrong.png", result(), "tartan"),
    ]
    text = write(root, *entries)
    assert re.findall(r'class="name">corpus/(\w+)\.png', text) == ["wrong", "asked", "unknown", "rest"]
    assert re.findall(r'<section id="(\w+)"', text) == ["mistakes", "asked", "unknown", "rest"]
    assert [a["href"] for a in Page(text).all("a")] == ["#mistakes", "#asked", "#unknown", "#rest"]
    assert text.count('class="badge"') == 1


@pytest.mark.parametrize(
    ("given", "truth", "words"),
    [
        (result(), "gingham", "✓ right"),
        (result(), "tartan", "✗ wrong, it is tartan"),
        (UNKNOWN, "tartan", "✗ wrong, it is tartan"),
        (UNKNOWN, "marble", "✓ right, a stranger: marble"),
        (result(), "marble", "✗ wrong, a stranger: marble"),
    ],
)
def test_right_and_wrong_are_said_in_words(root, given, truth, words):
    """The mark is a sign and words, not a colour; a truth outside the corpus is right when called unknown."""
    assert words in Page(write(root, Entry(root / "gingham/0.png", given, truth))).text


def test_a_label_without_votes_is_still_one_of_the_corpus(root):
    """A truth that no candidate names is no stranger when the corpus has its folder."""
    (root / "ogee").mkdir()
    assert "wrong, it is ogee" in write(root, Entry(root / "gingham/0.png", UNKNOWN, "ogee"))


def test_no_mark_without_a_truth(root):
    """Where the truth is not known, or nothing could be read, nothing is called right or wrong."""
    unreadable = result("unknown", "reject", "unreadable", (), error="not a picture")
    text = write(root, Entry(root / "gingham/0.png", result()), Entry(root / "broken.png", unreadable, "gingham"))
    assert "✓" not in text
    assert "✗" not in text


def test_hostile_names_stay_text(root):
    """Labels, file names, title, summary and errors cannot become markup."""
    evil = '"><script>alert(1)</script><img src=x onerror=y>'
    bad = result(evil, candidates=(candidate(evil, 1.0, (0.5,), folder=evil),))
    broken = result("unknown", "reject", "unreadable", (), error=evil)
    entries = [Entry(root / evil, bad, evil), Entry(root / "a.png", bad, "b" + evil), Entry(root / "c.png", broken)]
    text = write(root, *entries, title=evil, summary=[(evil, evil)])
    page = Page(text)
    assert "<script" not in text
    assert not page.all("script")
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert evil in page.text


@pytest.mark.skipif(sys.platform != "linux", reason="only some file systems take names that are not UTF-8")
def test_file_names_of_any_bytes(root):
    """A name that is not UTF-8 is read, shown escaped, and does not stop the page."""
    name = "caf\udce9\n\u202e.png"
    (root / "gingham/0.png").rename(root / name)
    text = write(root, Entry(root / name, result(candidates=(candidate("l\udcff", 1.0, (0.5,)),)), "l\udcff"))
    assert "caf\\udce9\\n\\u202e.png" in text
    assert "l\\udcff" in text
    assert len(Page(text).all("img")) == 1


def test_nothing_is_fetched(root):
    """No URL but data: and the page's own anchors, no script, and a policy that forbids both."""
    text = write(root, Entry(root / "gingham/0.png", result(), "gingham"))
    page = Page(text)
    urls = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "srcset")]
    urls += re.findall(r"url\(([^)]*)\)", text)
    assert len(urls) > 5
    assert all(url.startswith(("data:image/jpeg;base64,", "#")) for url in urls)
    assert "@import" not in text
    assert not page.all("script")
    policy = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert page.all("html") == [{"lang": "en"}]
    assert text.startswith("<!DOCTYPE html>")


def test_a_neighbour_is_embedded_once(root):
    """However often an example is a neighbour, its pixels are in the file one time."""
    text = write(root, *[Entry(root / "gingham/0.png", result()) for _ in range(4)])
    assert len(re.findall(r"^\.n\d+\{background-image", text, re.MULTILINE)) == 5
    assert text.count('class="thumb n0"') == 4


def test_a_missing_picture_gets_a_placeholder(root):
    """A neighbour or a picture that cannot be read leaves a gap with words, and the rest of the page stands."""
    (root / "tartan/0.png").unlink()
    (root / "gingham/1.png").write_bytes(b"no picture")
    text = write(root, Entry(root / "nowhere.png", result()), Entry(root / "gingham/0.png", result()))
    first, second = cards(text)
    assert 'class="placeholder"' in first
    assert "nowhere.png" in first
    assert "<img" not in first
    assert 'aria-label="no picture: tartan/0.png"' in second
    assert second.count("thumb gone") == 2
    assert "<img" in second


def test_the_summary_and_an_empty_sheet(root):
    """The headline shows the given figures; without entries the page says so."""
    page = Page(write(root, title="T & U", summary=[("right", "9 of 10 (90 %)")]))
    assert "T & U" in page.text
    assert "9 of 10 (90 %)" in page.text
    assert "No pictures." in page.text
    assert not page.all("section")


def test_a_missing_corpus_is_tolerated(root):
    """The sheet is also written where the corpus is gone: the neighbours are then gaps."""
    path = root.parent / "page.html"
    write_contact_sheet(path, "T", [], [Entry(root / "gingham/0.png", result(), "gingham")], root / "gone")
    assert "✓ right" in Page(path.read_text(encoding="utf-8")).text


def test_the_former_page_stays_when_writing_fails(root):
    """Entries that fail on the way leave the old file as it was and no temporary one beside it."""

    def entries():
        yield Entry(root / "gingham/0.png", result())
        raise RuntimeError("stop")

    path = root.parent / "page.html"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"):
        write_contact_sheet(path, "T", [], entries(), root)
    assert path.read_text() == "old"
    with pytest.raises(FileNotFoundError):
        write_contact_sheet(root / "no folder" / "page.html", "T", [], [], root)
    assert {child.name for child in root.parent.iterdir()} == {"corpus", "page.html"}


def test_pictures_are_small(root):
    """A large picture is reduced to 128 pixels, its shape kept, and carries no colour profile."""
    big = draw("marble", np.random.default_rng(0), 600).resize((600, 300))
    big.save(root / "big.jpg", icc_profile=b"x" * 50_000, comment=b"y" * 5_000)
    text = write(root, Entry(root / "big.jpg", result(candidates=())))
    (image,) = Page(text).all("img")
    assert (image["width"], image["height"]) == ("128", "64")
    assert len(image["src"]) < 12_000
