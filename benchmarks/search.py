"""Search, scoring and decision next to other libraries, timed in turns in one process.

These measurements explain some constants. They come from 2 cores of an AMD EPYC with AVX-512 and VNNI, under load:

- `index.vector_index.SEARCH_FROM` 20,000: from there on, 8-bit candidates answer one query in about half the time of a
  comparison with all rows in float32. About twenty queries pay back the 0.2 s of making them. At 5,000 both are equal.
- `neighbors.brute_force._ROWS` 8,192 rows per block, one thread per block: 16,384 and 32,768 are as fast, if their
  scores stay at 8 MB. Threads inside ONNX Runtime wait for each other. On a busy machine that costs ten times the
  product. Rows as the left side of MatMulInteger are four to ten times slower; so are signed integers on both sides.
- `neighbors.brute_force._MOST` 4,000 candidates: computing that many exactly takes as long as all products in float32.
  Usually there are 60 to 300 of 200,000.
- `neighbors.metric.PROJECT_FROM` 50,000: explained there.
- `neighbors.rescoring`: apart from matrix products, most time goes into fetching rows and summing them in float64. One
  pair takes 0.5 us from the cache and 0.9 us from memory. Five rows of each of 100 labels are 500 pairs per image.
- the graph: HNSW of faiss. A list of 500 held 99.9 % (clusters) and 99.7 % (48 even dimensions and noise) of the ten
  nearest of 50,000 rows. Inverted lists held 24 to 81 % of the latter. usearch is as good, but importing onnxruntime
  after it ends the process (2.26.6 and 1.32.0).
- `index.hnsw.ANN_FROM` 1,000,000: explained there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.graph_search import graph_rows
from benchmarks.rows import Row, run_part, where
from benchmarks.scoring import scoring_rows
from benchmarks.side_by_side import Times, in_turns, ratio
from benchmarks.vectors import DIM, random_vectors
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.concurrency import cpu_count
from lmm_classifier.neighbors.brute_force import BruteForceSearch

COMMAND = "python -m benchmarks.performance --only search"
K = 10

Search = Callable[[Float32Array], object]


def rows(quick: bool = False) -> list[Row]:
    """Measure search at 20,000 and 200,000 rows, the fraction of scoring and decision, and a graph."""
    counts = (20_000,) if quick else (20_000, 200_000)
    measured = [row for count in counts for row in search_rows(count, quick)]
    measured += scoring_rows(COMMAND, quick)
    return measured if quick else [*measured, *graph_rows(COMMAND)]


def search_rows(count: int, quick: bool) -> list[Row]:
    """Search with one query and with 256 at once: this program, faiss, numpy and scikit-learn."""
    embeddings, queries = random_vectors(count)
    search = BruteForceSearch(embeddings)
    libraries = exact_libraries(embeddings)
    place = where("faiss-cpu", "onnxruntime", "scikit-learn", "usearch")
    nearest = search.search(queries, K)[0]
    best = np.argpartition(-(queries @ embeddings.T), K, axis=1)[:, :K]
    recall = float(np.mean([np.isin(expected, rows).mean() for expected, rows in zip(best, nearest)]))
    name = f"search {count:,} x {DIM}"
    measured = [Row(f"{name}, recall at {K}", recall, "", 0.999, "higher", "numpy in float32", place, COMMAND)]
    goals = {(1, "numpy"): 1.5, (256, "faiss flat"): 2.5} if count == 200_000 else {}
    for batch in (1, 256):
        some = queries[:batch]
        jobs: dict[str, Callable[[], object]] = {"own": partial(search.search, some, K)}
        jobs |= {library: partial(find, some) for library, find in libraries.items()}
        times = in_turns(jobs, 3 if quick else 7)
        value, full_name = 1000 * times["own"].median / batch, f"{name}, batch {batch}"
        measured.append(Row(full_name, round(value, 3), "ms per query", None, "lower", "", place, COMMAND))
        measured += [
            speed_row(full_name, library, times[library], times["own"], goals.get((batch, library)), place)
            for library in libraries
        ]
    return measured


def speed_row(name: str, library: str, slow: Times, fast: Times, goal: float | None, place: str) -> Row:
    """Return the speed of the search relative to another library."""
    value, spread = ratio(slow, fast)
    against = f"{library}: {1000 * slow.median:.4g} ms; this program: {1000 * fast.median:.4g} ms"
    full_name = f"{name}: speed relative to {library}"
    return Row(full_name, round(value, 2), "x", goal, "higher", against, place, COMMAND, spread)


def exact_libraries(embeddings: Float32Array) -> dict[str, Search]:
    """Return the exact search of other libraries, by name."""
    import faiss
    from sklearn.neighbors import NearestNeighbors

    faiss.omp_set_num_threads(cpu_count())
    flat = faiss.IndexFlatIP(DIM)
    flat.add(embeddings)
    # Euclidean distance orders normalized embeddings as the cosine does.
    brute = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(embeddings)

    def search_with_numpy(queries: Float32Array) -> object:
        return np.argpartition(-(queries @ embeddings.T), K, axis=1)[:, :K]

    return {
        "faiss flat": lambda queries: flat.search(queries, K),
        "numpy": search_with_numpy,
        "scikit-learn brute": lambda queries: brute.kneighbors(queries, return_distance=False),
    }


if __name__ == "__main__":
    run_part("search", __doc__, rows)
