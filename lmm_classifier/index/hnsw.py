"""Approximate search for very large indexes: a graph of neighbours (HNSW, arXiv 1603.09320), made by faiss.

The graph is derived from the rows and can be made again at any time. It is kept beside the index with a checksum;
what is missing, damaged or of other vectors is made anew. Rows that came since are compared one by one, rows that went
are passed over, until they are so many that a new graph pays.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.files import umask
from lmm_classifier.core.optional_imports import load_module
from lmm_classifier.core.protocols import FloatArray, IntArray
from lmm_classifier.index.storage.snapshot import FOLDER
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.brute_force import NearestRows

logger = logging.getLogger(__name__)

EXTRA = "ann"
FILE = "graph.faiss"
# Rows from which `auto` takes the graph: where comparing with all takes longer than a fast encoder does. At a million
# rows of 1,152 numbers and 5,000 labels an answer took 155 ms (64 at a time), by the graph 9 ms, SigLIP base 91 ms; all
# of the ten nearest were found. At 200,000 rows all took 23 ms, and the graph, made in half a minute, saves little of
# an encoder's time: not worth a near example that may be passed over (benchmarks/million.py and search.py).
ANN_FROM = 1_000_000
_CONNECTIONS, _EFFORT = 16, 64  # of each row, and candidates looked at for it
_CHANGED = 0.05  # share of rows that may have come or gone before the graph is made anew
_ADDED = 65_536  # rows put into the graph at a time
_BLOCK = 1 << 24  # bytes under the checksum at a time
_HEAD = 256  # bytes of the header of the file
_KEY = 16  # bytes that tell contents apart


def wants_graph(search: str, rows: int) -> bool:
    """Whether to search `rows` examples by a graph, when `retrieval.search` says `search`; raises MissingExtraError."""
    if search == "ann":
        load_module("faiss", EXTRA)
        return True
    if search == "exact" or rows < ANN_FROM:
        return False
    if find_spec("faiss") is None:
        _say_once(rows)
        return False
    return True


@cache
def _say_once(rows: int) -> None:
    logger.warning(
        "all of %d examples are compared with each picture: pip install 'lmm-classifier[%s]' searches them faster",
        rows,
        EXTRA,
    )


@dataclass(frozen=True)
class Neighbours:
    """A graph and the contents of its rows: what can be kept."""

    stamp: str  # of the vectors, see `_stamp`
    keys: NDArray[np.void]  # (M,) digests of the contents of its rows
    graph: Any


class Graph:
    """Finds rows of an index near to queries, most of the nearest among them."""

    def __init__(self, index: ExactIndex, folder: Path | None = None, former: Graph | None = None) -> None:
        """Take over the graph of a `former` version, or the one kept in the index `folder`; make one otherwise."""
        load_module("faiss", EXTRA)
        units, keys, stamp = index.gallery.units, _keys(index.hashes), _stamp(index)
        kept = _if_it_fits(former.kept if former else None, stamp, keys)
        kept = kept or _if_it_fits(_read(folder), stamp, keys)
        if kept is None:
            logger.info("making the search graph of %d examples; this is done once", len(index))
            kept = Neighbours(stamp, keys, _made(units))
            _write(folder, kept)
        self.kept: Neighbours = kept
        self._row_of_key = _places(self.kept.keys, keys)  # (M,) rows, -1 for those that went
        new = np.setdiff1d(np.arange(len(keys)), self._row_of_key)
        self._new, self._nearest_new = new, NearestRows(units[new], int8=False) if len(new) else None

    def search(self, queries: FloatArray, count: int) -> IntArray:
        """Return rows near to unit queries (n, d), about `count` for each, (n, r); -1 for none. In no order."""
        found = np.full((len(queries), 0), -1, np.int64)
        if len(self.kept.keys) and len(queries):
            gone = int((self._row_of_key < 0).sum())
            wanted = min(count + min(gone, count), len(self.kept.keys))
            effort = load_module("faiss", EXTRA).SearchParametersHNSW(efSearch=max(wanted, _EFFORT))
            keys = self.kept.graph.search(np.ascontiguousarray(queries), wanted, params=effort)[1]  # (n, wanted)
            found = np.where(keys >= 0, self._row_of_key[np.maximum(keys, 0)], -1)
        if self._nearest_new is not None:
            found = np.hstack([found, self._new[self._nearest_new.search(queries, count)[0]]])
        return found


def _made(units: FloatArray) -> Any:
    faiss = load_module("faiss", EXTRA)
    graph = faiss.IndexHNSWSQ(units.shape[1], faiss.ScalarQuantizer.QT_8bit, _CONNECTIONS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = _EFFORT
    sample = np.linspace(0, len(units) - 1, min(len(units), _ADDED)).astype(np.int64)
    graph.train(np.ascontiguousarray(units[sample]))  # the range of each number
    for start in range(0, len(units), _ADDED):
        graph.add(np.ascontiguousarray(units[start : start + _ADDED]))
    return graph


def _if_it_fits(kept: Neighbours | None, stamp: str, keys: NDArray[np.void]) -> Neighbours | None:
    """The graph if it is of the same vectors, and not much has come or gone since."""
    if kept is None or kept.stamp != stamp:
        return None
    changed = len(keys) + len(kept.keys) - 2 * int((_places(kept.keys, keys) >= 0).sum())
    return kept if changed <= _CHANGED * max(len(keys), 1) else None


def _stamp(index: ExactIndex) -> str:
    """What the vectors depend on apart from the pictures: encoder and space."""
    state: Mapping[str, NDArray[Any]] = index.space.state()
    found = hashlib.sha256(json.dumps([index.manifest.fingerprint.space_id, index.space.name]).encode())
    for name in sorted(state):
        found.update(name.encode())
        found.update(np.ascontiguousarray(state[name]).tobytes())
    return found.hexdigest()


def _keys(hashes: Sequence[str]) -> NDArray[np.void]:
    """A digest of the content of each row, (N,)."""
    digests = b"".join(hashlib.blake2b(one.encode(), digest_size=_KEY).digest() for one in hashes)
    return np.frombuffer(digests, f"V{_KEY}")


def _places(keys: NDArray[np.void], among: NDArray[np.void]) -> IntArray:
    """Where each key is in `among`, -1 where it is not; the second of two equal ones is matched with the second."""
    if np.array_equal(keys.view(np.uint8), among.view(np.uint8)):
        return np.arange(len(keys))
    rows: dict[bytes, list[int]] = {}
    for row in range(len(among) - 1, -1, -1):
        rows.setdefault(among[row].tobytes(), []).append(row)
    return np.array([(rows.get(key.tobytes()) or [-1]).pop() for key in keys], np.int64)


def _read(folder: Path | None) -> Neighbours | None:
    """The graph kept in an index folder; None where there is none that is sound."""
    if folder is None:
        return None
    faiss, file = load_module("faiss", EXTRA), folder / FOLDER / FILE
    try:
        with file.open("rb") as source:  # one that is put in its place meanwhile is another
            data = np.memmap(source, np.uint8, "r")
            said = json.loads(bytes(data[:_HEAD]))
            if _checksum(data[_HEAD:]) != said["crc"]:
                raise ValueError("its checksum is wrong")
            source.seek(_HEAD)
            keys = np.frombuffer(source.read(said["count"] * _KEY), f"V{_KEY}")
            graph = faiss.read_index(faiss.PyCallbackIOReader(source.read))
        if graph.ntotal != said["count"] or len(keys) != graph.ntotal:
            raise ValueError("it is not a graph of its rows")
        return Neighbours(said["stamp"], keys, graph)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        logger.warning("%s is passed over: %s", file, error)
        return None


def _write(folder: Path | None, kept: Neighbours) -> None:
    """Keep a graph for the next to open the index; one that cannot be written is made again then.

    The file is a header of JSON, `_HEAD` bytes long, the keys, and the graph as faiss writes it.
    """
    if folder is None or not folder.is_dir():
        return
    faiss, derived = load_module("faiss", EXTRA), folder / FOLDER
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

                file.write(b" " * _HEAD)
                put(kept.keys.tobytes())
                faiss.write_index(kept.graph, faiss.PyCallbackIOWriter(put))
                file.seek(0)
                head = {"crc": crc, "stamp": kept.stamp, "count": len(kept.keys)}
                file.write(json.dumps(head).encode().ljust(_HEAD))
            temporary.chmod(0o666 & ~umask())
            temporary.replace(derived / FILE)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        logger.debug("the search graph is not kept: %s", error)


def _checksum(data: NDArray[np.uint8]) -> int:
    crc = 0
    for start in range(0, len(data), _BLOCK):
        crc = zlib.crc32(data[start : start + _BLOCK].tobytes(), crc)
    return crc
