"""A request is completed by the former one, and survives its way through JSON."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
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


def test_thresholds_alone_are_rates():
    """Nothing mentioned repeats a whole calibration; a folder, a pattern or a reranker needs one."""
    assert CalibrationRequest(0.9, 0.8, 0.7).is_for_thresholds_only
    assert CalibrationRequest(keep_known=0.7).is_for_thresholds_only
    for request in (CalibrationRequest(), CalibrationRequest(0.9, group_by="x"), CalibrationRequest(max_calls=20)):
        assert not request.is_for_thresholds_only


@settings(max_examples=40)
@given(REQUESTS)
def test_a_stored_request_is_read_back(request):
    """Folders are absolute, and any name of a folder survives."""
    assert CalibrationRequest.from_json(request.to_json()) == request
    assert request.to_json().isascii()


@settings(max_examples=60)
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


@pytest.mark.parametrize("values", [
        {"keep_known": 95}, {"target_precision": True}, {"holdout": 1}, {"other": "x"}, [], {"max_calls": "3"},
        {"max_calls": True}, {"group_by": 3}, {"keep_known": "0.9"}, {"holdout": "a", "group_by": "b"},
    ],
)  # fmt: skip
def test_a_text_that_is_no_request_is_refused(values):
    """By a ValueError or a TypeError, which the reader of a calibration turns into a warning."""
    with pytest.raises((ValueError, TypeError)):
        CalibrationRequest.from_json(json.dumps(values))


@pytest.mark.parametrize("name", ["target_precision", "confidence_level", "keep_known"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.5])
def test_rates_lie_between_0_and_1(name, value):
    """Both limits are excluded, and the message names the field and the number."""
    with pytest.raises(
        CalibrationError, match=f"{name}: expected a number between 0 and 1, such as 0.95, got {value:g}"
    ):
        CalibrationRequest(**{name: value}).check()


def test_whatever_a_holdout_excludes_is_dropped_and_the_rest_stays():
    """Groups and target images go together, and either of them replaces a holdout."""
    folder, other = Path("/new"), Path("/other")
    former = CalibrationRequest(0.95, group_by="folder", target_images=other)
    with_holdout = CalibrationRequest(holdout=folder).completed(former)
    assert with_holdout == CalibrationRequest(0.95, 0.9, 0.95, folder)
    by_group = CalibrationRequest(group_by="(x)").completed(former)
    assert by_group == CalibrationRequest(0.95, 0.9, 0.95, None, "(x)", other)
    for request in (CalibrationRequest(group_by="(x)"), CalibrationRequest(target_images=other)):
        assert request.completed(CalibrationRequest(holdout=folder)).holdout is None
        with pytest.raises(CalibrationError, match="holdout replaces"):
            CalibrationRequest(holdout=folder, group_by=request.group_by, target_images=request.target_images).check()
    assert CalibrationRequest().completed(with_holdout) == with_holdout
    assert CalibrationRequest(max_calls=30).completed().max_calls == 30
    assert CalibrationRequest().completed(CalibrationRequest(max_calls=30)).max_calls is None


def test_a_description_has_only_what_differs_from_the_defaults():
    """Folders as absolute texts; questions to the reranker are not part of it."""
    request = CalibrationRequest(0.9, 0.9, 0.8, Path("new"), max_calls=50)
    assert request.describe() == {"target_precision": 0.9, "keep_known": 0.8, "holdout": str(Path("new").absolute())}
    assert request.to_dict()["max_calls"] == 50
    assert request.to_dict()["confidence_level"] == 0.9


def test_a_holdout_excludes_leave_one_out():
    """In one request; between two requests the later one wins."""
    with pytest.raises(CalibrationError, match="holdout replaces leave-one-out"):
        CalibrationRequest(holdout=Path("new"), group_by="folder").check()
    former = CalibrationRequest(group_by="folder", target_images=Path("new"))
    assert CalibrationRequest(holdout=Path("new")).completed(former).group_by is None
    assert CalibrationRequest(group_by="folder").completed(CalibrationRequest(holdout=Path("new"))).holdout is None
