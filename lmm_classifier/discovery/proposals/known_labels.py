"""What an index tells of its labels, as proposals of new labels need it."""

from __future__ import annotations

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.discovery.landscape import Landscape, even_sample
from lmm_classifier.discovery.proposals.group_test import UsualFamiliarity
from lmm_classifier.discovery.proposals.propose import KnownLabels
from lmm_classifier.index.storage.state import as_embeddings
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.flow import Flow
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors

_MOST_HELD_OUT = 1200  # examples whose familiarity is computed by label


def known_labels(flow: Flow, landscape: Landscape) -> KnownLabels:
    """Return the known labels of a version of an index, in its space of discovery."""
    return KnownLabels(landscape.label_sums, landscape.cut, flow.retriever.calibration.familiarity)


def usual_familiarity(flow: Flow) -> UsualFamiliarity:
    """Return how familiar the examples of an index are, each held out.

    A calibration keeps these numbers without the labels. So a sample of examples is scored again, each without its own
    copies, for the order of the numbers alone: the values are those of the calibration.
    """
    index, held_out = flow.index, flow.retriever.calibration.familiarity
    rows = even_sample(index.gallery.rows_of_label, index.hashes, _MOST_HELD_OUT)
    vectors = QueryVectors.given(*(_vectors_at(encoder.index, rows) for encoder in flow.retriever.encoders))
    hashes = [index.hashes[row] for row in rows]
    scored = [part.familiarity for _, part in flow.retriever.score_in_batches(vectors, hashes)]
    return UsualFamiliarity.of(_with_values(np.concatenate(scored), held_out), index.label_ids[rows])


def _vectors_at(index: Index, rows: IntArray) -> Float32Array:
    """Return the vectors (m, dim) of some rows, ascending, as the encoder made them; all are read, few are kept."""
    parts, start = [np.empty((0, index.fingerprint.dim), np.float32)], 0
    for block in index.contents.vectors[index.encoder].blocks():
        inside = rows[(rows >= start) & (rows < start + len(block))]
        parts.append(as_embeddings(block[inside - start]))
        start += len(block)
    return np.concatenate(parts)


def _with_values(order: Float64Array, values: Float64Array) -> Float64Array:
    """Return numbers (n,) in the order of n numbers, whose distribution is that of values (N,), ascending."""
    if not len(values):
        return order
    ranks: IntArray = np.argsort(np.argsort(order, kind="stable"), kind="stable")
    return np.asarray(np.quantile(values, (ranks + 0.5) / len(order)))
