"""A dismissed finding stays dismissed while its images and the labels in it stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.index.dismissals import FINDING_KINDS, Dismissal, DismissedFindings

PAIRS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["cat", "dog", "\udcff"])), min_size=1, max_size=5)


def duplicates(*pairs):
    return Dismissal.of("duplicates", pairs)


def test_a_label_is_right_only_under_its_name():
    """Another label of the same image is another question; an outlier is one whatever its label."""
    label = Dismissal.of("label", [("a", "cat")])
    assert label.covers(Dismissal.of("label", [("a", "cat")]))
    assert not label.covers(Dismissal.of("label", [("a", "dog")]))
    assert not label.covers(Dismissal.of("outlier", [("a", "cat")]))
    assert Dismissal.of("outlier", [("a", "cat")]).covers(Dismissal.of("outlier", [("a", "dog")]))


def test_copies_are_asked_about_again_when_there_are_more_or_when_they_contradict():
    """Fewer of them, or an end of the contradiction, are no news."""
    three = duplicates(("a", "cat"), ("b", "cat"), ("c", "cat"))
    assert three.covers(duplicates(("a", "dog"), ("b", "dog")))
    assert not three.covers(duplicates(("a", "cat"), ("d", "cat")))
    assert not three.covers(duplicates(("a", "cat"), ("b", "dog")))
    torn = duplicates(("a", "cat"), ("b", "dog"), ("b", "cat"))
    assert torn.covers(duplicates(("a", "cat"), ("b", "dog")))
    assert torn.covers(duplicates(("a", "cat"), ("b", "cat")))
    assert not torn.covers(duplicates(("a", "dog"), ("b", "cat")))


def test_a_renamed_label_is_renamed_in_dismissals():
    """Merged labels do not contradict each other any more."""
    assert Dismissal.of("label", [("a", "cat")]).renamed("cat", "kitten").examples == (("a", "kitten"),)
    torn = duplicates(("a", "cat"), ("b", "dog"))
    assert torn.renamed("cat", "dog") == duplicates(("a", "dog"), ("b", "dog"))
    assert torn.renamed("bird", "dog") == torn


@pytest.mark.parametrize(
    ("finding", "examples"), [("thin", [("a", "b")]), ("label", []), ("outlier", [("a", ""), ("b", "")])]
)
def test_what_is_no_finding_is_refused(finding, examples):
    """An unknown kind, no example, and two images in a finding about one."""
    with pytest.raises(ValueError, match="no finding"):
        Dismissal.of(finding, examples)


@given(PAIRS, st.sampled_from(FINDING_KINDS), PAIRS)
def test_stored_and_found_again(pairs, finding, others):
    """JSON keeps any label, and a search by content finds what a search through all finds."""
    made = [
        Dismissal.of(finding, part) for part in ([pairs] if finding == "duplicates" else [[pair] for pair in pairs])
    ]
    assert [Dismissal.from_json(dismissal.to_json()) for dismissal in made] == made
    assert all(dismissal.covers(dismissal) for dismissal in made)
    asked = Dismissal.of("duplicates", others)
    assert DismissedFindings(made).cover(asked) == any(dismissal.covers(asked) for dismissal in made)


@pytest.mark.parametrize(
    "text", ["", "[]", '["label", [], ""]', '["x", [["a", "b"]], ""]', '["label", [[1, 2]], ""]', "7"]
)
def test_damaged_json_is_refused(text):
    """With a ValueError, whatever it is."""
    with pytest.raises(ValueError, match=r"."):
        Dismissal.from_json(text)
