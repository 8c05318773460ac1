"""The outlook of a request is what its thresholds do to the held-out examples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.guarantees.outlook import Outlook, refusal
from lmm_classifier.calibration.guarantees.risk_control import NoGuarantee
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from tests.helpers.vector_indexes import write_clusters


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    path = write_clusters(tmp_path_factory.mktemp("outlook") / "index.npz")
    return fit_by_leave_one_out(RetrievalConfig(), [Index.open(path)])[0]


@given(st.floats(0.5, 0.999), st.floats(0.5, 0.99), st.floats(0.01, 0.99))
def test_the_parts_are_all(calibration, precision, level, keep):
    """Accepted, ambiguous and unknown make 1; at most 1 - keep are unknown; a refusal says what it takes."""
    found = Outlook.of(calibration, CalibrationRequest(precision, level, keep))
    results = calibration.held_out
    assert found.unknown == np.mean(results.familiarity < calibration.familiarity_threshold(keep))
    assert found.unknown <= 1 - keep + 1e-9
    if isinstance(found.guarantee, NoGuarantee):
        assert found.accepted is found.ambiguous is None
        words = refusal(found.guarantee, precision, level)
        assert f"It takes {found.guarantee.needed} examples without an error" in words
    else:
        assert found.accepted + found.ambiguous + found.unknown == pytest.approx(1)
        answered = (results.confidence >= found.guarantee.threshold).mean()
        assert answered == found.guarantee.coverage >= found.accepted


@pytest.mark.parametrize("request_", [CalibrationRequest(), CalibrationRequest(1.0), CalibrationRequest(0.9, 0.0)])
def test_an_impossible_request_is_refused(calibration, request_):
    """Also one without a target precision, which has no guarantee."""
    with pytest.raises(CalibrationError, match="expected a number between 0 and 1"):
        Outlook.of(calibration, request_)
