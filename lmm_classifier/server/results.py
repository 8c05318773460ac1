"""Results as JSON, with examples by their ids in HTTP: the SHA-256 of their content, never a path of the disk."""

from __future__ import annotations

import gzip
import json
import re
from bisect import bisect_left, bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.core.datatypes import Classification
from lmm_classifier.data.places import Place, file_name
from lmm_classifier.evaluation.findings import THIN
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.storage.editing.trash import Trash

CONTENT_HASH = re.compile(r"[0-9a-f]{64}")
_TAG = re.compile(r'"[^"]*"')
_SAMPLES = 4  # examples of a label, for its thumbnails
_NAMED = 20_000  # examples of former versions whose paths are kept


@dataclass(frozen=True, slots=True)
class KnownExample:
    """An example of the index: its content hash, its id in the dataset, and its label."""

    id: str
    path: str
    label: str


class ExampleIds:
    """The contents of one version of the index, by the content hash of each example.

    Args:
        contents: of the version.
        former: ids of a version before. A page may still show the examples that it named.
    """

    def __init__(self, contents: IndexContents, former: ExampleIds | None = None) -> None:
        self.contents = contents
        self._hashes: dict[str, str | None] = {}  # of neighbors: to search one decodes about ten ids
        # Of all versions: a request that is still inside names examples of a version before.
        self._named: OrderedDict[str, str] = OrderedDict() if former is None else former._named

    def hash_of(self, path: str) -> str | None:
        """Return the content hash of the example with an id in the dataset, None where this version has none."""
        if path not in self._hashes:
            self._hashes[path] = found = self._found(path)
            if found is not None:
                self._named[found] = path
                if len(self._named) > _NAMED:
                    self._named.popitem(last=False)
        return self._hashes[path]

    def _found(self, path: str) -> str | None:
        paths = self.contents.paths
        row: int | None = bisect_left(paths, path) if self.contents.version else self._rows_by_path.get(path)
        if row is None or row >= len(paths) or paths[row] != path:
            return None
        return self.contents.hashes[row]

    def rows_of(self, content_hash: str) -> list[int]:
        """Return the rows of the examples with this content; usually there is one."""
        return self._rows_by_hash.get(content_hash, [])

    def examples(self, rows: Iterable[int]) -> list[KnownExample]:
        """Return the examples of some rows."""
        contents = self.contents
        return [KnownExample(contents.hashes[row], contents.paths[row], contents.labels[row]) for row in rows]

    def page(self, label: str | None, cursor: str | None, size: int) -> tuple[list[KnownExample], str | None]:
        """Return some examples in the order of their paths, of one label or of all, and what continues behind them.

        `cursor` is what a page before gave; None: from the first example on.
        """
        rows = range(len(self.contents.paths)) if label is None else self.rows_by_label.get(label, [])
        paths = self.contents.paths
        order = sorted(rows, key=paths.__getitem__)
        start = bisect_right(order, cursor, key=paths.__getitem__) if cursor else 0
        shown = self.examples(order[start : start + size])
        return shown, shown[-1].path if start + size < len(order) and shown else None

    def files_of(self, content_hash: str) -> list[Place]:
        """Return where the image with this content may be; it may belong to an example that was removed.

        An undo moves an image to the trash before this version is replaced by the next one, so it is sought in both.
        """
        paths = [example.path for example in self.examples(self.rows_of(content_hash))]
        if not paths and content_hash in self._named:
            paths = [self._named[content_hash]]
        return [file for path in paths for file in self._places(path)]

    def _places(self, path: str) -> list[Place]:
        file, added = self.contents.file_of(path), self.contents.added_folder
        return [file] if added is None else [file, Trash(added.parent).folder / file_name(file)]

    @cached_property
    def rows_by_label(self) -> Mapping[str, Sequence[int]]:
        """Return the rows of each label, the labels in alphabetical order."""
        rows = defaultdict[str, list[int]](list)
        for row, label in enumerate(self.contents.labels):
            rows[label].append(row)
        return dict(sorted(rows.items()))

    def label_values(self, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Return of each label how many examples it has, the ids of some spread over them, and whether it is thin."""
        chosen = []
        for label in labels:
            rows = self.rows_by_label[label]
            chosen.append(rows[:: max(len(rows) // _SAMPLES, 1)][:_SAMPLES])
        samples = iter(self.examples([row for rows in chosen for row in rows]))
        values = list[dict[str, Any]]()
        for label, rows in zip(labels, chosen, strict=True):
            count = len(self.rows_by_label[label])
            ids = [example.id for example in islice(samples, len(rows))]
            values.append({"label": label, "examples": count, "samples": ids, "thin": count < THIN})
        return values

    @cached_property
    def _rows_by_hash(self) -> dict[str, list[int]]:
        rows = defaultdict[str, list[int]](list)
        for row, content_hash in enumerate(self.contents.hashes):
            rows[content_hash].append(row)
        return dict(rows)

    @cached_property
    def _rows_by_path(self) -> dict[str, int]:
        return {path: row for row, path in enumerate(self.contents.paths)}  # those of an .npz file are not in order


def result_values(
    result: Classification, ids: ExampleIds, with_evidence: bool = True, is_rounded: bool = True
) -> dict[str, Any]:
    """Return the members of a result; each neighbor has the id of its example too.

    Args:
        result: of an image without a file.
        ids: of the version of the index that answered. An example that was removed meanwhile has the id null.
        with_evidence: whether the candidates have their neighbors.
        is_rounded: to six digits; else the numbers have all bits.
    """
    values = {"id": result.content_hash, **result.to_dict(), "index_version": ids.contents.version}
    if not is_rounded:
        _put_exact(values, result)
    for candidate in values["candidates"]:
        if not with_evidence:
            del candidate["neighbors"]
            continue
        for neighbor in candidate["neighbors"]:
            neighbor["id"] = ids.hash_of(neighbor["path"])
    return values


def _put_exact(values: dict[str, Any], result: Classification) -> None:
    """Replace the rounded numbers of `to_dict` by those of the result."""
    exact = {name: getattr(result, name) for name in ("score", "similarity", "familiarity", "disagreement")}
    values |= exact
    for shown, candidate in zip(values["candidates"], result.candidates, strict=True):
        shown |= {"score": candidate.score, "rerank_score": candidate.rerank_score}
        for neighbor, found in zip(shown["neighbors"], candidate.neighbors, strict=True):
            neighbor["similarity"] = found.similarity


def packed(body: bytes, accepted: str) -> tuple[bytes, dict[str, str]]:
    """Return a body compressed where the client accepts that, and the headers that say so; call it in a thread.

    Args:
        body: holds no secret, whose length would tell something of it.
        accepted: header `Accept-Encoding` of the request.
    """
    headers = {"Vary": "Accept-Encoding"}
    offers = [part.replace(" ", "").lower().partition(";q=") for part in accepted.split(",")]
    is_accepted = any(name == "gzip" and weight.strip("0.") + (not weight) * "1" for name, _, weight in offers)
    if not is_accepted:
        return body, headers
    return gzip.compress(body, 5, mtime=0), {**headers, "Content-Encoding": "gzip"}


class AsciiJson(Response):
    """Plain values as JSON in ASCII, so that labels and names of any bytes survive."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the bytes of the body."""
        return json.dumps(content).encode("ascii")


def tagged(request: Request, values: Any) -> Response:
    """Return plain values with an `ETag` that is another one whenever they differ; 304 where the client has them."""
    response = AsciiJson(values)
    tag = f'"{blake2b(response.body, digest_size=12).hexdigest()}"'
    if is_current(request, tag):
        return not_modified({"ETag": tag})
    response.headers["ETag"] = tag
    return response


def is_current(request: Request, tag: str) -> bool:
    """Return whether the client has the version with a tag: `If-None-Match` names it, weak or strong, or any."""
    given = ",".join(request.headers.getlist("if-none-match"))
    return given.strip() == "*" or tag in _TAG.findall(given)


def not_modified(headers: Mapping[str, str]) -> Response:
    """Return the answer to a client that has the current version."""
    return Response(status_code=304, headers=dict(headers))
