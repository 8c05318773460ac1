"""Comparison of the former and the current examples of an index."""

from collections import Counter
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.index.staleness import ChangesSince, ExampleDigests, is_stale, stale_parts, vectors_digest
from lmm_classifier.index.vector_index import Index
from tests.helpers.vector_indexes import write_clusters

CONTENTS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abc")), max_size=12)


def digests(pairs):
    """Digests of examples, given as pairs of a content and a label."""
    labels = sorted({label for _, label in pairs})
    label_ids = np.array([labels.index(label) for _, label in pairs], np.int64)
    return ExampleDigests(np.array([content for content, _ in pairs], np.uint64), label_ids, tuple(labels))


@given(CONTENTS)
def test_the_same_examples_are_unchanged(pairs):
    """Also where two labels hold the same contents, in whatever order they come."""
    changes = ChangesSince.of(digests(pairs), digests(pairs[::-1]))
    assert (changes.added, changes.removed, changes.new_labels, dict(changes.renamed)) == (0, 0, (), {})


@given(CONTENTS, CONTENTS)
def test_added_and_removed_examples_are_counted(former, current):
    """As multisets of content and label. An unchanged example gets a row that it had."""
    changes = ChangesSince.of(digests(former), digests(current))
    names = {now: before for before, now in changes.renamed.items()}
    lost = {label for _, label in former} - {names.get(label, label) for _, label in current}
    known = {label for _, label in former}
    labels = {label: names.get(label, label) for _, label in current}
    translated = [(content, labels[label]) for content, label in current]
    is_new = [labels[label] not in known or label in changes.new_labels for _, label in current]
    before = Counter(former)
    after = Counter(pair if not new else (*pair, "new") for pair, new in zip(translated, is_new))
    assert changes.added >= (after - before).total()
    assert changes.removed >= (before - after).total()
    assert changes.added - changes.removed == len(current) - len(former)
    assert not lost & set(changes.renamed.values() and names.values())
    for row, (content, _) in zip(changes.rows, current):
        assert row < 0 or former[row][0] == content


@pytest.mark.long
@given(CONTENTS.filter(bool), st.permutations("abc"))
def test_renamed_labels_change_no_example(former, names):
    """Whatever the names are, also where labels exchange their names."""
    distinct = [(number, label) for number, (_, label) in enumerate(former)]
    renamed = [(number, "xyz"["abc".index(names["abc".index(label)])]) for number, label in distinct]
    changes = ChangesSince.of(digests(distinct), digests(renamed))
    assert not changes.changed
    assert changes.new_labels == ()
    assert changes.rows.tolist() == list(range(len(former)))
    exchanged = [(number, names["abc".index(label)]) for number, label in distinct]
    assert not ChangesSince.of(digests(distinct), digests(exchanged)).changed


def test_a_relabeled_example_is_changed_and_a_label_without_examples_is_lost():
    """A few corrections are no renaming; labels that were merged are not the former ones."""
    former = [(number, "a" if number < 5 else "b") for number in range(10)]
    corrected = [*former[:9], (9, "a")]
    changes = ChangesSince.of(digests(former), digests(corrected))
    assert (changes.added, changes.removed, dict(changes.renamed)) == (1, 1, {})
    merged = [(number, "b") for number in range(10)]
    changes = ChangesSince.of(digests(former), digests(merged))
    assert (changes.added, changes.removed, dict(changes.renamed)) == (5, 5, {})
    split = [*former[:5], *((number, "c") for number in (5, 6, 7)), *former[8:]]
    changes = ChangesSince.of(digests(former), digests(split))
    assert (changes.added, changes.new_labels, dict(changes.renamed)) == (3, ("c",), {})


def changes_by_hand(former, current):
    """Compare examples whose contents are all different, label by label."""
    before, now = dict(former), dict(current)
    kept = [content for content in now if content in before]
    same = {}  # current label -> former label
    for label in sorted(set(now.values())):
        if any(before[content] == now[content] == label for content in kept):
            same[label] = label
    for old, new in sorted({(before[content], now[content]) for content in kept}):
        both = sum((before[content], now[content]) == (old, new) for content in kept)
        of_old, of_new = sum(before[c] == old for c in kept), sum(now[c] == new for c in kept)
        if new not in same and old not in same.values() and both > of_old / 2 and both > of_new / 2:
            same[new] = old
    rows = [
        list(before).index(content) if content in kept and same.get(now[content]) == before[content] else -1
        for content in now
    ]
    renamed = {old: new for new, old in same.items() if old != new}
    fresh = tuple(sorted(set(now.values()) - set(before.values()) - set(renamed.values())))
    in_fresh = sum(label in fresh for label in now.values())
    return rows, rows.count(-1), len(before) - len(rows) + rows.count(-1), renamed, fresh, in_fresh


DISTINCT = st.dictionaries(st.integers(0, 12), st.sampled_from("abcd"), max_size=12).map(lambda pairs: [*pairs.items()])


@settings(max_examples=150)
@given(DISTINCT, DISTINCT)
def test_changes_are_those_of_a_comparison_by_hand(former, current):
    """Rows, counts, renamed labels and new ones; a label is the same where it shares an example or most of them."""
    found = ChangesSince.of(digests(former), digests(current))
    counts = (found.added, found.removed, dict(found.renamed), found.new_labels, found.in_new_labels)
    assert (found.rows.tolist(), *counts) == changes_by_hand(former, current)
    assert found.changed == bool(found.added or found.removed)


@pytest.mark.parametrize(
    ("added", "removed", "in_new_labels", "count", "too_many"),
    [
        (25, 25, 0, 100, False),
        (26, 0, 0, 100, True),
        (0, 26, 0, 100, True),
        (75, 25, 50, 150, False),  # of the 100 of former labels a quarter, and half as many are in new labels
        (76, 25, 50, 150, True),
        (100, 0, 100, 200, False),
        (101, 0, 101, 201, True),
        (0, 0, 0, 0, False),
    ],
)
def test_more_than_a_quarter_is_too_many(added, removed, in_new_labels, count, too_many):
    """Of the examples of former labels; and new labels may have as many examples as these have."""
    changes = ChangesSince(np.zeros(count, np.int64), added, removed, in_new_labels=in_new_labels)
    assert changes.is_too_many(count) == too_many


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("examples", [1]),
        ("examples", [[1, 2, 3]]),
        ("label_ids", [0, 1]),
        ("label_ids", [0, 1, 2]),
        ("label_ids", [-1, 0, 1]),
    ],
)
def test_digests_that_do_not_fit_their_labels_are_refused(name, damage):
    """Each example has a label, whose number is one of those there are; label numbers may all be equal."""
    arrays = digests([(4, "a"), (5, "b"), (6, "a")]).to_arrays()
    assert ExampleDigests.from_arrays(arrays).label_ids.tolist() == [0, 1, 0]
    assert ExampleDigests.from_arrays({**arrays, "label_ids": np.array([0, 0, 0])}).labels == ("a", "b")
    assert ExampleDigests.from_arrays(digests([]).to_arrays()).labels == ()
    with pytest.raises(ValueError, match=r"label"):
        ExampleDigests.from_arrays({**arrays, name: np.array(damage)})


def test_a_calibration_is_stale_where_examples_or_vectors_changed(tmp_path):
    """And where it is damaged; an index without one has none that could be stale."""
    contents = Index.open(write_clusters(tmp_path / "index.npz")).contents
    arrays = {**ExampleDigests.of(contents).to_arrays(), "vectors": np.array([vectors_digest(contents)])}
    fresh = replace(contents, calibration=arrays)
    assert not is_stale(fresh)
    assert stale_parts(fresh) == ()
    assert not is_stale(contents)
    changed = (
        replace(fresh, hashes=["f" * 64, *contents.hashes[1:]]),
        replace(fresh, calibration={**arrays, "vectors": np.array(["other"])}),
        replace(fresh, calibration={"vectors": arrays["vectors"]}),
        replace(fresh, calibration={**arrays, "label_ids": arrays["label_ids"][1:]}),
    )
    for stale in changed:
        assert is_stale(stale)
        assert [part.split(":")[0] for part in stale_parts(stale)] == ["calibration"]
    unused = ["it is not used" in part for stale in changed for part in stale_parts(stale)]
    assert unused == [False, True, False, False]  # other vectors cannot be scored by it
    assert not is_stale(replace(fresh, calibration={"other": np.zeros(1)}))


def with_arrays(contents, arrays):
    """The contents with other arrays of the transform."""
    return replace(contents, vectors=(replace(contents.vectors[0], transform_arrays=arrays),))


def test_the_digest_of_vectors_depends_on_the_arrays_of_the_transform(tmp_path):
    """On their numbers and on their names, in any order."""
    contents = Index.open(write_clusters(tmp_path / "index.npz")).contents
    made = [
        vectors_digest(with_arrays(contents, arrays))
        for arrays in ({}, {"a": np.ones(2)}, {"b": np.ones(2)}, {"a": np.zeros(2)}, {"a": np.ones(2), "b": np.ones(2)})
    ]
    assert len(set(made)) == 5
    assert vectors_digest(with_arrays(contents, {"b": np.ones(2), "a": np.ones(2)})) == made[-1]


def test_the_digest_of_vectors_stays_what_it_was(tmp_path):
    """An index keeps it: another way to compute it would make every calibration stale. It ends in a plain CRC-32."""
    contents = Index.open(write_clusters(tmp_path / "index.npz")).contents
    arrays = {"b": np.arange(4.0), "a": np.ones((2, 3), np.float32)}
    data = b"a" + arrays["a"].tobytes() + b"b" + arrays["b"].tobytes()
    space = f"{contents.manifest.space_ids[0]} {contents.manifest.encoders[0].transform}"
    assert vectors_digest(with_arrays(contents, arrays)) == f"{space} {crc32(data):08x}"
    assert vectors_digest(with_arrays(contents, {})) == f"{space} 00000000"


def test_no_change_is_not_too_many():
    """Unless something is said of new labels there are none, also in an index without examples."""
    assert not ChangesSince(np.zeros(0, np.int64), 0, 0).is_too_many(0)


def test_an_impossible_label_number_is_refused_with_its_range():
    """The error says which numbers there are."""
    arrays = digests([(4, "a"), (5, "b"), (6, "c")]).to_arrays()
    with pytest.raises(ValueError, match="outside of 0 to 2"):
        ExampleDigests.from_arrays({**arrays, "label_ids": np.array([0, 1, 3])})
