"""A shortlist from the graph next to a comparison with all rows, in both spaces that are scored.

A graph pays where comparing with all rows would take longer than encoding the image does.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.rows import Row, where
from benchmarks.side_by_side import in_turns, ratio
from benchmarks.vectors import DIM, contents_of, random_vectors
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.hnsw import HnswGraph
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.brute_force import BruteForceSearch
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.shortlist import ShortlistSimilarities

K = 10
_LIST = 500  # rows that the graph is asked for
_SPACES = 2  # the index's space and the metric


def graph_rows(command: str, count: int = 200_000) -> list[Row]:
    """Build a graph of `count` rows, and measure its recall and speed."""
    embeddings, queries = random_vectors(count)
    gallery = Gallery(embeddings, np.arange(count) // 200, count // 200 + 1)
    index = Index(contents_of(embeddings, ["label"] * count), IdentityTransform(), embeddings)
    started = time.perf_counter()
    graph = HnswGraph(index)
    seconds = time.perf_counter() - started
    listed = graph.search(queries, _LIST)
    best = BruteForceSearch(embeddings).search(queries, K)[0]
    recall = float(np.mean([np.isin(expected, rows).mean() for expected, rows in zip(best, listed)]))
    place, name = where("faiss-cpu"), f"graph search {count:,} x {DIM}"
    full_name = f"{name}, recall at {K} of a list of {_LIST}"
    measured = [
        Row(f"{name}, time to build", round(seconds, 1), "s", None, "lower", "", place, command),
        Row(full_name, recall, "", None, "higher", "", place, command),
    ]
    for batch in (1, 64):
        some = queries[:batch]

        def compare_listed(some: np.ndarray = some) -> None:
            rows = graph.search(some, _LIST)
            for _ in range(_SPACES):
                ShortlistSimilarities.of(gallery, some, rows).top_k_mean(5)

        def compare_all(some: np.ndarray = some) -> None:
            for _ in range(_SPACES):
                gallery.compare(some).top_k_mean(5)

        times = in_turns({"graph": compare_listed, "all rows": compare_all}, 5)
        value, spread = ratio(times["all rows"], times["graph"])
        against = ", ".join(f"{job} {1000 * each.median / batch:.3g} ms per query" for job, each in times.items())
        full_name = f"{name}, batch {batch}: speed relative to all rows"
        measured.append(Row(full_name, round(value, 2), "x", None, "higher", against, place, command, spread))
    return measured
