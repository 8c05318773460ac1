"""Approximate search for very large indexes: a graph of neighbors (HNSW, arXiv 1603.09320), made by faiss.

The graph is derived from the rows and can be made again at any time. It is stored in the index folder with a checksum.
A graph that is missing, damaged or of other vectors is made again. Added rows are compared one by one, and removed rows
are skipped, until so many rows changed that a new graph is worth its time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.files import umask
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.index.formats import is_durable
from lmm_classifier.index.storage.snapshot import FOLDER
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.brute_force import BruteForceSearch
from lmm_classifier.neighbors.config import ANN_FROM, RetrievalConfig

logger: logging.Logger = logging.getLogger(__name__)

EXTRA = "ann"
FILE = "graph-{encoder}.faiss"  # one for each encoder, named by its `Fingerprint.space_id`
_CONNECTIONS, _EFFORT = 16, 64  # connections of each row, and candidates examined for it
_MAX_CHANGED = 0.05  # fraction of rows that may be added or removed before the graph is made again
_BATCH = 65_536  # rows added to the graph at a time
_BLOCK = 1 << 24  # bytes read for the checksum at a time
_HEADER = 256  # bytes of the header of the file
_KEY = 16  # bytes of the digest of a content


def wants_graph(search: str, rows: int) -> bool:
    """Return whether the setting `retrieval.search` means a graph for `rows` examples; raise MissingExtraError."""
    if search == "ann":
        import_optional("faiss", EXTRA)
        return True
    if search in ("exact", "store") or rows < ANN_FROM:
        return False
    if find_spec("faiss") is None:
        _warn_once(rows)
        return False
    return True


@cache
def _warn_once(rows: int) -> None:
    logger.warning(
        "Each image is compared with all %d examples. For a faster search: pip install 'lmm-classifier[%s]'",
        rows,
        EXTRA,
    )


def open_graph(config: RetrievalConfig, index: Index, former: HnswGraph | None = None) -> HnswGraph | None:
    """Return the search graph of an index, None where the settings want none; that of a part is not stored.

    `former` is the graph of another version of the index.
    """
    if not wants_graph(config.search, len(index)):
        return None
    is_stored = not index.contents.is_part and index.contents.version > 0 and is_durable(config.index_path)
    return HnswGraph(index, Path(config.index_path) if is_stored else None, former)


@dataclass(frozen=True)
class StoredGraph:
    """A graph with the contents of its rows, as it is stored."""

    stamp: str  # identifies encoder and transform, see `_stamp`
    keys: NDArray[np.void]  # (M,) digests of the contents of its rows
    graph: Any  # faiss.IndexHNSWSQ


class HnswGraph:
    """Finds rows of an index that are close to queries; most of the nearest rows are among them."""

    def __init__(self, index: Index, folder: Path | None = None, former: HnswGraph | None = None) -> None:
        """Reuse the graph of a `former` version or the one stored in the index `folder`; make one otherwise."""
        import_optional("faiss", EXTRA)
        embeddings, keys, stamp = index.gallery.embeddings, _keys(index.hashes), _stamp(index)
        stored = _if_it_fits(former.stored if former else None, stamp, keys)
        file = folder / FOLDER / FILE.format(encoder=index.fingerprint.space_id) if folder else None
        stored = stored or _if_it_fits(_read(file), stamp, keys)
        if stored is None:
            logger.info("Making the search graph of %d examples. This is done once.", len(index))
            stored = StoredGraph(stamp, keys, _made(embeddings))
            _write(file, stored)
        self.stored: StoredGraph = stored
        self._row_of_key = _places(stored.keys, keys)  # (M,) rows, -1 for removed ones
        self._added = np.setdiff1d(np.arange(len(keys)), self._row_of_key)
        self._added_search = BruteForceSearch(embeddings[self._added], int8=False) if len(self._added) else None

    def search(self, queries: Float32Array, count: int) -> IntArray:
        """Return about `count` rows close to each normalized query (n, d): (n, r), in no order, -1 for none."""
        rows = np.full((len(queries), 0), -1, np.int64)
        if len(self.stored.keys) and len(queries):
            removed = int((self._row_of_key < 0).sum())
            wanted = min(count + min(removed, count), len(self.stored.keys))
            effort = import_optional("faiss", EXTRA).SearchParametersHNSW(efSearch=max(wanted, _EFFORT))
            keys = self.stored.graph.search(np.ascontiguousarray(queries), wanted, params=effort)[1]  # (n, wanted)
            rows = np.where(keys >= 0, self._row_of_key[np.maximum(keys, 0)], -1)
        if self._added_search is not None:
            rows = np.hstack([rows, self._added[self._added_search.search(queries, count)[0]]])
        return rows


def _made(embeddings: Float32Array) -> Any:
    faiss = import_optional("faiss", EXTRA)
    graph = faiss.IndexHNSWSQ(
        embeddings.shape[1], faiss.ScalarQuantizer.QT_8bit, _CONNECTIONS, faiss.METRIC_INNER_PRODUCT
    )
    graph.hnsw.efConstruction = _EFFORT
    sample = np.linspace(0, len(embeddings) - 1, min(len(embeddings), _BATCH)).astype(np.int64)
    graph.train(np.ascontiguousarray(embeddings[sample]))  # finds the range of each number
    for start in range(0, len(embeddings), _BATCH):
        graph.add(np.ascontiguousarray(embeddings[start : start + _BATCH]))
    return graph


def _if_it_fits(stored: StoredGraph | None, stamp: str, keys: NDArray[np.void]) -> StoredGraph | None:
    """Return the graph if encoder and transform are the same and only few rows were added or removed."""
    if stored is None or stored.stamp != stamp:
        return None
    changed = len(keys) + len(stored.keys) - 2 * int((_places(stored.keys, keys) >= 0).sum())
    return stored if changed <= _MAX_CHANGED * max(len(keys), 1) else None


def _stamp(index: Index) -> str:
    """Return a digest of encoder and transform, on which the vectors depend besides the images."""
    arrays = index.transform.to_arrays()
    digest = hashlib.sha256(json.dumps([index.fingerprint.space_id, index.transform.name]).encode())
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _keys(hashes: Sequence[str]) -> NDArray[np.void]:
    """Return a digest of the content of each row, (N,)."""
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=_KEY).digest() for text in hashes)
    return np.frombuffer(digests, f"V{_KEY}")


def _places(keys: NDArray[np.void], among: NDArray[np.void]) -> IntArray:
    """Return the row of each key in `among`, -1 for none; the second of two equal keys gets the second equal row."""
    if np.array_equal(keys.view(np.uint8), among.view(np.uint8)):
        return np.arange(len(keys))
    rows: dict[bytes, list[int]] = {}
    for row in range(len(among) - 1, -1, -1):
        rows.setdefault(among[row].tobytes(), []).append(row)
    return np.array([(rows.get(key.tobytes()) or [-1]).pop() for key in keys], np.int64)


def _read(file: Path | None) -> StoredGraph | None:
    """Read a stored graph; return None if there is no sound one."""
    if file is None:
        return None
    faiss = import_optional("faiss", EXTRA)
    try:
        with file.open("rb") as source:  # stays readable if another process replaces the file
            data = np.memmap(source, np.uint8, "r")
            header = json.loads(bytes(data[:_HEADER]))
            if _checksum(data[_HEADER:]) != header["crc"]:
                raise ValueError("its checksum is wrong")
            if type(header["count"]) is not int or not 0 <= header["count"] * _KEY <= len(data):
                raise ValueError("it has another number of rows")
            source.seek(_HEADER)
            keys = np.frombuffer(source.read(header["count"] * _KEY), f"V{_KEY}")
            graph = faiss.read_index(faiss.PyCallbackIOReader(source.read))
        if graph.ntotal != header["count"] or len(keys) != graph.ntotal:
            raise ValueError("it has another number of rows")
        return StoredGraph(header["stamp"], keys, graph)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        logger.warning("%s is ignored: %s", file, error)
        return None


def _write(path: Path | None, stored: StoredGraph) -> None:
    """Store a graph; if it cannot be written, the next process makes it again.

    The file holds a header of `_HEADER` bytes of JSON, the keys, and the graph as faiss writes it.
    """
    if path is None:
        return
    faiss, derived = import_optional("faiss", EXTRA), path.parent
    try:
        derived.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=derived)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                crc = 0

                def put(data: bytes) -> None:
                    nonlocal crc
                    crc = zlib.crc32(data, crc)
                    file.write(data)

                file.write(b" " * _HEADER)
                put(stored.keys.tobytes())
                faiss.write_index(stored.graph, faiss.PyCallbackIOWriter(put))
                file.seek(0)
                header = {"crc": crc, "stamp": stored.stamp, "count": len(stored.keys)}
                file.write(json.dumps(header).encode().ljust(_HEADER))
            temporary.chmod(0o666 & ~umask())
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        logger.debug("The search graph could not be stored: %s", error)


def _checksum(data: NDArray[np.uint8]) -> int:
    crc = 0
    for start in range(0, len(data), _BLOCK):
        crc = zlib.crc32(data[start : start + _BLOCK].tobytes(), crc)
    return crc
