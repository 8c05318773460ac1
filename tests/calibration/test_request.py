"""A request is completed by the former one, and survives its way through JSON."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.core.errors import CalibrationError

RATE = st.none() | st.floats(0.001, 0.999)
FOLDER = st.none() | st.sampled_from([Path("/images/new"), Path("/images/caf\u00e9 \udcff")])
REQUESTS = st.builds(
    CalibrationRequest,
    RATE,
    RATE,
    RATE,
    FOLDER,
    st.none() | st.text(max_size=5),
    FOLDER,
    st.none() | st.integers(20, 400),
).filter(lambda request: request.holdout is None or request.group_by is request.target_images is None)


@given(REQUESTS)
def test_a_stored_request_is_read_back(request):
    """Folders are absolute, and any name of a folder survives."""
    assert CalibrationRequest.from_json(request.to_json()) == request
    assert request.to_json().isascii()


@given(REQUESTS, REQUESTS)
def test_what_is_mentioned_wins_and_the_rest_stays(request, former):
    """Nothing contradicts itself afterwards; questions to a reranker are never repeated by themselves."""
    completed = request.completed(former)
    completed.check()
    for name, value in vars(request).items():
        if value is not None:
            assert getattr(completed, name) == value
    for name in ("target_precision", "confidence_level", "keep_known"):
        if getattr(request, name) is None and getattr(former, name) is not None:
            assert getattr(completed, name) == getattr(former, name)
    assert completed.max_calls == request.max_calls
    assert completed.completed(former) == completed


def test_the_defaults_are_those_of_the_help():
    """They are filled in where nobody asked before, and not repeated in a description."""
    completed = CalibrationRequest().completed()
    assert (completed.target_precision, completed.confidence_level, completed.keep_known) == (None, 0.9, 0.95)
    assert completed.describe() == {}
    assert CalibrationRequest(0.9, group_by="folder").completed().describe() == {
        "target_precision": 0.9,
        "group_by": "folder",
    }


@pytest.mark.parametrize("values", [{"keep_known": 95}, {"target_precision": True}, {"holdout": 1}, {"other": "x"}, []])
def test_a_text_that_is_no_request_is_refused(values):
    """By a ValueError or a TypeError, which the reader of a calibration turns into a warning."""
    with pytest.raises((ValueError, TypeError)):
        CalibrationRequest.from_json(json.dumps(values))


def test_a_holdout_excludes_leave_one_out():
    """In one request; between two requests the later one wins."""
    with pytest.raises(CalibrationError, match="holdout replaces leave-one-out"):
        CalibrationRequest(holdout=Path("new"), group_by="folder").check()
    former = CalibrationRequest(group_by="folder", target_images=Path("new"))
    assert CalibrationRequest(holdout=Path("new")).completed(former).group_by is None
    assert CalibrationRequest(group_by="folder").completed(CalibrationRequest(holdout=Path("new"))).holdout is None
