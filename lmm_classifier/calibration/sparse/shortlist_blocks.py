"""Scores examples that are left out through the shortlist of a search graph, as answers are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lmm_classifier.calibration.predictions import HeldOutScores
from lmm_classifier.calibration.rule_fitting import ChosenMetric
from lmm_classifier.calibration.sparse.sparse_fit import evenly
from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.gathering.gathered import UnreadLabels
from lmm_classifier.neighbors.gathering.left_out_shortlist import FindRows, LeftOutShortlist, left_out_blocks
from lmm_classifier.neighbors.leave_one_out import LeaveOneOut
from lmm_classifier.neighbors.novelty import NeighborDensity, SearchRows, signals_held_out
from lmm_classifier.neighbors.rescoring import QueryRowPairs, dots, number_rows
from lmm_classifier.neighbors.shortlist import SHORTLIST
from lmm_classifier.neighbors.voting import RuleSpec

MEANS = (3, 5)  # numbers of best cosines that rules take means of
_EXAMPLES = 256  # that tell what is usual for a label without a row on the shortlist

Galleries = tuple[Gallery, Gallery]  # in the space of the index, in the metric
GraphSearch = Callable[[Float32Array, int], IntArray]  # normalized queries, k -> about k rows near each, -1 for none


def shortlist_blocks(
    spec: RuleSpec,
    chosen: ChosenMetric,
    galleries: Galleries,
    density: NeighborDensity,
    find_rows: FindRows,
    unread: UnreadLabels,
    rows: IntArray,
) -> Iterator[HeldOutScores]:
    """Yield scores and signals of rows that are left out one by one, block by block."""
    plain, in_metric = _shortlists(spec, chosen, galleries, unread)
    labels = galleries[0].labels
    for block, compared, mapped in left_out_blocks(plain, in_metric, find_rows, rows, labels):
        scores = [expert.scores(mapped if spec.within_class_metric else compared) for expert in spec.experts]
        signals = signals_held_out(density, block, compared, mapped)
        yield HeldOutScores(block, galleries[0].label_ids[block], scores, signals)


def unread_labels(
    spec: RuleSpec, chosen: ChosenMetric, galleries: Galleries, find_rows: FindRows, rows: IntArray
) -> UnreadLabels:
    """Find what is usual for labels without a row on the shortlist, by comparing a few examples with all rows."""
    some, of_pairs = evenly(rows, _EXAMPLES), {m: (list[Float64Array](), list[Float64Array]()) for m in MEANS}
    exact = (
        LeaveOneOut(galleries[1], chosen.downdate, centered=True)
        if spec.within_class_metric
        else LeaveOneOut(galleries[0])
    )
    shortlists = _shortlists(spec, chosen, galleries, UnreadLabels())
    for block, *compared in left_out_blocks(*shortlists, find_rows, some, galleries[0].labels):
        listed = compared[1 if spec.within_class_metric else 0]
        ((_, complete),) = exact.blocks(block, len(block))
        for m, (cosines, means) in of_pairs.items():
            missing = np.isneginf(listed.top_k_mean(m)) & np.isfinite(complete.mean_cosines())
            cosines.append(complete.mean_cosines()[missing])
            means.append(complete.top_k_mean(m)[missing])
    return UnreadLabels.fit({m: (np.concatenate(x), np.concatenate(y)) for m, (x, y) in of_pairs.items() if x})


def rows_by_graph(gallery: Gallery, search: GraphSearch) -> FindRows:
    """Return what finds the rows near to rows of a gallery, as many as answers are compared with."""

    def find_rows(numbers: IntArray) -> Sequence[IntArray]:
        return [rows[rows >= 0] for rows in search(gallery.embeddings[numbers], SHORTLIST + 1)]

    return find_rows


def rescored_search(gallery: Gallery, search: GraphSearch) -> SearchRows:
    """Return a search for the k nearest of the rows that a graph finds, with exact cosines."""

    def search_rows(queries: Float32Array, k: int) -> tuple[IntArray, Float64Array]:
        found = [np.unique(rows[rows >= 0]) for rows in search(queries, max(SHORTLIST, k))]
        numbers, rows = number_rows(found)
        cosines = dots(gallery.embeddings, queries, numbers, rows)
        return QueryRowPairs(len(queries), numbers, rows, cosines).nearest(k)

    return search_rows


def _shortlists(
    spec: RuleSpec, chosen: ChosenMetric, galleries: Galleries, unread: UnreadLabels
) -> tuple[LeftOutShortlist, LeftOutShortlist]:
    """Return what leaves out rows in both spaces; what is put for missing labels belongs to the scored one."""
    of_plain, of_metric = (None, unread) if spec.within_class_metric else (unread, None)
    plain = LeftOutShortlist(galleries[0], unread=of_plain)
    return plain, LeftOutShortlist(galleries[1], chosen.downdate, centered=True, unread=of_metric)
