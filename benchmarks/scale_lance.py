"""A table of Lance next to a graph of faiss: time to make it, disk, memory, processor time of a query, recall.

`scale_rows` draws the rows. Each part runs in a process of its own, so that its memory is its own. Processor time is
compared, because other programs may run.

    python -m benchmarks.scale_lance --rows 200000 --output results.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.scale_decisions import measure_answers
from benchmarks.scale_rows import DIM, QUERIES, chunks, queries_of
from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.index.backends.lance_table.copying import chunk_of
from lmm_classifier.index.backends.lance_table.datasets import arrow
from lmm_classifier.index.backends.lance_table.finishing import finished
from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore
from lmm_classifier.index.backends.lance_table.table import LanceTable
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.testing import example_fingerprint

K = 10
_PARTS = ("table", "queries", "labels", "answers", "graph")


def cpu_seconds() -> float:
    """Return the processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure_table(url: str, rows: int) -> dict[str, float]:
    """Commit the chunks, and finish the table."""
    manifest = Manifest((EncoderEntry(example_fingerprint(DIM), "identity"),), rows, "dataset", "2026-01-01", "0")
    table, committing = LanceTable.create(url, manifest), 0.0
    for start, labels, vectors in chunks(rows):
        names = [f"{label:07}" for label in labels.tolist()]
        contents = [hashlib.sha256(b"%d" % row).hexdigest() for row in range(start, start + len(labels))]
        paths = [f"{name}/{start + row}.jpg" for row, name in enumerate(names)]
        began = cpu_seconds()
        table.commit({f"{start:012}": chunk_of(paths, names, contents, [vectors], url)})
        committing += cpu_seconds() - began
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, cpu_seconds()
    table.finish()
    finishing = cpu_seconds() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = cpu_seconds()
    dataset = finished(url)[0]  # type: ignore[index]
    dataset.create_index("vector", "IVF_RQ", name="again", metric="cosine")
    indexing = cpu_seconds() - began
    dataset.drop_index("again")
    sizes = {
        part.name: sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
        for part in Path(url).iterdir()
    }
    return {
        "commit, CPU s": committing,
        "finish with all indexes, CPU s": finishing,
        "index of vectors alone, CPU s": indexing,
        "disk of rows and indexes, GB": sizes["rows.lance"] / 1e9,
        "disk of arrivals, GB": sizes["arrivals.lance"] / 1e9,
        "most memory before finishing, MB": before / 1024,
        "most memory, MB": after / 1024,
    }


def size_of(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def measure_queries(url: str, rows: int) -> dict[str, float]:
    """Search, and compare with the exact answer."""
    store, queries = LanceRowStore.open(url), queries_of(rows)
    store.nearest(queries[:8], K)
    began, started = cpu_seconds(), time.perf_counter()
    ids, cosines = store.nearest(queries, K)
    used, passed = cpu_seconds() - began, time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    best, best_cosines = exact(store, queries)
    found = [len(set(one) & set(other)) / K for one, other in zip(ids.tolist(), best.tolist())]
    return {
        "query, CPU ms": 1000 * used / QUERIES,
        "query, ms": 1000 * passed / QUERIES,
        "recall at 10": float(np.mean(found)),
        "nearest row is the exact one": float(np.mean(ids[:, 0] == best[:, 0])),
        "largest difference of a nearest cosine": float(np.abs(cosines[:, 0] - best_cosines[:, 0]).max()),
        "memory of the searching process, MB": memory,
    }


def exact(store: LanceRowStore, queries: Float32Array) -> tuple[IntArray, Float32Array]:
    """Return the nearest rows by comparing with all, block by block."""
    ids, cosines = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    for block in store.blocks(("vectors",)):
        assert block.vectors is not None
        cosines = np.concatenate([cosines, queries @ block.vectors.T], axis=1)
        ids = np.concatenate([ids, np.broadcast_to(block.ids, (len(queries), len(block)))], axis=1)
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :K]
        ids, cosines = np.take_along_axis(ids, order, axis=1), np.take_along_axis(cosines, order, axis=1)
    return ids, cosines


def measure_labels(url: str, _rows: int, reads: int = 40) -> dict[str, float]:
    """Read the rows of 8 labels: from the sorted rows, and from the same rows as they came."""
    store, results = LanceRowStore.open(url), dict[str, float]()
    arrivals = LanceTable.open(url)._arrivals.dataset
    arrivals.create_scalar_index("label", "BITMAP", name="by_label")
    rng = np.random.default_rng(3)
    chosen = [rng.choice(len(store.counts), 8, replace=False) for _ in range(reads)]

    def from_sorted(labels: IntArray) -> int:
        return sum(len(block) for block in store.rows_of_labels(labels))

    def from_arrivals(labels: IntArray) -> int:
        names = ", ".join(f"'{store.label_names[label]}'" for label in labels)
        return int(arrivals.to_table(columns=["vector"], filter=f"label IN ({names})").num_rows)

    for name, read in (("sorted", from_sorted), ("unsorted", from_arrivals)):
        read(chosen[0])
        began = cpu_seconds()
        counts = [read(labels) for labels in chosen]
        results[f"8 labels, {name} rows, CPU ms"] = 1000 * (cpu_seconds() - began) / reads
        results[f"8 labels, {name} rows read"] = float(np.mean(counts))
    arrivals.drop_index("by_label")
    results["8 labels, unsorted : sorted"] = results["8 labels, unsorted rows, CPU ms"] / max(
        results["8 labels, sorted rows, CPU ms"], 1e-9
    )
    return results


def measure_graph(_url: str, rows: int) -> dict[str, float]:
    """Make a graph of 8-bit rows as `retrieval.search: ann` does, and search it."""
    import faiss

    vectors = np.concatenate([part for _, _, part in chunks(rows)])
    began = cpu_seconds()
    graph = faiss.IndexHNSWSQ(DIM, faiss.ScalarQuantizer.QT_8bit, 16, faiss.METRIC_INNER_PRODUCT)
    graph.train(vectors[:: max(rows // 100_000, 1)])
    graph.add(vectors)
    building = cpu_seconds() - began
    graph.hnsw.efSearch = 500
    queries = queries_of(rows)
    graph.search(queries[:8], K)
    began = cpu_seconds()
    found = [graph.search(query[None], K)[1][0] for query in queries]
    used = cpu_seconds() - began
    best = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :K]
    recall = float(np.mean([len(set(one.tolist()) & set(other.tolist())) / K for one, other in zip(found, best)]))
    return {
        "graph, build, CPU s": building,
        "graph, query, CPU ms": 1000 * used / QUERIES,
        "graph, recall at 10": recall,
    }


def main() -> None:
    """Run every part in a process of its own, or one part here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--without", nargs="*", choices=_PARTS, default=[], help="parts to leave out")
    parser.add_argument("--folder", type=Path, help="where the table is made; by default for temporary files")
    parser.add_argument("--part", choices=_PARTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    arrow()
    if given.part:
        measure = {
            "table": measure_table,
            "queries": measure_queries,
            "labels": measure_labels,
            "answers": measure_answers,
            "graph": measure_graph,
        }
        print(json.dumps(measure[given.part](str(given.folder), given.rows)))
        return
    results: dict[str, float] = {"rows": given.rows, "dim": DIM}
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for part in _PARTS:
            if part in given.without:
                continue
            command = [sys.executable, "-m", "benchmarks.scale_lance", "--rows", str(given.rows), "--part", part]
            command += ["--folder", f"{folder}/table.lance"]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results |= json.loads(done.stdout)
            print(json.dumps(json.loads(done.stdout), indent=1), flush=True)
    if given.output:
        given.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
