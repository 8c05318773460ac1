"""The contents of an index that is made from given vectors, without images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lmm_classifier import __version__
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.labels import require_label
from lmm_classifier.core.protocols import Encoder, Transform, TransformFitter
from lmm_classifier.core.vectors import vector_hashes
from lmm_classifier.embeddings.given import BACKEND, given_fingerprint
from lmm_classifier.embeddings.whitening import IdentityFitter
from lmm_classifier.index.build.new_labels import check_new
from lmm_classifier.index.contents import ADDED, EncoderVectors, IndexContents
from lmm_classifier.index.manifest import EncoderEntry, Manifest

_ROWS = 1024  # in a block


@dataclass(frozen=True)
class VectorBlocks:
    """Vectors (n, dim) in memory, read in blocks. In contrast to a function inside another one it can be pickled."""

    vectors: Float32Array

    def __call__(self) -> Iterator[Float32Array]:
        """Yield all rows."""
        for start in range(0, len(self.vectors), _ROWS):
            yield self.vectors[start : start + _ROWS]


def contents_of_vectors(
    vectors: Float32Array,
    labels: Sequence[str],
    ids: Sequence[str] | None,
    encoder: Encoder | Fingerprint | str,
    transform: TransformFitter | None,
    groups: Sequence[str] | None = None,
) -> tuple[IndexContents, Transform]:
    """Return the contents of an index of normalized vectors (n, dim), and the transform fitted to them.

    Raises:
        DatasetError: there is no vector, the labels, ids or groups are not one for each, or one cannot be used.
    """
    if not len(vectors):
        raise DatasetError("Expected at least one vector, got none.")
    names = _labels(labels, len(vectors))
    fingerprint = _fingerprint(encoder, vectors.shape[1])
    own = IdentityFitter() if isinstance(encoder, str | Fingerprint) else encoder.transform_fitter
    fitter = own if transform is None else transform
    blocks = VectorBlocks(vectors)
    fitted = fitter.fit(blocks)
    manifest = Manifest(
        encoders=(EncoderEntry(fingerprint, fitted.name),),
        count=len(vectors),
        image_root="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        program=__version__,
        settings={"encoder": [{"backend": fingerprint.backend}], "rerank": {"enabled": False}}
        if fingerprint.backend == BACKEND
        else {},
    )
    hashes = list(vector_hashes(vectors))
    of_encoder = EncoderVectors(fitted.to_arrays(), blocks)
    paths = _ids(ids, len(vectors))
    named = {} if groups is None else _groups(groups, paths)
    return IndexContents(manifest, names, paths, hashes, (of_encoder,), groups=named), fitted


def _fingerprint(encoder: Encoder | Fingerprint | str, dim: int) -> Fingerprint:
    if isinstance(encoder, str) and encoder.strip():
        return given_fingerprint(encoder, dim)
    if isinstance(encoder, type) or not isinstance(encoder, Fingerprint | Encoder):
        raise DatasetError(f"encoder is {encoder!r}. Expected the name of what made the vectors, or an encoder.")
    fingerprint = encoder if isinstance(encoder, Fingerprint) else encoder.fingerprint
    if fingerprint.dim != dim:
        raise DatasetError(f"The vectors have {dim} numbers each, but those of {fingerprint} have {fingerprint.dim}.")
    return fingerprint


def _labels(labels: Sequence[str], count: int) -> list[str]:
    given = _listed(labels, "labels", count)
    normal = {label: require_label(label) for label in dict.fromkeys(given)}
    check_new(normal.values(), ())
    return [normal[label] for label in given]


def _ids(ids: Sequence[str] | None, count: int) -> list[str]:
    if ids is None:
        width = len(str(count - 1))
        return [f"{row:0{width}}" for row in range(count)]
    given = _listed(ids, "ids", count)
    for path in given:
        if not isinstance(path, str) or not path or "\0" in path or path.startswith(ADDED):
            raise DatasetError(f"{path!r} is no id. Expected text that is not empty and does not begin with {ADDED!r}.")
    seen = set[str]()
    for path in given:
        if path in seen:
            raise DatasetError(f"The id {path!r} is given more than once. Give each vector its own.")
        seen.add(path)
    return list(map(str, given))


def _groups(groups: Sequence[str], paths: Sequence[str]) -> dict[str, str]:
    """Return the group of each id that has one."""
    given = _listed(groups, "groups", len(paths))
    for group in given:
        if not isinstance(group, str):
            raise DatasetError(f"{group!r} is no group. Expected text, empty for a vector that is in none.")
    return {path: group for path, group in zip(paths, given) if group}


def _listed(values: Sequence[str], what: str, count: int) -> list[str]:
    """Return one value for each vector; raise DatasetError where there are others."""
    if isinstance(values, str | bytes):
        raise DatasetError(f"Expected {count} {what}, one for each vector, got only {values!r}.")
    try:
        given = list(values)
    except TypeError:
        raise DatasetError(f"Expected {count} {what}, one for each vector, got {values!r}.") from None
    if len(given) != count:
        raise DatasetError(f"Got {count} vectors and {len(given)} {what}. Expected one for each vector.")
    return given
