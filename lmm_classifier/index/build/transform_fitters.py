"""What fits the transforms of an index again: those of its encoders know it without being loaded."""

from __future__ import annotations

from collections.abc import Sequence

from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.protocols import TransformFitter
from lmm_classifier.embeddings.whitening import transform_from_arrays
from lmm_classifier.index.contents import IndexContents


def fitters_of(contents: IndexContents) -> list[TransformFitter]:
    """Return for each encoder of an index what fits its transform."""
    return [
        transform_from_arrays(entry.transform, vectors.transform_arrays).fitter
        for entry, vectors in zip(contents.manifest.encoders, contents.vectors, strict=True)
    ]


def known_fitters(contents: IndexContents, fingerprints: Sequence[Fingerprint]) -> list[TransformFitter | None]:
    """Return the same for these encoders; None for one that the index does not have yet."""
    fitters = dict(zip(contents.manifest.space_ids, fitters_of(contents), strict=True))
    return [fitters.get(fingerprint.space_id) for fingerprint in fingerprints]
