"""Images that were encoded, and what competes for each of them: the file that the first step of a join writes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from zipfile import BadZipFile

import numpy as np

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.errors import OutputError
from lmm_classifier.neighbors.gathering.compared_pairs import ComparedPairs, Competing
from lmm_classifier.neighbors.gathering.reading import FoundRows


@dataclass(frozen=True)
class EncodedQuery:
    """One image: its vector (dim,), or the reason why it has none."""

    content_hash: str | None
    vector: Float32Array | None
    error: str | None = None


@dataclass(frozen=True)
class QueryFile:
    """The images of a chunk, and what competes for those with a vector."""

    queries: Sequence[EncodedQuery]
    version: str  # of the store
    competing: Competing
    left_out: Sequence[IntArray]  # ids per image with a vector; empty where nothing is left out

    @property
    def vectors(self) -> Float32Array:
        """Return the vectors of the images that have one, (n, dim)."""
        return vectors_of(self.queries)


def vectors_of(queries: Sequence[EncodedQuery]) -> Float32Array:
    """Return the vectors of the images that have one, (n, dim); (0, 0) where none has."""
    vectors = [query.vector for query in queries if query.vector is not None]
    return np.stack(vectors) if vectors else np.empty((0, 0), np.float32)


def encoded_to_bytes(queries: Sequence[EncodedQuery]) -> bytes:
    """Return images as the bytes of a file."""
    return _to_bytes(_encoded_arrays(queries))


def encoded_from_bytes(data: bytes, source: str) -> list[EncodedQuery]:
    """Undo `encoded_to_bytes`."""
    return _encoded(_from_bytes(data, source))


def queries_to_bytes(file: QueryFile) -> bytes:
    """Return the images of a chunk, with what competes, as the bytes of a file."""
    arrays = _encoded_arrays(file.queries)
    arrays |= {
        "version": _text(file.version),
        "left_out": _flat(file.left_out),
        "left_out_counts": _counts(file.left_out),
    }
    arrays |= {"labels": _flat(file.competing.labels), "label_counts": _counts(file.competing.labels)}
    arrays |= {f"ids_{number}": found.ids for number, found in enumerate(file.competing.found)}
    arrays |= {f"label_ids_{number}": found.label_ids for number, found in enumerate(file.competing.found)}
    return _to_bytes(arrays)


def queries_from_bytes(data: bytes, source: str) -> QueryFile:
    """Undo `queries_to_bytes`; raise OutputError, which names the source, where the bytes are damaged."""
    arrays = _from_bytes(data, source)
    count = sum(name.startswith("ids_") for name in arrays)
    found = [FoundRows(arrays[f"ids_{number}"], arrays[f"label_ids_{number}"]) for number in range(count)]
    competing = Competing(_split(arrays["labels"], arrays["label_counts"]), found)
    left_out = _split(arrays["left_out"], arrays["left_out_counts"])
    return QueryFile(_encoded(arrays), json.loads(arrays["version"].tobytes()), competing, left_out)


def pairs_to_bytes(pairs: ComparedPairs) -> bytes:
    """Return pairs as the bytes of a file."""
    return _to_bytes(vars(pairs))


def pairs_from_bytes(data: bytes, source: str) -> ComparedPairs:
    """Undo `pairs_to_bytes`; raise OutputError where the bytes are damaged."""
    return ComparedPairs(**_from_bytes(data, source))


def _encoded_arrays(queries: Sequence[EncodedQuery]) -> dict[str, Any]:
    about = [(query.content_hash, query.error, query.vector is not None) for query in queries]
    return {"about": _text(about), "vectors": vectors_of(queries)}


def _encoded(arrays: dict[str, Any]) -> list[EncodedQuery]:
    vectors = iter(arrays["vectors"])
    about = json.loads(arrays["about"].tobytes())
    return [EncodedQuery(content, next(vectors) if is_good else None, error) for content, error, is_good in about]


def _text(value: Any) -> Any:
    return np.frombuffer(json.dumps(value).encode("ascii"), np.uint8)


def _flat(lists: Sequence[IntArray]) -> IntArray:
    return np.concatenate([np.empty(0, np.int64), *lists])


def _counts(lists: Sequence[IntArray]) -> IntArray:
    return np.array([len(one) for one in lists], np.int64)


def _split(flat: IntArray, counts: IntArray) -> list[IntArray]:
    return np.split(flat, np.cumsum(counts)[:-1]) if len(counts) else []


def _to_bytes(arrays: dict[str, Any]) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # none holds objects
    return buffer.getvalue()


def _from_bytes(data: bytes, source: str) -> dict[str, Any]:
    try:
        with np.load(BytesIO(data), allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise OutputError(f"{source} is damaged: {error}. Delete it and run again.") from None
