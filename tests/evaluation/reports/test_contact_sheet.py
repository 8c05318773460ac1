"""The contact sheet is complete, self-contained and harmless, and it is written whole or not at all."""

import re
import sys

import numpy as np
import pytest

from lmm_classifier.core.datatypes import Candidate, Classification, Decision, Example, Neighbor
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.evaluation.reports.contact_sheet import write_contact_sheet
from lmm_classifier.evaluation.results import LabeledResult
from tests.html.html_page import HtmlPage, assert_harmless


@pytest.fixture
def root(tmp_path):
    """A dataset of two labels with three images each."""
    for label in ("gingham", "tartan"):
        (tmp_path / "dataset" / label).mkdir(parents=True)
        for number in range(3):
            draw(label, np.random.default_rng(number), 48).save(tmp_path / "dataset" / label / f"{number}.png")
    return tmp_path / "dataset"


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


def test_a_card_shows_the_result_and_its_neighbors(root):
    """Label, score, reason and image are there, and the nearest five neighbors of all candidates."""
    text = write(root, LabeledResult(root / "gingham/0.png", result(), None))
    (card,) = cards(text)
    assert "<h3>gingham</h3>" in card
    assert "score 0.75" in card
    assert "width:75%" in card
    assert result().why in card
    assert re.findall(r'class="number">(\d\.\d\d)<', card) == ["0.90", "0.70", "0.60", "0.50", "0.40"]
    image = HtmlPage(card).all("img")[0]
    assert image["src"].startswith("data:image/jpeg;base64,")
    assert image["alt"] == "gingham/0.png"
    neighbors = [span["aria-label"] for span in HtmlPage(card).all("span", role="img")]
    assert neighbors[:2] == ["gingham/0.png", "tartan/0.png"]


def test_every_entry_appears_once_and_mistakes_come_first(root):
    """The sections are mistakes, reranked, unknown and accepted, whatever the order of the entries."""
    reranked = result(reason="reranked", used_reranker=True)
    entries = [
        LabeledResult(root / "accepted.png", result(), "gingham"),
        LabeledResult(root / "unknown.png", UNKNOWN, "marble"),
        LabeledResult(root / "reranked.png", reranked, "gingham"),
        LabeledResult(root / "wrong.png", result(), "tartan"),
    ]
    text = write(root, *entries)
    assert re.findall(r'class="name">dataset/(\w+)\.png', text) == ["wrong", "reranked", "unknown", "accepted"]
    assert re.findall(r'<section id="(\w+)"', text) == ["mistakes", "reranked", "unknown", "accepted"]
    links = [link["href"] for link in HtmlPage(text).all("a")]
    assert links == ["#mistakes", "#reranked", "#unknown", "#accepted"]
    assert text.count('class="badge"') == 1


@pytest.mark.parametrize(
    ("given", "truth", "words"),
    [
        (result(), "gingham", "✓ correct"),
        (result(), "tartan", "✗ wrong, truth: tartan"),
        (UNKNOWN, "tartan", "✗ wrong, truth: tartan"),
        (UNKNOWN, "marble", "✓ correct, an unknown image: marble"),
        (result(), "marble", "✗ wrong, an unknown image: marble"),
    ],
)
def test_correct_and_wrong_are_written_in_words(root, given, truth, words):
    """The grade is a sign and words, not a color; a truth outside the dataset is correct when called unknown."""
    assert words in HtmlPage(write(root, LabeledResult(root / "gingham/0.png", given, truth))).text


def test_a_folder_of_the_dataset_is_a_known_label(root):
    """A truth that no candidate names is no unknown image if the dataset has its folder."""
    (root / "ogee").mkdir()
    assert "wrong, truth: ogee" in write(root, LabeledResult(root / "gingham/0.png", UNKNOWN, "ogee"))


def test_nothing_is_graded_without_a_truth(root):
    """Where the truth is not known, or the file could not be read, nothing is called correct or wrong."""
    unreadable = result("unknown", "reject", "unreadable", (), error="not an image")
    text = write(
        root, LabeledResult(root / "gingham/0.png", result()), LabeledResult(root / "broken.png", unreadable, "gingham")
    )
    assert "✓" not in text
    assert "✗" not in text


def test_hostile_names_stay_text(root):
    """Labels, file names, title, summary and errors cannot become markup."""
    evil = '"><script>alert(1)</script><img src=x onerror=y>{{ 7 * 191 }}'
    bad = result(evil, candidates=(candidate(evil, 1.0, (0.5,), folder=evil),))
    broken = result("unknown", "reject", "unreadable", (), error=evil)
    entries = [
        LabeledResult(root / evil, bad, evil),
        LabeledResult(root / "a.png", bad, "b" + evil),
        LabeledResult(root / "c.png", broken),
    ]
    text = write(root, *entries, title=evil, summary=[(evil, evil)])
    page = assert_harmless(text)
    assert evil in page.text
    assert "1337" not in page.text


@pytest.mark.skipif(sys.platform != "linux", reason="only some file systems take names that are not UTF-8")
def test_file_names_of_any_bytes(root):
    """A name that is not UTF-8 is read, shown escaped, and does not stop the page."""
    name = "caf\udce9\n\u202e.png"
    (root / "gingham/0.png").rename(root / name)
    text = write(root, LabeledResult(root / name, result(candidates=(candidate("l\udcff", 1.0, (0.5,)),)), "l\udcff"))
    assert "caf\\udce9\\n\\u202e.png" in text
    assert "l\\udcff" in text
    assert len(HtmlPage(text).all("img")) == 1


def test_nothing_is_fetched(root):
    """The page has no URL but `data:` and its own anchors, no script, and a policy that forbids both."""
    text = write(root, LabeledResult(root / "gingham/0.png", result(), "gingham"))
    assert_harmless(text)
    urls = re.findall(r"url\(([^)]*)\)", text)
    assert len(urls) == 5
    assert all(url.startswith("data:image/jpeg;base64,") for url in urls)


def test_the_legend_explains_the_score_of_an_unknown_image(root):
    """The legend is a whole sentence."""
    text = HtmlPage(write(root)).text
    sentence = (
        "for an unknown image it is the score of the best label, which was rejected because the image is not familiar "
        "enough."
    )
    assert sentence in text


def test_a_neighbor_is_embedded_once(root):
    """However often an example is a neighbor, its pixels are in the file once."""
    text = write(root, *[LabeledResult(root / "gingham/0.png", result()) for _ in range(4)])
    assert len(re.findall(r"^\.n\d+\{background-image", text, re.MULTILINE)) == 5
    assert text.count('class="thumb n0"') == 4


def test_a_missing_image_gets_a_placeholder(root):
    """A neighbor or an image that cannot be read leaves a gap with words; the rest of the page is complete."""
    (root / "tartan/0.png").unlink()
    (root / "gingham/1.png").write_bytes(b"no image")
    text = write(root, LabeledResult(root / "nowhere.png", result()), LabeledResult(root / "gingham/0.png", result()))
    first, second = cards(text)
    assert 'class="placeholder"' in first
    assert "nowhere.png" in first
    assert "<img" not in first
    assert 'aria-label="no image: tartan/0.png"' in second
    assert second.count("thumb missing") == 2
    assert "<img" in second


def test_the_summary_and_an_empty_sheet(root):
    """The head shows the given figures; without entries the page says that there are no images."""
    page = HtmlPage(write(root, title="T & U", summary=[("correct", "9 of 10 (90%)")]))
    assert "T & U" in page.text
    assert "9 of 10 (90%)" in page.text
    assert "No images." in page.text
    assert not page.all("section")


def test_a_missing_dataset_is_tolerated(root):
    """The sheet is also written where the dataset does not exist: the neighbors are gaps then."""
    path = root.parent / "page.html"
    entries = [LabeledResult(root / "gingham/0.png", result(), "gingham")]
    write_contact_sheet(str(path), "T", [], entries, str(root / "no folder"))
    assert "✓ correct" in HtmlPage(path.read_text(encoding="utf-8")).text


def test_the_former_page_stays_when_writing_fails(root):
    """If the entries fail on the way, the old file stays as it was, without a temporary file next to it."""

    def entries():
        yield LabeledResult(root / "gingham/0.png", result())
        raise RuntimeError("stop")

    path = root.parent / "page.html"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"):
        write_contact_sheet(path, "T", [], entries(), root)
    assert path.read_text() == "old"
    with pytest.raises(FileNotFoundError):
        write_contact_sheet(root / "no folder" / "page.html", "T", [], [], root)
    assert {child.name for child in root.parent.iterdir()} == {"dataset", "page.html"}


def test_images_are_small(root):
    """A large image is reduced to 128 pixels, keeps its shape, and carries no color profile."""
    big = draw("marble", np.random.default_rng(0), 600).resize((600, 300))
    big.save(root / "big.jpg", icc_profile=b"x" * 50_000, comment=b"y" * 5_000)
    text = write(root, LabeledResult(root / "big.jpg", result(candidates=())))
    (image,) = HtmlPage(text).all("img")
    assert (image["width"], image["height"]) == ("128", "64")
    assert len(image["src"]) < 12_000
