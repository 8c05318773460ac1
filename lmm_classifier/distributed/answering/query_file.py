"""Images that were encoded, and what competes for each of them: the file that a step of a join writes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from zipfile import BadZipFile

import numpy as np

from lmm_classifier.core.arrays import Arrays, Float32Array, IntArray, nest, unnest
from lmm_classifier.core.errors import OutputError
from lmm_classifier.neighbors.gathering.compared_pairs import ComparedPairs, Competing
from lmm_classifier.neighbors.gathering.reading import FoundRows


@dataclass(frozen=True)
class EncodedQuery:
    """One image: its vectors (dim,) by the encoders of a step; none with a reason, or where it was not asked about."""

    content_hash: str | None
    vectors: tuple[Float32Array, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class QueryFile:
    """The images of a chunk, and what competes for those with vectors, by each encoder of a step."""

    queries: Sequence[EncodedQuery]
    versions: Sequence[str]  # of the store of each encoder
    competing: Sequence[Competing]  # by encoder
    left_out: Sequence[IntArray]  # ids per image with vectors; empty where nothing is left out

    def vectors(self, number: int) -> Float32Array:
        """Return the vectors by the encoder of this number of the images that have some, (n, dim)."""
        return vectors_of(self.queries, number)


def vectors_of(queries: Sequence[EncodedQuery], number: int) -> Float32Array:
    """Return the vectors by one encoder of the images that have some, (n, dim); (0, 0) where none has."""
    vectors = [query.vectors[number] for query in queries if query.vectors]
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
    arrays |= {"versions": _text(list(file.versions))}
    arrays |= {"left_out": _flat(file.left_out), "left_out_counts": _counts(file.left_out)}
    for number, competing in enumerate(file.competing):
        arrays |= nest(f"competing.{number}", _competing_arrays(competing))
    return _to_bytes(arrays)


def queries_from_bytes(data: bytes, source: str) -> QueryFile:
    """Undo `queries_to_bytes`; raise OutputError, which names the source, where the bytes are damaged."""
    arrays = _from_bytes(data, source)
    versions = json.loads(arrays["versions"].tobytes())
    competing = [_competing(unnest(f"competing.{number}", arrays)) for number in range(len(versions))]
    return QueryFile(_encoded(arrays), versions, competing, _split(arrays["left_out"], arrays["left_out_counts"]))


def _competing_arrays(competing: Competing) -> dict[str, Any]:
    arrays: dict[str, Any] = {"labels": _flat(competing.labels), "label_counts": _counts(competing.labels)}
    arrays |= {f"ids_{number}": found.ids for number, found in enumerate(competing.found)}
    return arrays | {f"label_ids_{number}": found.label_ids for number, found in enumerate(competing.found)}


def _competing(arrays: Arrays) -> Competing:
    count = sum(name.startswith("ids_") for name in arrays)
    found = [FoundRows(arrays[f"ids_{number}"], arrays[f"label_ids_{number}"]) for number in range(count)]
    return Competing(_split(arrays["labels"], arrays["label_counts"]), found)


def pairs_to_bytes(pairs: ComparedPairs) -> bytes:
    """Return pairs as the bytes of a file."""
    return _to_bytes(vars(pairs))


def pairs_from_bytes(data: bytes, source: str) -> ComparedPairs:
    """Undo `pairs_to_bytes`; raise OutputError where the bytes are damaged."""
    return ComparedPairs(**_from_bytes(data, source))


def _encoded_arrays(queries: Sequence[EncodedQuery]) -> dict[str, Any]:
    about = [(query.content_hash, query.error, bool(query.vectors)) for query in queries]
    count = max((len(query.vectors) for query in queries), default=0)
    return {"about": _text(about)} | {f"vectors_{number}": vectors_of(queries, number) for number in range(count)}


def _encoded(arrays: dict[str, Any]) -> list[EncodedQuery]:
    count = sum(name.startswith("vectors_") for name in arrays)
    each = zip(*(arrays[f"vectors_{number}"] for number in range(count)))
    about = json.loads(arrays["about"].tobytes())
    return [EncodedQuery(content, next(each) if has_some else (), error) for content, error, has_some in about]


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
