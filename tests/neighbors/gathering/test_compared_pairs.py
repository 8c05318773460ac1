"""Pairs that are compared label by label are those of a whole comparison, to the last bit."""

import numpy as np
import pytest

from lmm_classifier.neighbors.gathering.compared_pairs import ComparedPairs, Competing
from lmm_classifier.neighbors.gathering.reading import FoundRows, ReadingLimits
from lmm_classifier.testing import random_embeddings
from tests.neighbors.gathering.test_store_similarities import comparison, dataset

FEW_ROWS = ReadingLimits(likely=2, nearest=40, labels=3, rows=7)  # so that rows of labels are found and not read


def bits(both):
    """Return all that a rule asks for, in both spaces."""
    arrays = []
    for found in both:
        arrays += [found.top_k_mean(1), found.top_k_mean(5), found.best_label(), *found.nearest_each(10)]
        arrays += [found.mean_cosines(), found.square_distances(), *found.labels_of_nearest(10)]
        arrays += found.nearest_of_labels([(query, label) for query in range(len(found)) for label in range(6)], 3)
    return [array.tobytes() for array in arrays]


def left_out_of(queries, leave_out):
    return [np.array([number, number + 25]) for number in range(len(queries))] if leave_out else []


@pytest.mark.parametrize("limits", [ReadingLimits(), FEW_ROWS], ids=["usual", "few"])
@pytest.mark.parametrize("leave_out", [False, True])
def test_label_by_label_is_the_same(limits, leave_out):
    """Whatever the ranges of labels and the parts of the queries; only the best rows of a label are kept."""
    store, _, _, scatter, metric = dataset()
    compared = comparison(store, scatter, metric, limits)
    queries = random_embeddings(np.random.default_rng(1), 20, 16)
    left_out = left_out_of(queries, leave_out)
    expected = bits(compared.compare(queries, left_out))
    halves = [slice(0, 9), slice(9, 20)]
    competing = Competing.following([compared.competing(queries[part], left_out[part]) for part in halves])
    touched, parts = competing.touched(store.counts, limits.rows), []
    for start, stop in [(4, 6), (0, 3), (3, 4)]:
        read = compared.label_rows(touched[(touched >= start) & (touched < stop)])
        of_range = competing.within(start, stop)
        for part in reversed(halves):
            pairs = compared.pairs(queries[part], read, of_range.part(part), left_out[part])
            parts.append(pairs.best(10).numbered_from(part.start))
    joined = ComparedPairs.joined(parts)
    assert bits(compared.compare(queries, left_out, joined)) == expected
    whole = compared.pairs(queries, compared.label_rows(touched), competing, left_out)
    assert len(joined) < len(whole)
    part = slice(5, 12)
    found = compared.compare(queries[part], left_out[part], joined.of_queries(5, 12))
    assert bits(found) == bits(compared.compare(queries[part], left_out[part]))


def test_other_queries_do_not_change_what_is_compared():
    """Also where they read a label of which a row was found near this one."""
    store, _, _, scatter, metric = dataset()
    compared = comparison(store, scatter, metric, FEW_ROWS)
    queries = random_embeddings(np.random.default_rng(2), 30, 16)
    together = [found.pairs for found in compared.compare(queries)]
    for number in range(len(queries)):
        alone = [found.pairs for found in compared.compare(queries[number : number + 1])]
        for one, many in zip(alone, together):
            own = many.queries == number
            assert dict(zip(many.rows[own], many.cosines[own])) == dict(zip(one.rows, one.cosines))


def test_the_best_of_each_label_are_kept():
    """In either space; equal cosines by row."""
    queries, ids, label_ids = np.array([0, 0, 0, 0, 1]), np.array([4, 3, 2, 9, 9]), np.array([0, 0, 0, 1, 1])
    plain, in_metric = np.array([0.5, 0.5, 0.9, 0.1, 0.2]), np.array([0.2, 0.9, 0.1, 0.3, 0.3])
    pairs = ComparedPairs(queries, ids, label_ids, plain, in_metric)
    assert pairs.best(1).ids.tolist() == [3, 2, 9, 9]
    assert pairs.best(2).ids.tolist() == [4, 3, 2, 9, 9]
    assert ComparedPairs.joined([]).best(3).ids.tolist() == []


def test_what_competes_is_cut():
    """By labels and by queries; rows found in labels that are read whole need no other label."""
    found = FoundRows(np.array([[5, 1, -1], [7, 2, 3]]), np.array([[2, 0, -1], [3, 0, 1]]))
    competing = Competing([np.array([0, 2]), np.array([0])], [found])
    within = competing.within(2, 4)
    assert [labels.tolist() for labels in within.labels] == [[2], []]
    assert within.found[0].ids.tolist() == [[5, -1, -1], [7, -1, -1]]
    assert competing.part(slice(1, 2)).found[0].ids.tolist() == [[7, 2, 3]]
    counts = np.array([9, 9, 9, 20])
    assert (competing.touched(counts, 30).tolist(), competing.touched(counts, 10).tolist()) == ([0, 2], [0, 2, 3])
