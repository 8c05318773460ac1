"""Search, voting and decision beside other libraries, timed in turns in one process.

What was learned here explains these constants (2 cores of an AMD EPYC with AVX-512 and VNNI, other work running too):

- `index.exact.SEARCH_FROM` 20,000: from there 8-bit candidates answer one query in about half the time of a comparison
  with all rows in float32, and making them (0.2 s) is paid back by some twenty queries. At 5,000 it is a tie.
- `index.nearest_rows._ROWS` 8,192 rows a block (16,384 and 32,768 are as quick, if their scores stay at 8 MB), one
  thread a block: threads inside ONNX Runtime wait for each other, which on a busy machine costs ten times the product.
  Rows as the left side of MatMulInteger are four to ten times slower, as are signed integers on both sides.
- `index.nearest_rows._MOST` 4,000 candidates: computing that many exactly takes as long as all products in float32.
  Usual are 60 to 300 of 200,000.
- `voices.FOLD_FROM` 50,000: see there.
- `pairs`: of the time beside matrix products most goes into fetching rows and summing them in float64, 0.5 us a pair
  from the cache and 0.9 from memory; five rows of each of 100 labels are 500 pairs a picture.
- the graph: HNSW of faiss. A list of 500 held 99.9 % (clusters) and 99.7 % (48 even dimensions and noise) of the ten
  nearest of 50,000; inverted lists held 24 to 81 % of the latter. usearch is as good, but importing onnxruntime after
  it ends the process (2.26.6 and 1.32.0). hnswlib has no wheels.
- `index.graph.ANN_FROM` 1,000,000: see there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import numpy as np

from benchmarks.real_shapes import BASE
from benchmarks.rows import Row, where, write_rows
from benchmarks.side_by_side import Times, in_turns, ratio
from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.concurrency import processors
from lmm_classifier.core.datatypes import Fingerprint
from lmm_classifier.core.protocols import FloatArray
from lmm_classifier.embeddings.whitening import IdentityRecipe, IdentitySpace
from lmm_classifier.index.contents import Contents
from lmm_classifier.index.hnsw import Graph
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.brute_force import NearestRows
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.shortlist import ShortlistComparison
from lmm_classifier.neighbors.voting import open_recipe
from lmm_classifier.pipeline.flow import Encoded, Flow

COMMAND = "python -m benchmarks.performance --only search"
DIM, K = 1152, 10
_BLOCK = 8192


def corpus(count: int, queries: int = 256, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Unit rows (count, DIM) around one centre per 200 rows, cosine 0.5 within; and queries like them."""
    rng = np.random.default_rng(seed)
    centres = (rng.normal(size=(max(count // 200, 1), DIM)) / DIM**0.5).astype(np.float32)

    def some(many: int) -> FloatArray:
        rows = rng.normal(size=(many, DIM)).astype(np.float32) / np.float32(DIM**0.5)
        rows += centres[rng.integers(0, len(centres), many)]
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    units = np.empty((count, DIM), np.float32)
    for start in range(0, count, _BLOCK):
        units[start : start + _BLOCK] = some(min(_BLOCK, count - start))
    return units, some(queries)


def rows(quick: bool = False) -> list[Row]:
    """Search beside others at 20,000 and 200,000 rows, the share of voting and decision, and a graph."""
    found = [row for count in ((20_000,) if quick else (20_000, 200_000)) for row in search_rows(count, quick)]
    found += voting_rows(quick)
    return found if quick else [*found, *graph_rows()]


def search_rows(count: int, quick: bool) -> list[Row]:
    """One query and 256 at once: ours, faiss, numpy, scikit-learn, and graphs beside."""
    units, queries = corpus(count)
    search = NearestRows(units)
    others = _others(units, graphs=not quick and count <= 20_000)
    said = where("faiss-cpu", "onnxruntime", "scikit-learn", "hnswlib", "usearch")
    nearest = search.search(queries, K)[0]
    best = np.argpartition(-(queries @ units.T), K, axis=1)[:, :K]
    recall = float(np.mean([np.isin(one, mine).mean() for one, mine in zip(best, nearest)]))
    name = f"search {count:,} x {DIM}"
    found = [Row(f"{name}, recall at {K}", recall, "", 0.999, "higher", "numpy in float32", said, COMMAND)]
    for batch in (1, 256):
        some = queries[:batch]
        jobs: dict[str, Callable[[], object]] = {"ours": lambda some=some: search.search(some, K)}
        jobs |= {other: lambda find=find, some=some: find(some) for other, find in others.items()}
        times = in_turns(jobs, 3 if quick else 7)
        mine = times["ours"]
        value = 1000 * mine.median / batch
        found.append(Row(f"{name}, batch {batch}", round(value, 3), "ms per query", None, "lower", "", said, COMMAND))
        goals = {(1, "numpy"): 1.5, (256, "faiss flat"): 2.5} if count == 200_000 else {}
        found += [
            _faster(f"{name}, batch {batch}", other, times[other], mine, goals.get((batch, other)), said)
            for other in others
        ]
    return found


def _faster(name: str, other: str, slow: Times, fast: Times, goal: float | None, said: str) -> Row:
    value, spread = ratio(slow, fast)
    against = f"{other}: {1000 * slow.median:.4g} ms; ours {1000 * fast.median:.4g} ms"
    return Row(f"{name}, faster than {other}", round(value, 2), "x", goal, "higher", against, said, COMMAND, spread)


def _others(units: FloatArray, graphs: bool) -> dict[str, Callable[[FloatArray], object]]:
    import faiss
    from sklearn.neighbors import NearestNeighbors

    faiss.omp_set_num_threads(processors())
    flat = faiss.IndexFlatIP(DIM)
    flat.add(units)
    brute = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(units)  # of unit rows: the order of the cosines

    def by_numpy(queries: FloatArray) -> object:
        near = queries @ units.T
        return np.argpartition(-near, K, axis=1)[:, :K]

    found: dict[str, Callable[[FloatArray], object]] = {
        "faiss flat": lambda queries: flat.search(queries, K),
        "numpy": by_numpy,
        "scikit-learn brute": lambda queries: brute.kneighbors(queries, return_distance=False),
    }
    return found | _graphs(units) if graphs else found


def _graphs(units: FloatArray) -> dict[str, Callable[[FloatArray], object]]:
    import hnswlib

    small = hnswlib.Index("ip", DIM)
    small.init_index(len(units), ef_construction=100, M=16)
    small.add_items(units, num_threads=processors())
    small.set_ef(64)
    return {"hnswlib HNSW": lambda queries: small.knn_query(queries, K, num_threads=processors())}


class _Given:
    """An encoder that has the vectors already."""

    fingerprint = Fingerprint("given", "vectors", "1", "none", DIM, "float32")
    space = IdentityRecipe()
    image_size = 224

    def __init__(self, vectors: FloatArray) -> None:
        self._vectors = vectors

    @property
    def vectors(self) -> FloatArray:
        """What it was given."""
        return self._vectors


def _encoder_ms() -> float:
    """The least that SigLIP base/16 at 224 px can take per picture here: its operations at the rate of torch's product
    of two bfloat16 matrices. Our encoder reaches that rate.
    """
    import torch

    left, right = (torch.randn(4096, 4096).bfloat16() for _ in range(2))
    return 1000 * BASE.flops * in_turns({"gemm": lambda: left @ right}, 5)["gemm"].median / (2.0 * 4096**3)


@cache
def _flow(count: int, labels: int) -> Flow:
    """A flow over labels of several pictures each, fitted to a few of them."""
    from PIL import Image

    Image.new("RGB", (1, 1))
    units, queries = corpus(count, 64)
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(labels, DIM)).astype(np.float32) / np.float32(DIM**0.5)
    own = np.sort(rng.integers(0, labels, count))
    units = units + centres[own]
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    queries = queries + centres[rng.integers(0, labels, 64)]
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    names = [f"label {number:05}" for number in own]
    contents = Contents(
        Manifest(_Given.fingerprint, "identity", count, "corpus", "2026-01-01", "0"),
        names,
        [f"{name}/{row}.jpg" for row, name in enumerate(names)],
        [f"{row:064x}" for row in range(count)],
        {},
        lambda: [units],
    )
    index = ExactIndex(contents, IdentitySpace(), units)
    config = PipelineConfig.model_validate({"rerank": {"enabled": False}})
    fitted = Calibration.fit(config.retrieval, index, most=512)[0]
    recipe = open_recipe(config.retrieval, index.label_ids, labels)
    calibrated = Contents(**{**vars(contents), "calibration": fitted.state(contents, recipe)})
    return Flow(config, _Given(queries), ExactIndex(calibrated, IdentitySpace(), units))


def voting_rows(quick: bool) -> list[Row]:
    """Everything after the encoder for 64 pictures at a time, and the part of it that is not a matrix product."""
    from PIL import Image

    said, found = where(), []
    pictures, encoder_ms = [Encoded(lambda: Image.new("RGB", (1, 1)))] * 64, _encoder_ms()
    for count, labels in ((20_000, 100),) if quick else ((20_000, 100), (20_000, 1000)):
        flow = _flow(count, labels)
        queries = flow.encoder.vectors
        units, white = flow.index.gallery.units, flow.retriever._whitened.units

        def products(queries: FloatArray = queries, units: FloatArray = units, white: FloatArray = white) -> object:
            return queries @ units.T, queries @ white.T

        jobs = {"all": lambda flow=flow, queries=queries: flow.classify(queries, pictures), "products": products}
        times = in_turns(jobs, 5 if quick else 9)
        whole, parts = (1000 * times[name].median / 64 for name in ("all", "products"))
        rest = [1000 * (one - other) / 64 for one, other in zip(times["all"].seconds, times["products"].seconds)]
        against = f"{count:,} x {DIM}, {labels} labels, 64 at a time; of {encoder_ms:.0f} ms for SigLIP base"
        share = 100 * float(np.median(rest)) / encoder_ms
        spread = f"{100 * min(rest) / encoder_ms:.3g} to {100 * max(rest) / encoder_ms:.3g}"
        name = f"search: voting and decision, {labels} labels"
        goal = 1.0 if labels == 100 else None
        found.append(Row(f"{name}, share", round(share, 2), "%", goal, "lower", against, said, COMMAND, spread))
        for part, value in (("with products", whole), ("products alone", parts)):
            full = f"{name}, {part}"
            found.append(Row(full, round(value, 3), "ms per picture", None, "lower", against, said, COMMAND))
    return found


def graph_rows(count: int = 200_000) -> list[Row]:
    """A shortlist from the graph beside a comparison with all rows, for the two spaces that vote.

    The rule: a graph pays where looking at everything would take longer than encoding the picture does.
    """
    units, queries = corpus(count)
    gallery = Gallery(units, np.arange(count) // 200, count // 200 + 1)
    contents = Contents(
        Manifest(_Given.fingerprint, "identity", count, "corpus", "2026-01-01", "0"),
        ["label"] * count,
        [],
        [f"{row:064x}" for row in range(count)],
        {},
        lambda: [units],
    )
    started = time.perf_counter()
    graph = Graph(ExactIndex(contents, IdentitySpace(), units))
    made = time.perf_counter() - started
    found = graph.search(queries, 500)
    best = NearestRows(units).search(queries, K)[0]
    recall = float(np.mean([np.isin(one, mine).mean() for one, mine in zip(best, found)]))
    said, name = where("faiss-cpu"), f"search by graph, {count:,} x {DIM}"
    result = [
        Row(f"{name}, made in", round(made, 1), "s", None, "lower", "", said, COMMAND),
        Row(f"{name}, of the ten nearest in a list of 500", recall, "", None, "higher", "", said, COMMAND),
    ]
    for batch in (1, 64):
        some = queries[:batch]

        def listed(some: FloatArray = some) -> None:
            near = graph.search(some, 500)
            for _ in range(2):
                ShortlistComparison.of(gallery, some, near).top_mean(5)

        def everything(some: FloatArray = some) -> None:
            for _ in range(2):
                gallery.compare(some).top_mean(5)

        times = in_turns({"list": listed, "all": everything}, 5)
        value, spread = ratio(times["all"], times["list"])
        against = ", ".join(f"{one} {1000 * each.median / batch:.3g} ms per query" for one, each in times.items())
        full = f"{name}, batch {batch}, faster than all rows"
        result.append(Row(full, round(value, 2), "x", None, "higher", against, said, COMMAND, spread))
    return result


if __name__ == "__main__":
    write_rows("search", rows())
