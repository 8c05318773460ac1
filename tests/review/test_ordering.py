"""Kinds of groups, what they suggest, and which comes first."""

import numpy as np
import pytest

from lmm_classifier.discovery.fused_space import FusedSpace
from lmm_classifier.discovery.landscape import Landscape
from lmm_classifier.discovery.votes import Votes
from lmm_classifier.pipeline.thresholds import Threshold, Thresholds
from lmm_classifier.review.ordering import ReviewGroup, ordered_groups
from lmm_classifier.review.revote import OpenVotes
from lmm_classifier.review.storage.run_store import Undecided

THRESHOLDS = Thresholds(Threshold(0.8, "test"), Threshold(-2.0, "test"))
HELD_OUT = np.linspace(-3, 3, 101)
LABELS = ("dress", "skirt", "hat")


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def votes(rows):
    """Make votes of rows (reason, label, score, second, familiarity, axis), and unit vectors near the axis."""
    rng = np.random.default_rng(0)
    centers = np.eye(8)
    embeddings = unit(np.array([centers[row[5]] for row in rows]) + 0.05 * rng.normal(size=(len(rows), 8)))
    columns = list(zip(*rows))
    parts = Votes(
        LABELS,
        np.array([LABELS.index(name) for name in columns[1]]),
        np.array(columns[2], float),
        np.array(columns[3], float),
        np.array(columns[4], float),
        list(columns[0]),
        list(columns[1]),
    )
    items = [Undecided(number + 1, row[0], row[1], apart=False) for number, row in enumerate(rows)]
    return OpenVotes(1, items, parts, (embeddings,))


@pytest.fixture
def landscape():
    examples = unit(np.eye(8)[[0, 1, 2]] + 0.01)
    space = FusedSpace.of_unlabeled([unit(np.eye(8) + 0.1 - 0.2 * (np.arange(8) % 2)[:, None])])
    labeled = space.map([examples])
    return Landscape(space, 0.5, labeled, 10.0 * labeled, 3, LABELS, "")


def test_kinds(landscape):
    """By the reason, and by how far the threshold is; what decides itself is in no group."""
    groups = ordered_groups(
        votes(
            [
                ("novel", "dress", 0.9, 0.1, -3.0, 5),
                ("novel", "dress", 0.9, 0.1, -2.1, 6),
                ("novel", "dress", 0.5, 0.4, -2.1, 4),
                ("ambiguous", "skirt", 0.5, 0.45, 0.0, 1),
                ("ambiguous", "skirt", 0.77, 0.2, 0.0, 3),
                ("confident", "hat", 0.99, 0.01, 0.0, 2),
            ]
        ),
        landscape,
        THRESHOLDS,
        HELD_OUT,
    )
    found = {group.items: (group.kind, group.suggested_label) for group in groups}
    assert found == {
        (1,): ("new_class", None),
        (2,): ("near_threshold", "dress"),
        (3,): ("new_class", None),
        (4,): ("compete", "skirt"),
        (5,): ("near_threshold", "skirt"),
    }
    assert [ReviewGroup.from_dict(group.to_dict()) for group in groups] == groups


def test_a_proposal_says_what_it_resembles(landscape):
    """Six alike are proposed as one new label, which may be a look of the label that resembles it; one alone is not."""
    rows = [("novel", "hat", 0.4, 0.3, -4.0, 5)] * 6 + [("novel", "dress", 0.9, 0.1, -3.0, 6)]
    groups = ordered_groups(votes(rows), landscape, THRESHOLDS, HELD_OUT)
    found = {group.items[0] < 7: group for group in groups}
    assert len(found[True].items) == 6
    assert (found[True].kind, found[True].suggested_label, found[True].is_proposal) == ("new_class", None, True)
    assert not found[False].is_proposal
    rows_of = landscape.space.map([votes(rows).embeddings[0][:6]])
    nearest = LABELS[int((landscape.labeled @ rows_of.mean(axis=0)).argmax())]
    assert found[True].nearest_label == nearest
    competing = [("ambiguous", "skirt", 0.5, 0.45, 0.0, 1)]
    (group,) = ordered_groups(votes(competing), landscape, THRESHOLDS, HELD_OUT)
    assert (group.nearest_label, group.is_proposal) == (None, False)


def test_a_large_group_that_nothing_covers_comes_first(landscape):
    """Before single images, and before as many that an example resembles."""
    new = [("novel", "dress", 0.4, 0.3, -4.0, 5)] * 6
    covered = [("ambiguous", "dress", 0.5, 0.45, 0.0, 0)] * 6
    single = [("novel", "dress", 0.4, 0.3, -4.0, 7)]
    groups = ordered_groups(votes([*covered, *single, *new]), landscape, THRESHOLDS, HELD_OUT)
    assert [len(group.items) for group in groups] == [6, 1, 6]
    assert set(groups[0].items) == set(range(8, 14))
    assert groups[0].gain == pytest.approx(6 * groups[0].tightness * 0.6)
    assert 0.9 < groups[0].tightness <= 1


def test_competing_images_of_two_labels_are_two_groups(landscape):
    """One key could not answer for both."""
    rows = [("ambiguous", name, 0.5, 0.45, 0.0, 6) for name in ("dress", "skirt", "dress", "skirt")]
    groups = ordered_groups(votes(rows), landscape, THRESHOLDS, HELD_OUT)
    assert sorted(sorted(group.items) for group in groups) == [[1, 3], [2, 4]]


def test_nothing_open():
    """No group, and no space is needed."""
    nothing = votes([("confident", "hat", 0.99, 0.0, 0.0, 2)])
    assert ordered_groups(nothing, None, THRESHOLDS, HELD_OUT) == []
