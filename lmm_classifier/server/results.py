"""Results as JSON, with examples by their ids in HTTP: the SHA-256 of their content, never a path of the disk."""

from __future__ import annotations

import gzip
import json
import re
from bisect import bisect_left
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b
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

    def files_of(self, content_hash: str) -> list[Place]:
        """Return where the image with this content may be; it may belong to an example that was removed.

        An undo moves an image to the trash before this version is replaced by the next one, so it is sought in both.
        """
        paths = [self.contents.paths[row] for row in self.rows_of(content_hash)]
        if not paths and content_hash in self._named:
            paths = [self._named[content_hash]]
        return [file for path in paths for file in self._places(path)]

    def _places(self, path: str) -> list[Place]:
        file, added = self.contents.file_of(path), self.contents.added_folder
        return [file] if added is None else [file, Trash(added.parent).folder / file_name(file)]

    @cached_property
    def rows_by_label(self) -> dict[str, list[int]]:
        """Return the rows of each label, the labels in alphabetical order."""
        rows = defaultdict[str, list[int]](list)
        for row, label in enumerate(self.contents.labels):
            rows[label].append(row)
        return dict(sorted(rows.items()))

    def label_values(self, label: str) -> dict[str, Any]:
        """Return how many examples a label has, the ids of some that are spread over them, and whether it is thin."""
        rows = self.rows_by_label[label]
        step = max(len(rows) // _SAMPLES, 1)
        samples = [self.contents.hashes[row] for row in rows[::step][:_SAMPLES]]
        return {"label": label, "examples": len(rows), "samples": samples, "thin": len(rows) < THIN}

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
