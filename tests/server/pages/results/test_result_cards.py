"""Words of confidence are earned by a calibration."""

from dataclasses import replace

import pytest

from lmm_classifier.core.datatypes import Candidate, Classification, Decision, Example, Neighbor
from lmm_classifier.index.formats import read_index
from lmm_classifier.server.pages.results.result_cards import confidence_words, result_card
from lmm_classifier.server.results import ExampleIds


@pytest.fixture(scope="module")
def ids(made_index):
    """The ids of a small index."""
    return ExampleIds(read_index(made_index / "index"))


def _result(reason="confident", score=0.98, action="accept", near=()):
    candidates = (Candidate("red", score, tuple(near)), Candidate("green", 1 - score, ()))
    return Classification("red", score, False, Decision(action, reason), candidates, 0.6, 0.1, content_hash="0" * 64)


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.97, "Almost certainly"),
        (0.969, "Probably"),
        (0.8, "Probably"),
        (0.5, "Perhaps"),
        (0.49, "A guess:"),
        (0, "A guess:"),
    ],
)
def test_the_words_follow_the_probability(ids, score, words):
    """Only where it was measured."""
    assert confidence_words(score) == words
    assert result_card("0" * 64, _result(score=score), ids, True).words == words
    plain = result_card("0" * 64, _result(score=score), ids, False)
    assert plain.words == "It looks like"
    assert "not calibrated" in plain.basis


def test_unknown_images_have_no_label(ids):
    """The words say which kind of unknown."""
    novel = result_card("0" * 64, _result("novel", 0.6, "reject"), ids, True)
    assert (novel.label, novel.basis, novel.words) == ("", "", "Nothing like it in this dataset")
    assert result_card("0" * 64, _result("ambiguous", 0.6, "reject"), ids, True).words == "No label is sure enough"


def test_neighbors_are_the_nearest_of_all_labels(ids):
    """Each has its id; one that was removed has none. An image that is an example says its label."""
    path = ids.contents.paths[0]
    near = [Neighbor(Example("gone.png", "red"), 0.4), Neighbor(Example(path, "blue_left"), 0.7)]
    card = result_card(ids.contents.hashes[0], _result(near=near), ids, True)
    assert [(one.id, one.similarity) for one in card.neighbors] == [(ids.contents.hashes[0], 0.7), (None, 0.4)]
    assert card.taught == ids.contents.labels[0]


def test_the_place_in_a_hierarchy_is_shown(ids):
    """Of a label what stands above it; a coarse label says that it is one."""
    coarse = replace(_result("rolled_up", 0.97), label="tops", level=1, label_path=("body", "tops"))
    card = result_card("0" * 64, coarse, ids, True)
    assert (card.words, card.label) == ("Almost certainly", "tops")
    assert card.place == "No label is sure enough, so this is a coarse one in body."
    assert [choice.label for choice in card.choices] == ["red", "green"]  # a person teaches labels
    label = replace(_result(), level=0, label_path=("warm", "red"))
    assert result_card("0" * 64, label, ids, True).place == "In warm."
    assert result_card("0" * 64, _result(), ids, True).place == ""
