"""What an index tells of its labels."""

import numpy as np

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.discovery.proposals.group_test import UsualFamiliarity
from lmm_classifier.discovery.proposals.known_labels import known_labels, usual_familiarity
from lmm_classifier.discovery.unlabeled import landscape_of
from lmm_classifier.neighbors.config import RetrievalConfig
from tests.discovery.vector_images import LABELS, classifier_of


def test_sums_of_the_labels():
    """In the space of discovery, written down anew."""
    with classifier_of() as classifier:
        flow = classifier._current_flow()
        landscape = landscape_of(flow)
        known = known_labels(flow, landscape)
        mapped = landscape.space.map([flow.index.gallery.embeddings])
        for label in range(len(LABELS)):
            expected = mapped[flow.index.label_ids == label].sum(axis=0)
            np.testing.assert_allclose(known.sums[label], expected, atol=1e-4)
        assert known.cut == landscape.cut
        np.testing.assert_array_equal(known.held_out, flow.retriever.calibration.familiarity)


def test_the_usual_familiarity_is_that_of_held_out_examples():
    """As if the calibration had kept the labels: the mean is equal, the spreads are close."""
    with classifier_of(dict.fromkeys(LABELS, 60)) as classifier:
        flow = classifier._current_flow()
        usual = usual_familiarity(flow)
        _, predictions = fit_by_leave_one_out(RetrievalConfig(), [flow.index])
    rows = predictions.in_order_of_rows()
    expected = UsualFamiliarity.of(rows.familiarity, rows.label_ids)
    np.testing.assert_allclose(usual.mean, expected.mean, atol=0.02)
    np.testing.assert_allclose(usual.within, expected.within, rtol=0.05)
    np.testing.assert_allclose(usual.between, expected.between, atol=0.1)
