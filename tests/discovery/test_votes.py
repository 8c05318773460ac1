"""Votes on no image, on parts, and joined again."""

import numpy as np

from lmm_classifier.discovery.votes import Votes, policy_without_reranker, vote
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from tests.discovery.vector_images import LABELS, classifier_of, clusters


def test_parts_are_the_whole():
    """And no image is a part too."""
    vectors, labels = clusters(dict.fromkeys(LABELS, 5), seed=2)
    with classifier_of() as classifier:
        flow = classifier._current_flow()
        whole = vote(flow, QueryVectors.given(vectors))
        parts = [vote(flow, QueryVectors.given(vectors[rows])) for rows in (slice(0, 7), slice(7, 15))]
        joined = Votes.joined([Votes.nothing(flow), *parts])
    assert [whole.labels[label] for label in whole.label_ids] == labels
    for name in ("label_ids", "scores", "second", "familiarity"):
        np.testing.assert_allclose(getattr(joined, name), getattr(whole, name), atol=1e-12)
    assert (list(joined.reasons), list(joined.results)) == (list(whole.reasons), list(whole.results))
    some = whole.at([3, 1])
    assert (some.scores.tolist(), list(some.results)) == (
        whole.scores[[3, 1]].tolist(),
        [whole.results[3], whole.results[1]],
    )
    assert (whole.second <= whole.scores).all()


def test_the_reranker_is_never_asked():
    """Also where the index would ask it."""
    with classifier_of() as classifier:
        assert policy_without_reranker(classifier._current_flow()).can_rerank is False
