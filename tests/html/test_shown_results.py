"""Results in a notebook: each with its image or the reason why there is none, and its nearest examples."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.datatypes import Candidate, Classification, Decision, Example, Neighbor
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.data.images import read_image
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.html.shown_results import ShownResults
from tests.html.html_page import assert_harmless_fragment


@pytest.fixture
def folder(tmp_path):
    """Images of two examples and of a query."""
    for number, name in enumerate(("a.png", "b.png", "query.png")):
        Image.new("RGB", (40, 20), (number * 90, 10, 200)).save(tmp_path / name)
    return tmp_path


def result(path, content_hash=None, reason="confident", error=None):
    """A result whose nearest examples are a.png, b.png and one that is gone."""
    near = [Neighbor(Example(f"{name}.png", name), similarity) for name, similarity in (("b", 0.7), ("gone", 0.6))]
    candidates = (
        Candidate("a", 0.9, (Neighbor(Example("a.png", "a"), 0.8),)),
        Candidate("b", 0.1, tuple(near)),
    )
    action = "reject" if reason in ("novel", "unreadable") else "accept"
    shown = candidates if error is None else ()
    return Classification("a", 0.9, False, Decision(action, reason), shown, 0.8, 0.1, path, content_hash, error)


def shown(folder, results, **options):
    return ShownResults.of(results, lambda path: folder / path, ImageLimits(), **{"max_cards": 10, **options})


def test_a_result_is_shown_with_its_image_and_its_neighbors(folder):
    """Label, score and why; neighbors with their images, the nearest first; one that is gone is said to be so."""
    path = folder / "query.png"
    one = result(str(path), read_image(path).content_hash)
    page = assert_harmless_fragment(shown(folder, one)._repr_html_())
    assert page.all("img", alt=f"{folder.name}/query.png", width="128", height="64")
    assert [attrs["alt"] for attrs in page.all("img", class_="thumb")] == ["a.png", "b.png"]
    assert page.all("span", title="no image: gone.png")
    assert "score 0.90" in page.text
    assert one.why in page.text
    assert page.text.index("0.80") < page.text.index("0.70") < page.text.index("0.60")


@pytest.mark.parametrize(
    ("path", "content_hash", "said"),
    [
        (None, None, "given as an array, as bytes or as a vector"),
        ("gone/query.png", "0" * 64, "no such file"),
        ("query.png", "0" * 64, "changed since it was classified"),
    ],
)
def test_a_result_without_its_image_says_why(folder, monkeypatch, path, content_hash, said):
    """Its image is no file, is gone or is another one now; the neighbors are shown all the same."""
    monkeypatch.chdir(folder)
    page = assert_harmless_fragment(shown(folder, result(path, content_hash)).html)
    assert said in page.text
    assert [attrs["alt"] for attrs in page.all("img")] == ["a.png", "b.png"]


def test_an_unreadable_file_has_its_error(folder):
    """It has no candidates, so no score and no neighbors."""
    (folder / "bad.png").write_bytes(b"no image")
    page = assert_harmless_fragment(shown(folder, [result(str(folder / "bad.png"), None, "unreadable", "broken")]).html)
    assert "broken" in page.text
    assert not page.all("img")
    assert "unknown1" in page.text.replace("\n", "")


def test_results_beyond_the_cards_are_counted(folder):
    """All are kept; an iterator is taken once; no results are no error."""
    results = [result(str(folder / "query.png"))] * 7
    many = shown(folder, iter(results), max_cards=3)
    page = assert_harmless_fragment(many.html)
    assert len(page.all("article")) == 3
    assert "and 4 more" in page.text
    assert many.results == tuple(results)
    assert str(many).splitlines() == [f"{folder / 'query.png'}: a 0.90"] * 7
    assert repr(many) == "ShownResults(7 results, 0 unknown)"
    assert "0 results" in assert_harmless_fragment(shown(folder, []).html).text


@pytest.mark.parametrize("wrong", [None, 3, "query.png", ["query.png"], np.zeros(3), [None]])
def test_what_is_no_result_is_refused(folder, wrong):
    """The message says what was expected."""
    with pytest.raises(ConfigError, match="Expected results, such as classify"):
        shown(folder, wrong)


def test_cards_are_at_least_one(folder):
    """None would show nothing."""
    with pytest.raises(ConfigError, match="max_cards is 0"):
        shown(folder, [], max_cards=0)


def test_names_are_escaped(folder):
    """File names and labels of any kind stay text."""
    name = 'x"><script>.png'
    Image.new("RGB", (8, 8)).save(folder / name)
    page = assert_harmless_fragment(shown(folder, result(str(Path(folder) / name))).html)
    assert name in page.text
